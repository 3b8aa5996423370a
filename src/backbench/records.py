"""The frozen records that travel between the layers: what was asked, what was found, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")

# Part of every cell's identity: raise it when the protocol changes what a number means.
PROTOCOL_VERSION = 4


# Images of one call of a network that is not being trained, where memory allows. Only speed and memory depend on it,
# not results: such a network treats each image alone.
INFERENCE_BATCH = 32


class ImageSource(Protocol):
    """Where the encoded images of a listing are read from; picklable."""

    def encoded(self, index: int) -> bytes:
        """Bytes of image `index` as stored (JPEG, PNG, ...). Raises OSError when they cannot be read."""
        ...


@dataclass(frozen=True)
class Listing:
    """What a dataset source knows before a pixel is decoded; n items in the order of their ids."""

    name: str
    source: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    published: NDArray[np.str_]
    digests: tuple[str, ...]
    images: ImageSource
    image_size: int | None = None
    flips: bool = True
    unreadable: tuple[tuple[str, str], ...] = ()
    ignored_files: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pixels:
    """Decoded images of one size on disk: uint8 `.npy` of shape [rows, size, size, 3], memory-mapped when read."""

    path: Path
    size: int
    resize: str

    def open(self) -> NDArray[np.uint8]:
        """The array, mapped read-only."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Dataset:
    """Usable items with their splits; n items, `rows[i]` is the row of item i in the decoded pixels.

    `copies` has the ids of the test items of which train has a copy: `exact` ones, and `near` ones beside them.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.str_]
    rows: NDArray[np.int64]
    fingerprint: str
    health: Mapping[str, Any]
    image_size: int | None = None
    flips: bool = True
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of items of each split."""
        return {split: len(self.indices(split)) for split in SPLITS}

    def indices(self, split: str) -> NDArray[np.int64]:
        """Positions of the items of one split, ascending."""
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone: parameters and FLOPs of its own, and where it ends.

    `name` is the layer that it ends with, `stride` how many input pixels one position of its output stands for,
    `shapes` those of the tensors that cross its end at the backbone's native size, without the batch.
    """

    name: str
    stride: int
    shapes: tuple[tuple[int, ...], ...]
    params: int
    flops: int


@dataclass(frozen=True)
class Backbone:
    """One row of the table of backbones: a function of `keras.applications` at one width."""

    name: str
    function: str
    module: str
    family: str
    native_size: int
    min_size: int
    preprocessing: str
    params: int
    weights_url: str
    weights_hash: str | None
    imagenet_top1: float | None
    top1_source: str
    alpha: float | None = None
    weights_file: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the weights file in Keras's cache: the last part of the address, but for NASNet."""
        return self.weights_file or self.weights_url.rpartition("/")[2]


@dataclass(frozen=True)
class Weights:
    """Pretrained tensors at hand: a file, its format, what it is and where it came from."""

    path: Path | None
    format: str
    digest: str | None
    source: str


@dataclass(frozen=True)
class Request:
    """Everything that was asked of one sweep; field names are those of the options."""

    dataset: str = "digits"
    backbones: str = "starter,scratch"
    freeze: str = "all,all-1"
    seeds: int = 1
    weights: str = "imagenet"
    image_size: int | None = None
    resize: str = "stretch"
    augment: str | None = None
    views: int = 4
    limit: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    keep_gb: float = 20.0
    keep_models: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    mirrors: bool = True
    executor: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    timeout: str | None = None
    budget: str | None = None
    out: Path | None = None
    fresh: bool = False
    image_column: str | None = None
    label_column: str | None = None
    min_per_class: int = 3
    images: bool | None = None


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
    With a `shard` it is only the frozen pass of these images, first and past the last, its file in `drafts`. With
    `shards` the frozen pass was made by others, and is in the files of each, by depth (`shards`). In a file `taken` are
    ids of cells that others have taken over meanwhile.
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
    shard: tuple[int, int] | None = None
    shards: tuple[Mapping[int, Path], ...] = ()
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
    def label(self) -> str:
        """Name for people: `VGG16`, `VGG16 (random weights)` or `scratch`."""
        if self.backbone is None:
            return "scratch"
        return self.backbone.name if self.pretrained else f"{self.backbone.name} (random weights)"


@dataclass(frozen=True)
class Cell:
    """One finished fact: identity, status and everything measured. Immutable once stored.

    `row` holds the columns of the table; `trace` what stands behind them (regularisation path, learning curve).
    """

    cell_id: str
    status: str
    reason: str
    identity: Mapping[str, Any]
    row: Mapping[str, Any]
    trace: Mapping[str, Any] = field(default_factory=dict)
