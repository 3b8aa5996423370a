"""Is a difference more than chance? Paired tests over test items; arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

ALPHA = 0.05


def hits(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of n items are classified correctly, from probabilities [n, C] and labels [n]."""
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"predictions of shape {probabilities.shape} do not belong to {len(labels)} labels")
    return np.asarray(probabilities.argmax(axis=1) == labels)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Exact paired test of two classifiers on the same n items, given which items each has right.

    Returns the items that only the first has right, those that only the second has right, and the two-sided p-value:
    under equality the discordant items are fair coin flips (McNemar 1947, exact binomial form).
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    if wins + losses == 0:
        return 0, 0, 1.0
    return wins, losses, float(binomtest(wins, wins + losses).pvalue)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values of one family of claims, corrected so that one false claim in the whole family has at most their level.

    Step-down procedure of Holm (1979): the smallest is multiplied by m, the next by m - 1, ..., kept monotone.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
