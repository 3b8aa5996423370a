"""Learning rates in a race on val: their curves, which of them is behind, and which wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# From this epoch on a trial ends that has never been as good as the leading one had been by then.
RACE_FROM = 2

# Why it ends then.
BEHIND = "behind"


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curve; the training loss is the running mean of the epoch, for looking at only."""

    epoch: int
    loss: float | None
    val_acc: float
    val_nll: float
    score: float


@dataclass(frozen=True)
class LearningRateRun:
    """One learning rate: its curve and why it ended."""

    rate: float
    curve: tuple[Epoch, ...]
    ended: str

    @property
    def best(self) -> float:
        """The highest score of all epochs, minus infinity where there is none."""
        return self.best_by(len(self.curve))

    def best_by(self, epoch: int) -> float:
        """The highest score of the first `epoch` epochs."""
        return max((point.score for point in self.curve[:epoch]), default=-math.inf)

    def behind(self, rival: LearningRateRun, epoch: int) -> bool:
        """Whether so many epochs show that it does not get as far as the rival."""
        return epoch >= RACE_FROM and self.best_by(epoch) < rival.best_by(epoch)

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        return {"rate": self.rate, "curve": [asdict(point) for point in self.curve], "ended": self.ended}


class DivergedError(FloatingPointError):
    """No learning rate got through its first epoch."""

    def __init__(self, trials: Sequence[LearningRateRun]) -> None:
        super().__init__("the loss was not finite in the first epoch at any learning rate: training diverged")
        self.trials = tuple(trials)


def from_trace(trace: Mapping[str, Any]) -> LearningRateRun:
    """What `Trial.trace` has written."""
    return LearningRateRun(trace["rate"], tuple(Epoch(**point) for point in trace["curve"]), trace["ended"])


def leader(trials: Mapping[int, LearningRateRun], before: int) -> LearningRateRun | None:
    """Whom the trial at a place races against, None where not all of those before it are known."""
    if not before or set(range(before)) - set(trials):
        return None
    found, chosen = run_again([trials[place] for place in range(before)])
    return found[chosen] if chosen >= 0 else None


def run_again(trials: Sequence[LearningRateRun]) -> tuple[tuple[LearningRateRun, ...], int]:
    """What trials that ran to their own ends would have been one after the other, and which wins, -1 for none.

    A trial ends where it falls behind the one that led before it; that could not have won any more.
    """
    found: list[LearningRateRun] = []
    chosen = -1
    for trial in trials:
        if chosen >= 0:
            # In its last epoch it ended for a reason that goes first, unless it was the next one that broke it.
            last = len(trial.curve) + (trial.ended == "diverged")
            lost = (epoch for epoch in range(1, last) if trial.behind(found[chosen], epoch))
            if epoch := next(lost, 0):
                trial = replace(trial, curve=trial.curve[:epoch], ended=BEHIND)
        found.append(trial)
        if trial.curve and trial.ended != BEHIND and (chosen < 0 or trial.best > found[chosen].best):
            chosen = len(found) - 1
    return tuple(found), chosen
