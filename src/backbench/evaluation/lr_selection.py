"""Learning rates in a race on val: their curves, which of them is behind, and which wins."""

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


class DivergedError(FloatingPointError):
    """No learning rate got through its first epoch."""

    def __init__(self, trials: Sequence[LearningRateRun]) -> None:
        super().__init__("the loss was not finite in the first epoch at any learning rate: training diverged")
        self.trials = tuple(trials)
