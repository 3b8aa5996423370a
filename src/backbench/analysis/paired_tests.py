"""Candidates on the same test items: their accuracies, and how far each is ahead of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from backbench.analysis.bootstrap import ENOUGH_SEEDS, SEED, Floats, intervals, over_seeds, resampled_means
from backbench.analysis.candidates import Candidate
from backbench.analysis.per_item import ByCell, on_test
from backbench.analysis.significance import mcnemar, welch


@dataclass(frozen=True)
class Advantage:
    """By how much one candidate's test accuracy is above another's, as a share, with its paired 95 % interval.

    `over_seeds` says that the interval covers the chance of the seeds, too, not of the test items alone.
    """

    mean: float
    low: float
    high: float
    over_seeds: bool = False

    @property
    def verdict(self) -> str:
        """Seen from the first: `better` or `worse` where the interval leaves out zero, else `tied`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "tied"


@dataclass(frozen=True)
class PairTest:
    """Items that only the first and only the second has right, and the two-sided p-value of their being equal.

    With several seeds the items are means over all pairs of seeds. `name` is the test: `exact McNemar` or `Welch`.
    """

    wins: float
    losses: float
    p_value: float
    name: str


@dataclass(frozen=True, eq=False)
class PairedBootstrap:
    """Candidates whose predictions are known for every seed on the same m test items, and resamples of these items.

    `hits` [m, seeds] of each candidate and `accuracies` [k]; `draws` [rounds, k] are the accuracies in resamples of the
    items, and of the seeds where there are five or more: those candidates carry the interval that follows from them.
    """

    candidates: tuple[Candidate, ...]
    hits: tuple[NDArray[np.bool_], ...]
    accuracies: Floats
    draws: Floats

    def index(self, candidate: Candidate | None) -> int | None:
        """Where a candidate stands in the arrays; None when it is not among them."""
        ids = [c.cell_id for c in self.candidates]
        return ids.index(candidate.cell_id) if candidate is not None and candidate.cell_id in ids else None

    def advantages(self, first: int, others: Sequence[int]) -> list[Advantage]:
        """How far the first is ahead of each of the others."""
        low, high = intervals(self.draws[:, [first]] - self.draws[:, others])
        return [
            Advantage(
                float(self.accuracies[first] - self.accuracies[other]),
                float(low[column]),
                float(high[column]),
                self.candidates[first].over_seeds or self.candidates[other].over_seeds,
            )
            for column, other in enumerate(others)
        ]

    def pair_test(self, first: int, second: int) -> PairTest:
        """The test of one against another: exact for single seeds, else Welch's over items and seeds."""
        first_hits, second_hits = self.hits[first], self.hits[second]
        if first_hits.shape[1] == second_hits.shape[1] == 1:
            return PairTest(*mcnemar(first_hits[:, 0], second_hits[:, 0]), "exact McNemar")
        return PairTest(*welch(first_hits, second_hits), "Welch")


def paired_bootstrap(candidates: Sequence[Candidate], per_item: ByCell) -> PairedBootstrap:
    """The candidates whose predictions on test are known, resampled once for all questions about them."""
    measured = [(c, hits) for c in candidates if (hits := on_test(c, per_item)) is not None]
    if not measured:
        return PairedBootstrap((), (), np.empty(0), np.empty((0, 0)))
    every_seed = np.concatenate([hits for _, hits in measured], axis=1)
    means = resampled_means(every_seed, rng=np.random.default_rng(SEED))
    ends = np.cumsum([hits.shape[1] for _, hits in measured])[:-1]
    # The seeds of a candidate are drawn from its own stream: its interval depends on no other candidate.
    draws = np.column_stack(
        [
            over_seeds(hits, of_seeds, rng=np.random.default_rng([SEED, crc32(c.cell_id.encode())]))
            for (c, hits), of_seeds in zip(measured, np.split(means, ends, axis=1), strict=True)
        ]
    )
    with_intervals = [_with_interval(c, draws[:, [column]]) for column, (c, _) in enumerate(measured)]
    hits_of_each = tuple(hits for _, hits in measured)
    return PairedBootstrap(tuple(with_intervals), hits_of_each, np.array([hits.mean() for hits in hits_of_each]), draws)


def advantages(
    pairs: Sequence[tuple[Candidate | None, Candidate | None]], bootstrap: PairedBootstrap
) -> tuple[Advantage | None, ...]:
    """How far the first of each pair is ahead of the second on test; None where predictions of one are not known."""
    indices = [(bootstrap.index(first), bootstrap.index(second)) for first, second in pairs]
    return tuple(
        None if first is None or second is None else bootstrap.advantages(first, [second])[0]
        for first, second in indices
    )


def _with_interval(candidate: Candidate, draws: Floats) -> Candidate:
    if len(candidate.cell_ids) < ENOUGH_SEEDS:
        return candidate
    (low,), (high,) = intervals(draws)
    return replace(candidate, test_acc_lo=max(0.0, float(low)), test_acc_hi=min(1.0, float(high)), over_seeds=True)
