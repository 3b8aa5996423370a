"""A dataset at its three stages: listed (no pixel decoded), decoded pixels, usable items with splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


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
