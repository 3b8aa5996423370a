"""Each network over its freeze depths, from fully frozen to fully trained, and what it gains by being unfrozen."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.paired_tests import Advantage, advantages, paired_bootstrap
from backbench.analysis.per_item import ByCell
from backbench.analysis.ranking import SERIES, depth_order, grouped, labels


@dataclass(frozen=True)
class UnfreezingGain:
    """One network at the most frozen of its depths and at the less frozen one that val prefers.

    `name` leaves the depth out; `advantage` is of the second over the first on test, None without predictions.
    """

    name: str
    before: Candidate
    after: Candidate
    gain: float
    advantage: Advantage | None


def series(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Networks with at least two freeze depths, best first: name without the depth, and the candidates by depth.

    The frames are rows of `ranking.grouped` with `test_acc` and `train_acc`, the most frozen first.
    """
    rows = grouped(table)
    rows["order"] = rows["freeze"].map(depth_order).astype("float64")
    rows = rows[rows[["order", "test_acc", "train_acc"]].notna().all(axis=1)]
    rows["name"] = labels(rows.assign(freeze="all"))
    groups = (group for _, group in rows.groupby(list(SERIES), dropna=False, sort=False))
    return [
        (group["name"].iloc[0], group.sort_values("order", ignore_index=True)) for group in groups if len(group) > 1
    ]


def unfreezing_gains(table: pd.DataFrame, per_item: ByCell | None = None) -> tuple[UnfreezingGain, ...]:
    """What each network with several freeze depths gains on test by being unfrozen, the largest gain first."""
    by_cell = {candidate.cell_id: candidate for candidate in candidates(table)}
    pairs = []
    for name, rows in series(table):
        deeper = rows.iloc[1:]
        # The depth is chosen by rank, which is from val: never on test.
        preferred = min(deeper["cell_id"], key=list(by_cell).index)
        pairs.append((name, by_cell[rows["cell_id"].iloc[0]], by_cell[preferred]))
    bootstrap = paired_bootstrap([candidate for _, *both in pairs for candidate in both], per_item or {})
    leads = advantages([(after, before) for _, before, after in pairs], bootstrap)
    gains = [
        UnfreezingGain(name, before, after, (after.test_acc or 0) - (before.test_acc or 0), lead)
        for (name, before, after), lead in zip(pairs, leads, strict=True)
    ]
    return tuple(sorted(gains, key=lambda gain: -gain.gain))
