"""The cross-entropy of a linear classifier and its slope, summed over images: what each step of the probe asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backbench.evaluation.eigenbasis import Doubles, Floats, blocks


@dataclass(frozen=True)
class Sums:
    """Over all images: the cross-entropy, those classified right, the slopes by weights [k, C] and bias [C].

    `spread` [C] is the sum of p (1 - p) of each class, the curvature by its bias.
    """

    loss: float
    right: float
    by_weights: Doubles
    by_bias: Doubles
    spread: Doubles


# From weights float32 [k, C] and bias [C] to the sums.
Likelihood = Callable[[Floats, Doubles], Sums]


def on_host(rotated: Floats, labels: NDArray[np.int64], classes: int) -> Likelihood:
    """By NumPy, in blocks of rows: of features [n, k], which may be memory-mapped, and labels [n] in 0..classes-1."""

    def sums(weights: Floats, bias: Doubles) -> Sums:
        by_weights, by_bias = np.zeros(weights.shape), np.zeros(classes)
        loss = right = 0.0
        spread = np.zeros(classes)
        for block in blocks(len(labels)):
            truth = labels[block]
            picked = np.arange(len(truth)), truth
            # Only the products are float32: a loss summed in it is too rough for the line search at weak strengths.
            logits = (rotated[block] @ weights).astype(np.float64) + bias
            right += float(np.sum(logits.argmax(axis=1) == truth))
            logits -= logits.max(axis=1, keepdims=True)
            of_truth = logits[picked].copy()
            np.exp(logits, out=logits)
            total = logits.sum(axis=1, keepdims=True)
            loss += float(np.sum(np.log(total[:, 0]) - of_truth))
            logits /= total
            spread += np.sum(logits * (1 - logits), axis=0)
            logits[picked] -= 1
            by_weights += rotated[block].T @ logits.astype(np.float32)
            by_bias += logits.sum(axis=0)
        return Sums(loss, right, by_weights, by_bias, spread)

    return sums
