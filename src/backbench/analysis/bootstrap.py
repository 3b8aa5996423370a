"""The paired bootstrap over items and seeds; arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from backbench.analysis.significance import ALPHA

ROUNDS = 2000

# Every question is resampled anew from this seed, so its result depends on no other question.
SEED = 0

# Fewer seeds say too little about how seeds vary: their range is shown, and only the items are resampled.
ENOUGH_SEEDS = 5

# Counts that are held at once while resampling, so that memory does not grow with the items; and counts that are made
# at once, which a core's cache holds.
COUNTS_HELD, COUNTS_CACHED = 4_000_000, 32_768

# Differences of that size are rounding.
TINY = 1e-9

Floats = NDArray[np.float64]


def resampled_means(
    values: NDArray[Any],
    *,
    rng: np.random.Generator,
    rounds: int = ROUNDS,
    counts_held: int = COUNTS_HELD,
    counts_cached: int = COUNTS_CACHED,
) -> Floats:
    """Means [rounds, k] of n items with k values each [n, k], the items drawn anew with replacement in every round.

    The k columns share their draws, so that they stay paired (Efron 1979). `counts_held` and `counts_cached` change
    memory and speed, not the result. Raises ValueError without items.
    """
    items = len(values)
    if items == 0:
        raise ValueError("no items: there is nothing to draw from")
    # What is right or wrong is counted, and counts are exact in single precision, which is twice as fast.
    kind = np.float32 if values.dtype == np.bool_ else np.float64
    columns = values.astype(kind, copy=False)
    means = np.empty((rounds, values.shape[1]))
    at_once, block = max(1, counts_held // items), max(1, counts_cached // items)
    for start in range(0, rounds, at_once):
        counts = np.empty((min(at_once, rounds - start), items), kind)
        for first in range(0, len(counts), block):
            some = counts[first : first + block]
            drawn = rng.integers(items, size=some.shape) + items * np.arange(len(some))[:, None]
            some[:] = np.bincount(drawn.ravel(), minlength=some.size).reshape(some.shape)
        means[start : start + len(counts)] = counts @ columns
    return means / items


def over_seeds(hits: NDArray[np.bool_], means: Floats, *, rng: np.random.Generator) -> Floats:
    """Mean accuracies [rounds] of one candidate whose seeds were drawn anew too: the two-way bootstrap.

    From the hits of each seed [n, s] and their means in resamples of the items [rounds, s]. Under five seeds it is the
    mean over the seeds as they are. Two corrections make so few draws honest. The accuracies of seeds differ by the
    items alone, which are drawn anew already and would be counted again (Owen 2007): only what is beyond that varies.
    And as few draws vary less than what they are drawn from, deviations are widened to where a t interval over the
    seeds would end (Hesterberg 2015, the expanded percentile interval).
    """
    rounds, seeds = means.shape
    middle = means.mean(axis=1)
    if seeds < ENOUGH_SEEDS:
        return np.asarray(middle)
    accuracies, agreement = hits.mean(axis=0), hits.mean(axis=1)
    by_items = (agreement * (1 - agreement)).sum() / len(hits) ** 2 * seeds / (seeds - 1)
    between = accuracies.var(ddof=1)
    beyond = np.sqrt(max(0.0, 1 - by_items / between)) if between > 0 else 0.0
    widened = np.sqrt(seeds / (seeds - 1)) * t.ppf(1 - ALPHA / 2, seeds - 1) / norm.ppf(1 - ALPHA / 2)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rounds) / seeds
    return np.asarray(middle + beyond * widened * (drawn @ accuracies - accuracies.mean()))


def intervals(draws: Floats) -> tuple[Floats, Floats]:
    """95 % percentile intervals (low [k], high [k]) of what was resampled [rounds, k]."""
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return low, high


def within_chance(leads: Floats, draws: Floats) -> NDArray[np.bool_]:
    """Which of k mean leads [k] are not above zero beyond chance, given their resamples [rounds, k].

    All k are judged together: a lead counts when it leaves the band that holds the largest of the k studentised
    deviations in 95 % of the resamples, so that among many candidates none falls behind by chance alone (the max-t band
    of Romano and Wolf 2005, in one step).
    """
    deviations = draws - leads
    spread = deviations.std(axis=0)
    studentised = np.divide(np.abs(deviations), spread, out=np.zeros_like(deviations), where=spread > TINY)
    band = np.quantile(studentised.max(axis=1), 1 - ALPHA)
    return np.asarray(leads <= np.where(spread > TINY, band * spread, 0))


def optimism(scores: Floats, draws: Floats) -> float:
    """By how much the best of k scores [k] is too high because it is the best, from resamples of them [rounds, k].

    The score of each resample's winner there less the same candidate's score on all items, averaged over the resamples
    (the optimism of Efron 1983, of choosing a maximum). Chance has spread equal candidates in the sample already, so
    the estimate is rather too low.
    """
    winners = draws.argmax(axis=1)
    return float((draws[np.arange(len(draws)), winners] - scores[winners]).mean())
