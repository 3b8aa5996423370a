"""What the trained part reads: pixels, kept activations, or activations computed anew for every batch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backbench.data.augmentation import light, view
from backbench.features.activation_store import ActivationStore
from backbench.features.engines.base import EngineReport
from backbench.features.frozen_pass import FrozenModel

Items = NDArray[np.int64]
Arrays = list[NDArray[Any]]


class Batches(Protocol):
    """Inputs of the trained part by the positions of items in the dataset: one array [b, ...] per input."""

    threaded: bool  # whether a batch may be made in another thread while the last one is trained on

    @property
    def kind(self) -> str:
        """What the inputs are, for the cell's trace."""
        ...

    @property
    def note(self) -> str:
        """What the reader of a cell should know of them, empty where nothing."""
        ...

    @property
    def engine(self) -> EngineReport | None:
        """What ran the frozen part before them; None where nothing is frozen."""
        ...

    def training(self, items: Items, rng: np.random.Generator) -> Arrays:
        """As they are trained on: augmented if that was asked for."""
        ...

    def clean(self, items: Items) -> Arrays:
        """As they are, for evaluation."""
        ...


class PixelBatches:
    """Raw images, for what is trained from the first layer on: `rows[i]` is the row of item i in the pixels."""

    threaded, kind, note, engine = True, "pixels", "", None

    def __init__(self, pixels: NDArray[np.uint8], rows: Items, *, augment: bool, flips: bool) -> None:
        self.pixels, self.rows, self.augment, self.flips = pixels, rows, augment, flips

    def training(self, items: Items, rng: np.random.Generator) -> Arrays:
        """Images, a new draw of the augmentation every time."""
        images = self.pixels[self.rows[items]]
        return [light(images, flips=self.flips, rng=rng) if self.augment else images]

    def clean(self, items: Items) -> Arrays:
        """Images as they are."""
        return [self.pixels[self.rows[items]]]


class StoredActivationBatches:
    """Activations that the frozen pass kept, in one of their views where there are several."""

    threaded, kind, note = True, "stored activations", ""

    def __init__(self, store: ActivationStore, *, engine: EngineReport | None = None) -> None:
        self.store, self.engine = store, engine

    def training(self, items: Items, rng: np.random.Generator) -> Arrays:
        """One of the kept views of each item, drawn anew every time."""
        views = rng.integers(0, self.store.views, len(items)) if self.store.views > 1 else None
        return list(self.store.read(items, views))

    def clean(self, items: Items) -> Arrays:
        """Of the images as they are."""
        return list(self.store.read(items))


class RecomputedActivationBatches:
    """Activations computed for every batch, where there is no room to keep them: the same values, in many passes."""

    threaded, kind = False, "recomputed activations"
    note = "the boundary's activations did not fit the disk budget and were computed anew for every batch"

    def __init__(
        self,
        prefix: FrozenModel,
        pixels: NDArray[np.uint8],
        rows: Items,
        *,
        views: int,
        flips: bool,
    ) -> None:
        self.prefix, self.pixels, self.rows = prefix, pixels, rows
        self.views, self.flips = views, flips

    def training(self, items: Items, rng: np.random.Generator) -> Arrays:
        """Of one of the views of each item, drawn anew every time."""
        images = self.pixels[self.rows[items]]
        if self.views > 1:
            images = view(images, items, rng.integers(0, self.views, len(items)), flips=self.flips)
        return self._through(images)

    def clean(self, items: Items) -> Arrays:
        """Of the images as they are."""
        return self._through(self.pixels[self.rows[items]])

    @property
    def engine(self) -> EngineReport:
        """What runs the frozen part."""
        return self.prefix.ran

    def _through(self, images: NDArray[np.uint8]) -> Arrays:
        parts = (images[start : start + self.prefix.batch] for start in range(0, len(images), self.prefix.batch))
        return [np.concatenate(pieces) for pieces in zip(*self.prefix.forward(parts), strict=True)]
