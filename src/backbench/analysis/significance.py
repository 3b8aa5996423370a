"""Tests of whether a difference is more than chance, over the same items; arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import t

ALPHA = 0.05


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Exact paired test of two classifiers on the same n items, given which items each has right.

    Returns the items that only the first has right, those that only the second has right, and the two-sided p-value:
    under equality the discordant items are fair coin flips (McNemar 1947, exact binomial form).
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    return wins, losses, min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def welch(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Paired test of two candidates on the same n items when one has several seeds: hits [n, s] and [n, t].

    Returns the items that only the first has right, those that only the second has right, both as means over all pairs
    of seeds, and the two-sided p-value of the difference of the mean accuracies. Its variance is that of the mean over
    the items plus that of the mean over the seeds of each, which share their freedom as Welch (1947) and Satterthwaite
    (1946) have it: few seeds that differ much leave little to claim. A single seed counts as one that cannot vary.
    """
    right, other_right = first.mean(axis=1), second.mean(axis=1)
    wins, losses = float((right * (1 - other_right)).sum()), float((other_right * (1 - right)).sum())
    difference = right - other_right
    repeated = [hits.mean(axis=0) for hits in (first, second) if hits.shape[1] > 1]
    parts = [
        (sample.var(ddof=1) / len(sample), len(sample) - 1) for sample in (difference, *repeated) if len(sample) > 1
    ]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return wins, losses, 1.0
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    return wins, losses, float(2 * t.sf(abs(difference.mean()) / np.sqrt(variance), freedom))


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values of one family of claims, corrected so that one false claim in the whole family has at most their level.

    Step-down procedure of Holm (1979): the smallest is multiplied by m, the next by m - 1, ..., kept monotone.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
