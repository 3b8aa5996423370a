"""What a job says while it runs, to whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from backbench.core.cells import Cell


class Phase(StrEnum):
    """What a job does at a time: the names under which run.json has its seconds."""

    BUILDING = "building"
    ENGINE = "engine"
    FROZEN_PASS = "frozen pass"  # noqa: S105  no password
    AUGMENTED_VIEWS = "augmented views"
    PROBE = "probe"
    SCORES = "scores"
    FINE_TUNING = "fine-tuning"
    TRAINING = "training"  # of the hand-made CNN
    EVALUATION = "evaluation"
    TIMING = "timing"
    MEMORY = "memory"
    STARTING = "starting"  # the part of fine-tuning and training before their first steps were over


# What prepares the cells of a job, what measures the cost of inference, and what takes training steps, whose batch is
# a part of the recipe.
SHARED_PHASES = (Phase.BUILDING, Phase.ENGINE, Phase.FROZEN_PASS, Phase.AUGMENTED_VIEWS, Phase.SCORES)
COST_PHASES = (Phase.TIMING, Phase.MEMORY)
TRAINING_PHASES = (Phase.FINE_TUNING, Phase.TRAINING)


@dataclass(frozen=True)
class Progress:
    """A job says where it is: `done` of `total` in one phase."""

    phase: Phase
    done: int
    total: int


@dataclass(frozen=True)
class CellFinished:
    """A job hands over a cell: predictions {name: array} and, where there is one, a linear head {name: array}.

    `model` is the file with the trained weights, which may be too large for a message; whoever takes it moves it.
    """

    cell: Cell
    predictions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    head: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    model: Path | None = None


@dataclass(frozen=True)
class Summary:
    """Last word of a job: what it ran on and the seconds of each phase."""

    label: str
    seconds: Mapping[Phase, float]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Message:
    """A job has something to tell people before it goes on."""

    text: str


@dataclass(frozen=True)
class CellStarted:
    """A job is done with what its cells share, and begins with one of them."""

    cell_id: str


Event = Progress | CellFinished | Message | CellStarted | Summary
