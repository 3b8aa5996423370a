"""What networks gain or lose by being unfrozen, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backbench.analysis.freeze_depth import UnfreezingGain
from backbench.core import formatting


def sentence(gains: Sequence[UnfreezingGain]) -> str:
    """Which network gains or loses how much by being unfrozen, and how its gap changes; empty without any.

    Controls with random weights are left out, unless there is nothing else.
    """
    gains = [gain for gain in gains if gain.after.weights != "none"] or gains
    if not gains:
        return ""
    rest = {0: "", 1: "; the other lies between"}.get(len(gains) - 2, f"; the other {len(gains) - 2} lie in between")
    if len(gains) == 1:
        return f"By unfreezing, to the trained depth that val ranks highest, {_change(gains[0])}."
    changes = f"{_change(gains[0])}, while {_change(gains[-1])}"
    return f"By unfreezing, each to the trained depth that val ranks highest, {changes}{rest}."


def _change(gain: UnfreezingGain) -> str:
    before, after, advantage = gain.before, gain.after, gain.advantage
    shift = formatting.points(abs(gain.gain))
    change = "keeps its accuracy" if shift == "0.0" else f"{'gains' if gain.gain > 0 else 'loses'} {shift} points"
    change += " on test"
    if shift != "0.0" and advantage and advantage.verdict == "tied":
        change += ", which may be chance"
    accuracies = f"{formatting.percent(before.test_acc)} to {formatting.percent(after.test_acc)}"
    details = f"{before.freeze} to {after.freeze}: {accuracies}"
    if advantage:
        ends = (advantage.low, advantage.high)
        low, high = sorted(ends) if gain.gain >= 0 else sorted(-end for end in ends)
        details += f", paired 95% interval {formatting.points(low)} to {formatting.points(high)}"
    return f"{gain.name} {change} ({details}) and its gap {_gap_change(before.gap, after.gap)}"


def _gap_change(before: float | None, after: float | None) -> str:
    if before is None or after is None or not np.isfinite([before, after]).all():
        return "is unknown"
    first, second = formatting.points(before), formatting.points(after)
    if first == second:
        return f"stays at {second} points"
    return f"{'narrows' if after < before else 'widens'} from {first} to {second} points"
