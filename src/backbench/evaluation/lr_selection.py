"""Selection of the learning rate on val: the curve of each run, when a run ends, and which run wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backbench.core import recipe

# Why a trial ends that has never been as good as the leading one had been by then (`recipe.RACE_FROM`).
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
        return epoch >= recipe.RACE_FROM and self.best_by(epoch) < rival.best_by(epoch)

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        return {"rate": self.rate, "curve": [asdict(point) for point in self.curve], "ended": self.ended}


class LearningRateSelection:
    """The runs so far, the best of them, and the rule by which a run ends before its schedule does.

    `epochs` is the length of the schedule, `stop_after` the last epoch that is trained, `val` the number of val images.
    """

    def __init__(self, *, epochs: int, stop_after: int, val: int) -> None:
        self.epochs, self.stop_after, self.val = epochs, stop_after, val
        self.patience = max(recipe.LEAST_PATIENCE, round(recipe.PATIENCE * epochs))
        self.runs: list[LearningRateRun] = []
        self.chosen: int | None = None

    def ended(self, curve: Sequence[Epoch]) -> str:
        """Why a run with this curve ends now, empty where it goes on."""
        last, best = curve[-1], max(range(len(curve)), key=lambda place: curve[place].score)
        if last.epoch in (self.epochs, self.stop_after):
            return "all epochs"
        if round((1 - last.val_acc) * self.val) <= recipe.LEFT_ON_VAL and best == len(curve) - 1:
            return "val is as good as solved"
        if len(curve) - 1 - best >= self.patience:
            return "no longer better"
        rival = None if self.chosen is None else self.runs[self.chosen]
        if rival and LearningRateRun(0.0, tuple(curve), BEHIND).behind(rival, last.epoch):
            return BEHIND
        return ""

    def take(self, run: LearningRateRun) -> bool:
        """Add a run that has ended; whether it is the best so far. One without an epoch never is."""
        self.runs.append(run)
        better = bool(run.curve) and (self.chosen is None or run.best > self.runs[self.chosen].best)
        if better:
            self.chosen = len(self.runs) - 1
        return better


class DivergedError(FloatingPointError):
    """No learning rate got through its first epoch."""

    def __init__(self, trials: Sequence[LearningRateRun]) -> None:
        super().__init__("the loss was not finite in the first epoch at any learning rate: training diverged")
        self.trials = tuple(trials)
