"""A job: one backbone on one dataset at one image size, with all cells that share its frozen pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench.core.backbone import Backbone, Weights
from backbench.core.cells import CellKey
from backbench.core.dataset import Dataset, Pixels
from backbench.core.records import SCRATCH, Series

# Images of one call of a network that is not being trained, where memory allows. Only speed and memory depend on it,
# not results: such a network treats each image alone.
INFERENCE_BATCH = 32


@dataclass(frozen=True)
class Trial:
    """How far cells are taken that are only to show whether all of them is worth its time.

    A fully frozen one by the features of so many `images` of train, a trained one by so many `epochs` at the first
    learning rate.
    """

    images: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Job:
    """One backbone on one dataset at one image size, with all cells that share its frozen pass.

    `backbone` is None for the hand-made CNN. `weights` and `pixels` are filled in when they are at hand. In `drafts`
    the job leaves trained weights for the sweep to take; None keeps none. Only memory and speed depend on
    `inference_batch`, the images of one call that trains nothing. With a `trial` its cells are not measured, but tried.
    In a file `taken` are ids of cells that others have taken over meanwhile.
    """

    backbone: Backbone | None
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
    keep_bytes: int
    engine: str
    precision: str
    backend: str
    cache: Path
    weights: Weights | None = None
    pixels: Pixels | None = None
    wanted: tuple[str, ...] | None = None
    drafts: Path | None = None
    inference_batch: int = INFERENCE_BATCH
    trial: Trial | None = None
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
            raise ValueError(f"{self.label}: the job has no pixels")
        return self.pixels.open()

    @property
    def series(self) -> Series:
        """The network, as in the keys of its cells."""
        name = self.backbone.name if self.backbone else SCRATCH
        return name, "imagenet" if self.pretrained else "none", self.image_size

    @property
    def label(self) -> str:
        """Name for people: `VGG16`, `VGG16 (random weights)` or `scratch`."""
        return CellKey(*self.series, freeze="", seed=0).network
