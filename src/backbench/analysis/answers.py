"""What a cell answered, item by item, and how two candidates compare on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.analysis import significance
from backbench.analysis.candidates import Candidate

# Every question is resampled anew from this seed: its answer depends on no other question.
SEED = 0


@dataclass(frozen=True, eq=False)
class Answers:
    """One cell on the items of test and val.

    `hits` [m] says which test items it has right. `logs` [n] is the log-probability that it gives to the right class of
    each val item after one temperature, whose mean is the logarithm of the selection score; None without val items.
    """

    hits: NDArray[np.bool_]
    logs: NDArray[np.float64] | None = None


ByCell = Mapping[str, Answers]


@dataclass(frozen=True)
class Rival:
    """A candidate compared with the best one on the same test items.

    `wins` are the items that only the best has right, `losses` those that only the rival has right; `p_value` is of the
    exact McNemar test, `p_holm` the same corrected for all rivals of this recommendation.
    Where a candidate has several seeds, the predictions of the lowest one are compared.
    """

    candidate: Candidate
    wins: int
    losses: int
    p_value: float
    p_holm: float

    @property
    def verdict(self) -> str:
        """Seen from the best: `better`, `worse` or `tied`."""
        if self.p_holm >= significance.ALPHA:
            return "tied"
        return "better" if self.wins > self.losses else "worse"


@dataclass(frozen=True)
class Advantage:
    """By how much one candidate's test accuracy is above another's, as a share, with its paired 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Seen from the one that is said to be ahead: `better`, `worse` or `tied`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "tied"


def hits(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which of n items are classified correctly, from probabilities [n, C] and labels [n]."""
    _check(probabilities, labels)
    return np.asarray(probabilities.argmax(axis=1) == labels)


def _check(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> None:
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"predictions of shape {probabilities.shape} do not belong to {len(labels)} labels")


def rivals(candidates: Sequence[Candidate], answers: ByCell) -> tuple[Rival, ...]:
    """The others against the first on test, where the answers of both are known."""
    best, *others = candidates
    if best.cell_id not in answers:
        return ()
    found = []
    for other in others:
        if other.cell_id in answers:
            wins, losses, p = significance.mcnemar(answers[best.cell_id].hits, answers[other.cell_id].hits)
            found.append(Rival(other, wins, losses, p, p))
    corrected = significance.holm(np.array([rival.p_value for rival in found]))
    return tuple(replace(rival, p_holm=float(p)) for rival, p in zip(found, corrected, strict=True))


def advantages(
    pairs: Sequence[tuple[Candidate | None, Candidate | None]], answers: ByCell
) -> tuple[Advantage | None, ...]:
    """How far the first of each pair is ahead of the second on test, with intervals from resampling the test items.

    Every seed of both counts; None where the answers of one are not known.
    """
    known, differences = [], []
    for position, (first, second) in enumerate(pairs):
        ours, theirs = (None if one is None else _mean_hits(one, answers) for one in (first, second))
        if ours is not None and theirs is not None:
            known.append(position)
            differences.append(ours - theirs)
    found: list[Advantage | None] = [None] * len(pairs)
    if known:
        stacked = np.column_stack(differences)
        low, high = significance.paired_intervals(stacked, rng=np.random.default_rng(SEED))
        for column, position in enumerate(known):
            found[position] = Advantage(float(stacked[:, column].mean()), float(low[column]), float(high[column]))
    return tuple(found)


def undecided_on_val(candidates: Sequence[Candidate], answers: ByCell) -> tuple[tuple[Candidate, ...], int, int]:
    """Which of the others val cannot tell from the first, nearest first; how many were compared; and val's size.

    Compared is the selection score's logarithm, item by item, each candidate at its own temperature; the temperatures
    are not fitted anew in every resample, which changes nothing to first order, as each is at its optimum.
    """
    best, *others = candidates
    ours = _mean_logs(best, answers)
    compared = [(other, logs) for other in others if (logs := _mean_logs(other, answers)) is not None]
    if ours is None or not compared:
        return (), 0, 0
    leads = np.column_stack([ours - logs for _, logs in compared])
    open_still = significance.within_chance(leads, rng=np.random.default_rng(SEED))
    nearest = sorted(np.flatnonzero(open_still), key=lambda column: leads[:, column].mean())
    return tuple(compared[column][0] for column in nearest), len(compared), len(ours)


def _mean_hits(candidate: Candidate, answers: ByCell) -> NDArray[np.float64] | None:
    """Share of the seeds that have each test item right; None unless all of them are known."""
    if not all(cell in answers for cell in candidate.cell_ids):
        return None
    return np.asarray(np.mean([answers[cell].hits for cell in candidate.cell_ids], axis=0))


def _mean_logs(candidate: Candidate, answers: ByCell) -> NDArray[np.float64] | None:
    found = [answers[cell].logs for cell in candidate.cell_ids if cell in answers]
    known = [logs for logs in found if logs is not None and len(logs)]
    return np.asarray(np.mean(known, axis=0)) if len(known) == len(candidate.cell_ids) else None
