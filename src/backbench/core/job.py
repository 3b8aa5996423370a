"""A job: what is to be measured of one backbone, and what it has to work with. Executors run it and hand it around.

`JobSpec` holds all that can change a number, a `Task` says which of its cells to measure and how far, `Resources` hold
the rest: folders, decoded images, batch sizes of inference. No number depends on resources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core.backbone import RANDOM_WEIGHTS, Backbone, Weights
from backbench.core.dataset import Dataset, Pixels

# Images of one call of a network that is not being trained, where memory allows. Only speed and memory depend on it,
# not results: such a network treats each image alone.
INFERENCE_BATCH = 32


@dataclass(frozen=True)
class JobSpec:
    """One backbone on one dataset at one image size, with the recipe of all cells that share its frozen pass.

    `pretrained` is false for random weights; `weights` are filled in when the pretrained ones are at hand.
    """

    backbone: Backbone
    pretrained: bool
    dataset: Dataset
    image_size: int
    resize: str
    freeze: tuple[str, ...]
    seeds: int
    epochs: int
    batch_size: int
    augment: str | None
    views: int
    engine: str
    precision: str
    backend: str
    weights: Weights | None = None

    @property
    def series(self) -> tuple[str, str, int]:
        """The network, as in the keys of its cells: backbone, weights, image size."""
        return self.backbone.name, "imagenet" if self.pretrained else "none", self.image_size

    @property
    def label(self) -> str:
        """Name for people: `VGG16`, `VGG16 (random weights)` or `scratch`."""
        at_random = not self.pretrained and not self.backbone.from_scratch
        return f"{self.backbone.name} ({RANDOM_WEIGHTS})" if at_random else self.backbone.name


@dataclass(frozen=True)
class Schedule:
    """How much of its training a cell gets: the epochs of the recipe, or a whole schedule of fewer `epochs`."""

    epochs: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the cell is measured, and not only tried."""
        return self.epochs is None

    def record(self) -> dict[str, int | None]:
        """As a tried cell's file has it."""
        return {"images": None, "epochs": self.epochs}


FULL = Schedule()


@dataclass(frozen=True)
class Screening:
    """A fully frozen cell is not measured: ridge regression looks at the features of so many images of train."""

    images: int

    @property
    def complete(self) -> bool:
        """Never: what is screened is only tried."""
        return False

    def record(self) -> dict[str, int | None]:
        """As a tried cell's file has it."""
        return {"images": self.images, "epochs": None}


# How far a cell is taken: measured, or tried, so that a budget can decide whether it is worth its time.
Effort = Schedule | Screening


@dataclass(frozen=True)
class MeasureCells:
    """To measure cells, in the order of these ids; None are all. With a shorter schedule they are tried."""

    spec: JobSpec
    cells: tuple[str, ...] | None = None
    schedule: Schedule = FULL


@dataclass(frozen=True)
class ScreenBackbone:
    """The task to try the fully frozen cell on a few images of train, which are all that the spec's dataset holds."""

    spec: JobSpec
    screening: Screening
    cells: tuple[str, ...] | None = None


Task = MeasureCells | ScreenBackbone


@dataclass(frozen=True)
class Resources:
    """What a job works with; only speed and memory depend on it.

    `pixels` are filled in when they are at hand. In `drafts` the job leaves trained weights for the sweep to take; None
    keeps none. `inference_batch` are the images of one call that trains nothing. In the file `taken` are the ids of
    cells that others have taken over meanwhile.
    """

    cache: Path
    keep_bytes: int
    pixels: Pixels | None = None
    drafts: Path | None = None
    inference_batch: int = INFERENCE_BATCH
    taken: Path | None = None

    def is_taken(self, cell_id: str) -> bool:
        """Whether somebody else has taken over a cell since the job began."""
        try:
            return self.taken is not None and cell_id in self.taken.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return False

    def images(self) -> NDArray[np.uint8]:
        """The decoded images, memory-mapped. Raises ValueError when the job was not given any."""
        if self.pixels is None:
            raise ValueError("the job has no pixels")
        return self.pixels.open()


@dataclass(frozen=True)
class Job:
    """A task with its resources."""

    task: Task
    resources: Resources

    @property
    def spec(self) -> JobSpec:
        """All that can change a number."""
        return self.task.spec

    @property
    def cells(self) -> tuple[str, ...] | None:
        """Ids of the cells that the job owes, None for all of them."""
        return self.task.cells

    @property
    def label(self) -> str:
        """Name of its network for people."""
        return self.spec.label

    @property
    def effort(self) -> Effort:
        """How far its cells are taken."""
        return self.task.schedule if isinstance(self.task, MeasureCells) else self.task.screening

    @property
    def backend(self) -> str:
        """The framework that its process imports."""
        return self.spec.backend

    def owing(self, cells: tuple[str, ...] | None) -> Job:
        """The same job with these cells to measure."""
        return replace(self, task=replace(self.task, cells=cells))

    def with_effort(self, effort: Effort) -> Job:
        """The same cells, taken so far."""
        spec, cells = self.spec, self.cells
        task = (
            ScreenBackbone(spec, effort, cells) if isinstance(effort, Screening) else MeasureCells(spec, cells, effort)
        )
        return replace(self, task=task)

    def with_spec(self, **changes: Any) -> Job:
        """The same task for another spec."""
        return replace(self, task=replace(self.task, spec=replace(self.spec, **changes)))

    def with_resources(self, **changes: Any) -> Job:
        """The same task with other resources."""
        return replace(self, resources=replace(self.resources, **changes))
