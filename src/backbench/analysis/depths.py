"""What unfreezing does: each network over its freeze depths, from fully frozen to fully trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backbench.analysis import numbers
from backbench.analysis.answers import ByCell
from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.frames import SERIES, depth_order, grouped, labels
from backbench.analysis.paired import Advantage, advantages, tested


@dataclass(frozen=True)
class Unfreezing:
    """One network at the most frozen of its depths and at the less frozen one that val prefers.

    `name` leaves the depth out; `advantage` is of the second over the first on test, None without their answers.
    """

    name: str
    before: Candidate
    after: Candidate
    gain: float
    advantage: Advantage | None


def series(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Networks with at least two freeze depths, best first: name without the depth, and the candidates by depth.

    The frames are rows of `frames.grouped` with `test_acc` and `train_acc`, the most frozen first.
    """
    rows = grouped(table)
    rows["order"] = rows["freeze"].map(depth_order).astype("float64")
    rows = rows[rows[["order", "test_acc", "train_acc"]].notna().all(axis=1)]
    rows["name"] = labels(rows.assign(freeze="all"))
    groups = (group for _, group in rows.groupby(list(SERIES), dropna=False, sort=False))
    return [
        (group["name"].iloc[0], group.sort_values("order", ignore_index=True)) for group in groups if len(group) > 1
    ]


def unfreezing(table: pd.DataFrame, answers: ByCell | None = None) -> tuple[Unfreezing, ...]:
    """What each network with several freeze depths gains on test by being unfrozen, the largest gain first."""
    by_cell = {candidate.cell_id: candidate for candidate in candidates(table)}
    pairs = []
    for name, rows in series(table):
        deeper = rows.iloc[1:]
        # The rank has the last word, so that the depth is never chosen on test.
        chosen = min(deeper["cell_id"], key=list(by_cell).index)
        pairs.append((name, by_cell[rows["cell_id"].iloc[0]], by_cell[chosen]))
    known = tested([one for _, *both in pairs for one in both], answers or {})
    ahead = advantages([(after, before) for _, before, after in pairs], known)
    found = [
        Unfreezing(name, before, after, (after.test_acc or 0) - (before.test_acc or 0), advantage)
        for (name, before, after), advantage in zip(pairs, ahead, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -one.gain))


def sentence(found: Sequence[Unfreezing]) -> str:
    """Which network gains or loses how much by being unfrozen, and what becomes of its gap; empty without any.

    Controls with random weights are left out, unless there is nothing else.
    """
    found = [one for one in found if one.after.weights != "none"] or found
    if not found:
        return ""
    rest = {0: "", 1: "; the other lies between"}.get(len(found) - 2, f"; the other {len(found) - 2} lie in between")
    if len(found) == 1:
        return f"By unfreezing, to the trained depth that val ranks highest, {_change(found[0])}."
    changes = f"{_change(found[0])}, while {_change(found[-1])}"
    return f"By unfreezing, each to the trained depth that val ranks highest, {changes}{rest}."


def _change(one: Unfreezing) -> str:
    before, after = one.before, one.after
    shift = numbers.points(abs(one.gain))
    what = "keeps its accuracy" if shift == "0.0" else f"{'gains' if one.gain > 0 else 'loses'} {shift} points"
    what += " on test"
    if shift != "0.0" and one.advantage and one.advantage.verdict == "tied":
        what += ", which may be chance"
    details = (
        f"{before.freeze} to {after.freeze}: {numbers.percent(before.test_acc)} to {numbers.percent(after.test_acc)}"
    )
    if one.advantage:
        ends = (one.advantage.low, one.advantage.high)
        low, high = sorted(ends) if one.gain >= 0 else sorted(-end for end in ends)
        details += f", paired 95% interval {numbers.points(low)} to {numbers.points(high)}"
    return f"{one.name} {what} ({details}) and its gap {_gap_change(before.gap, after.gap)}"


def _gap_change(before: float | None, after: float | None) -> str:
    if before is None or after is None or not np.isfinite([before, after]).all():
        return "is unknown"
    first, second = numbers.points(before), numbers.points(after)
    if first == second:
        return f"stays at {second} points"
    return f"{'narrows' if after < before else 'widens'} from {first} to {second} points"
