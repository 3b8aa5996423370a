"""Selection of the learning rate: whole schedules, compared on val by where they end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


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
    """One learning rate: its curve and whether it came to the end of its schedule."""

    rate: float
    curve: tuple[Epoch, ...]
    diverged: bool = False

    @property
    def score(self) -> float:
        """The score of the last weights, minus infinity where there are none that can be used."""
        return -math.inf if self.diverged else self.curve[-1].score

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        ended = "diverged" if self.diverged else "all epochs"
        return {"rate": self.rate, "curve": [asdict(point) for point in self.curve], "ended": ended}


def best(runs: Sequence[LearningRateRun]) -> int:
    """Position of the run that ends with the highest score, of equals the first. Raises DivergedError without one."""
    chosen = max(range(len(runs)), key=lambda position: runs[position].score)
    if runs[chosen].diverged:
        raise DivergedError(runs)
    return chosen


class DivergedError(FloatingPointError):
    """No learning rate got through its schedule."""

    def __init__(self, runs: Sequence[LearningRateRun]) -> None:
        super().__init__("the loss was not finite at any learning rate: training diverged")
        self.trials = tuple(runs)
