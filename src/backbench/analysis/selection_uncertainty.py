"""How far the choice that was made on val can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbench.analysis.bootstrap import SEED, optimism, resampled_means, within_chance
from backbench.analysis.candidates import Candidate
from backbench.analysis.per_item import ByCell, on_val


@dataclass(frozen=True)
class SelectionUncertainty:
    """What the val items say about the choice of the first candidate.

    `undecided` are the others, out of `compared`, that val with its `items` cannot tell from the first, nearest first.
    `optimism` is by how much the first's selection score is probably too high because it was chosen for it; None when
    it could not be estimated.
    """

    undecided: tuple[Candidate, ...] = ()
    compared: int = 0
    items: int = 0
    optimism: float | None = None


def selection_uncertainty(candidates: Sequence[Candidate], per_item: ByCell) -> SelectionUncertainty:
    """Judge the choice of the first candidate against all others whose predictions on val are known.

    The logarithm of the selection score is compared, item by item, each candidate at its own temperature; the
    temperatures are not fitted anew in every resample, which changes nothing to first order, as each is at its optimum.
    """
    best, *others = candidates
    best_logs = on_val(best, per_item)
    compared = [(other, logs) for other in others if (logs := on_val(other, per_item)) is not None]
    if best_logs is None or not compared:
        return SelectionUncertainty()
    all_logs = np.column_stack([best_logs, *(logs for _, logs in compared)])
    leads = best_logs[:, None] - all_logs[:, 1:]
    draws = resampled_means(all_logs, rng=np.random.default_rng(SEED))
    undecided = within_chance(leads.mean(axis=0), draws[:, [0]] - draws[:, 1:])
    nearest_first = sorted(np.flatnonzero(undecided), key=lambda column: leads[:, column].mean())
    return SelectionUncertainty(
        undecided=tuple(compared[column][0] for column in nearest_first),
        compared=len(compared),
        items=len(best_logs),
        optimism=optimism(np.exp(all_logs.mean(axis=0)), np.exp(draws)),
    )
