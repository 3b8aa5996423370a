"""What val can and cannot say about the choice that was made on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbench.analysis.answers import ByCell, on_val
from backbench.analysis.candidates import Candidate
from backbench.analysis.resampling import SEED, optimism, resampled_means, within_chance


@dataclass(frozen=True)
class Choice:
    """How far the choice of the first on val can be trusted.

    `undecided` are the others, out of `compared`, that val with its `items` cannot tell from the first, nearest first.
    `optimism` is by how much the first's selection score is probably too high because it was chosen for it; None when
    it could not be estimated.
    """

    undecided: tuple[Candidate, ...] = ()
    compared: int = 0
    items: int = 0
    optimism: float | None = None


def choice_on_val(candidates: Sequence[Candidate], answers: ByCell) -> Choice:
    """Judge the choice of the first candidate against all others whose answers on val are known.

    Compared is the selection score's logarithm, item by item, each candidate at its own temperature; the temperatures
    are not fitted anew in every resample, which changes nothing to first order, as each is at its optimum.
    """
    best, *others = candidates
    ours = on_val(best, answers)
    compared = [(other, logs) for other in others if (logs := on_val(other, answers)) is not None]
    if ours is None or not compared:
        return Choice()
    all_logs = np.column_stack([ours, *(logs for _, logs in compared)])
    leads = ours[:, None] - all_logs[:, 1:]
    draws = resampled_means(all_logs, rng=np.random.default_rng(SEED))
    open_still = within_chance(leads.mean(axis=0), draws[:, [0]] - draws[:, 1:])
    nearest = sorted(np.flatnonzero(open_still), key=lambda column: leads[:, column].mean())
    return Choice(
        undecided=tuple(compared[column][0] for column in nearest),
        compared=len(compared),
        items=len(ours),
        optimism=optimism(np.exp(all_logs.mean(axis=0)), np.exp(draws)),
    )
