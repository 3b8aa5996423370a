"""Is a difference more than chance? Paired tests and paired resampling over items; arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

ALPHA = 0.05
ROUNDS = 2000

# Draws that are held at once while resampling, so that memory does not grow with the items.
HELD = 4_000_000


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


def resampled_means(
    values: NDArray[np.float64], *, rng: np.random.Generator, rounds: int = ROUNDS
) -> NDArray[np.float64]:
    """Means [rounds, k] of n items with k values each [n, k], the items drawn anew with replacement in every round.

    The k columns share their draws, so that they stay paired (Efron 1979). Raises ValueError without items.
    """
    items = len(values)
    if items == 0:
        raise ValueError("no items: there is nothing to draw from")
    means = np.empty((rounds, values.shape[1]))
    at_once = max(1, HELD // items)
    for start in range(0, rounds, at_once):
        some = min(at_once, rounds - start)
        draws = rng.integers(items, size=(some, items)) + items * np.arange(some)[:, None]
        weights = np.bincount(draws.ravel(), minlength=some * items).reshape(some, items)
        means[start : start + some] = weights @ values / items
    return means


def paired_intervals(
    differences: NDArray[np.float64], *, rng: np.random.Generator, rounds: int = ROUNDS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % percentile intervals (low [k], high [k]) of the mean paired differences of n items [n, k]."""
    low, high = np.quantile(resampled_means(differences, rng=rng, rounds=rounds), [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return low, high


def within_chance(leads: NDArray[np.float64], *, rng: np.random.Generator, rounds: int = ROUNDS) -> NDArray[np.bool_]:
    """Which of k mean leads over n paired items [n, k] are not above zero beyond chance.

    All k are judged together: a lead counts when it leaves the band that holds the largest of the k studentised
    deviations in 95 % of the resamples, so that among many candidates none falls behind by chance alone (the max-t band
    of Romano and Wolf 2005, in one step).
    """
    means = leads.mean(axis=0)
    deviations = resampled_means(leads, rng=rng, rounds=rounds) - means
    spread = deviations.std(axis=0)
    studentised = np.divide(np.abs(deviations), spread, out=np.zeros_like(deviations), where=spread > 0)
    return np.asarray(means <= np.quantile(studentised.max(axis=1), 1 - ALPHA) * spread)
