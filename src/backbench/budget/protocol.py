"""What a search asks for and what it is told."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backbench.core.job import FULL, Effort


@dataclass(frozen=True)
class Arm:
    """One candidate: a network at a freeze depth, with the ids of its cells, one a seed.

    `network` tells backbones, weights and image sizes apart. `epochs` is the most of its recipe, 0 for a probe.
    `prior` ranks networks before anything is measured, higher is better.
    """

    network: str
    family: str
    freeze: str
    cells: tuple[str, ...]
    epochs: int = 0
    prior: float = 0.0

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.network}@{self.freeze}"


@dataclass(frozen=True)
class Measurement:
    """One cell: measured, or only tried with less effort."""

    arm: Arm
    cell: str
    effort: Effort = FULL


@dataclass(frozen=True)
class Round:
    """Steps in the order of their worth, which may take so large a `share` of what is left of the budget.

    `dropped` says of arms that have been given up since the last round why.
    """

    name: str
    steps: Sequence[Measurement]
    share: float = 1.0
    dropped: Mapping[Arm, str] = field(default_factory=dict)


# What a step came to, a value of each image [n], higher is better: on val the log-probability of its class, after one
# temperature is fitted, whose mean is the logarithm of the selection score; in screening, on train, 1 where right.
PerItemScores = NDArray[np.float64]

Rounds = Generator[Round, Mapping[Measurement, PerItemScores]]


class Strategy(Protocol):
    """Begins a search over arms, on a dataset with so many images of train."""

    def __call__(self, arms: Sequence[Arm], *, train: int = ...) -> Rounds:
        """The rounds of one search."""
        ...
