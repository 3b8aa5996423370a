"""Activations of all images at one boundary, on disk while a job lives."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

# Activations are kept as float16 times a power of two, chosen so that the largest of the first batch comes to about
# this: 256 times as much still fits, and what is 2^-22 of it still has a few bits.
COMFORTABLE = 2.0**7

Rows = NDArray[np.int64]


class ActivationStore:
    """Activations at one boundary, float16 in a mapped file without a name: it is gone when the process is.

    `shapes` are those of its tensors without the batch. `views` of each train image are kept: its own activations, and
    those of views - 1 augmented versions of it. Without a `folder` nothing is kept, and all that comes is let through.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, items: int, train: Rows, views: int, folder: Path | None):
        self.shapes, self.items, self.train, self.views = tuple(shapes), items, train, views
        self.scales: tuple[float, ...] = ()
        self.place = np.full(items, -1)  # of a train item among the train items
        self.place[train] = np.arange(len(train))
        rows = items + (views - 1) * len(train)
        self.files = [nameless(folder, 2 * rows * int(np.prod(shape))) for shape in shapes if folder]
        self.arrays = [
            np.memmap(file, np.float16, "r", shape=(rows, *shape))
            for file, shape in zip(self.files, shapes, strict=bool(folder))
        ]

    @staticmethod
    def bytes_for(shapes: Sequence[tuple[int, ...]], *, items: int, train: int, views: int) -> int:
        """Disk space that the activations will take."""
        return 2 * sum(int(np.prod(shape)) for shape in shapes) * (items + (views - 1) * train)

    def write(self, start: int, outputs: Sequence[NDArray[np.float16]], scales: Sequence[float]) -> None:
        """Keep the tensors of some rows in a line, which were divided by `scales`."""
        self.scales = tuple(scales)
        for file, output in zip(self.files, outputs, strict=bool(self.files)):
            # Not through the mapping: to touch a page of a file for the first time costs more than to write it.
            file.seek(start * output[0].nbytes)
            file.write(np.ascontiguousarray(output).data)

    def read(self, items: Rows, views: Rows | None = None) -> list[NDArray[np.float16]]:
        """The tensors of items, as they are or in the given view (0 is the image itself)."""
        rows = items
        if views is not None:
            rows = np.where(views == 0, items, self.items + (views - 1) * len(self.train) + self.place[items])
        return [array[rows] for array in self.arrays]


def scale_for(largest: float) -> float:
    """The power of two by which values of at most this size are divided before they are kept."""
    usual = np.finfo(np.float32).tiny < largest < np.inf
    return float(2.0 ** np.ceil(np.log2(largest / COMFORTABLE))) if usual else 1.0


def nameless(folder: Path, size: int) -> IO[bytes]:
    """A file of so many bytes that is gone when nobody holds it any more."""
    folder.mkdir(parents=True, exist_ok=True)
    file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  it is closed with its owner
    if hasattr(os, "posix_fallocate"):  # a full disk shows now, as an error, and not later, as a crash
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
    return file
