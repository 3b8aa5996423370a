"""The frozen pass: every image goes through the frozen part once, and what comes out is kept."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import cache as caching
from backbench.augment import view
from backbench.engines import keras_engine

# Only speed depends on it, not results: a frozen network treats each image alone.
INFERENCE_BATCH = 32

# Activations are kept as float16 times a power of two, chosen so that the largest of the first batch comes to about
# this: 256 times as much still fits, and what is 2^-22 of it still has a few bits.
COMFORTABLE = 2.0**7

# Batches that may wait to be written while the next one is computed.
WAITING = 2

Rows = NDArray[np.int64]


class Kept:
    """Activations at one boundary, float16 in a mapped file without a name: it is gone when the process is.

    `shapes` are those of the boundary's tensors without the batch. `views` of each train image are kept: its own
    activations, and those of views - 1 augmented versions of it.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, items: int, train: Rows, views: int, folder: Path) -> None:
        self.shapes, self.items, self.train, self.views = tuple(shapes), items, train, views
        self.scales: list[float] = []
        self.place = np.full(items, -1)  # of a train item among the train items
        self.place[train] = np.arange(len(train))
        rows = items + (views - 1) * len(train)
        self.arrays = [_nameless((rows, *shape), folder) for shape in shapes]

    @staticmethod
    def bytes_for(shapes: Sequence[tuple[int, ...]], *, items: int, train: int, views: int) -> int:
        """Disk space that the activations will take."""
        return 2 * sum(int(np.prod(shape)) for shape in shapes) * (items + (views - 1) * train)

    def write(self, start: int, outputs: Sequence[NDArray[np.float32]]) -> None:
        """Keep the tensors of some rows in a line. Raises FloatingPointError for values that do not fit."""
        if not self.scales:
            self.scales = [scale_for(output) for output in outputs]
        for array, output, scale in zip(self.arrays, outputs, self.scales, strict=True):
            array[start : start + len(output)] = compact(output, scale)

    def read(self, items: Rows, views: Rows | None = None) -> list[NDArray[np.float16]]:
        """The tensors of items, as they are or in the given view (0 is the image itself)."""
        rows = items
        if views is not None:
            rows = np.where(views == 0, items, self.items + (views - 1) * len(self.train) + self.place[items])
        return [array[rows] for array in self.arrays]


def scale_for(values: NDArray[np.float32]) -> float:
    """The power of two by which values are divided before they are kept."""
    largest = float(np.abs(values).max(initial=0.0))
    usual = np.finfo(np.float32).tiny < largest < np.inf
    return float(2.0 ** np.ceil(np.log2(largest / COMFORTABLE))) if usual else 1.0


def compact(values: NDArray[np.float32], scale: float) -> NDArray[np.float16]:
    """Values / scale as float16. Raises FloatingPointError for values that do not fit."""
    with np.errstate(over="ignore", under="ignore"):
        found = (values * np.float32(1 / scale)).astype(np.float16)
    if not np.isfinite(found).all():
        raise FloatingPointError("activations hold NaN, or values too large to be kept as float16")
    return found


def _nameless(shape: tuple[int, ...], folder: Path) -> NDArray[np.float16]:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps the file alive after its name is gone
        if hasattr(os, "posix_fallocate"):  # a full disk shows now, as an error, and not later, as a crash
            os.posix_fallocate(file.fileno(), 0, 2 * int(np.prod(shape)))
        return np.memmap(file, np.float16, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=shape)


def batches(pixels: NDArray[np.uint8], rows: Rows, *, size: int = INFERENCE_BATCH) -> Iterator[NDArray[np.uint8]]:
    """The rows of the memory-mapped pixels in order, as arrays of at most `size` images."""
    for start in range(0, len(rows), size):
        yield pixels[rows[start : start + size]]


def frozen_pass(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: Rows,
    *,
    key: Mapping[str, Any],
    cache: Path,
    kept: Sequence[Kept] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Features [n, d] of the images `pixels[rows]`, memory-mapped, computed once per key, and the seconds that took.

    The model's first output are the features; the others are the tensors of the boundaries to be `kept`, in order.
    `key` names everything that could change a value: pixels, weights, preprocessing, engine, versions. Features in the
    cache are used only when their file is whole. Raises OSError when the cache cannot be written.
    """
    path = cache / "features" / f"{caching.digest_of(key)}.npy"
    note = path.with_suffix(".json")
    width = int(_first(model.output_shape)[-1])
    recalled = _recall(path, note, (len(rows), width))
    if recalled is not None and not kept:
        return recalled
    began = time.perf_counter()
    with caching.whole_file(path) as temporary:
        features = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(rows), width))

        _run(
            model,
            batches(pixels, rows),
            lambda start, outputs: _write(features, kept, start, outputs),
            total=len(rows),
            progress=progress,
        )
        features.flush()
        digest = caching.sha256_file(temporary)
    seconds = time.perf_counter() - began
    caching.write_json(note, {"sha256": digest, "seconds": seconds, "key": dict(key)})
    return np.load(path, mmap_mode="r", allow_pickle=False), seconds


def augmented_pass(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: Rows,
    *,
    kept: Sequence[Kept],
    flips: bool,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill the augmented views of the train items; `rows` are those of all items, `model` as for the frozen pass."""
    train, views = kept[0].train, kept[0].views
    items = np.tile(train, views - 1)
    numbers = np.repeat(np.arange(1, views), len(train))
    pieces = (slice(start, start + INFERENCE_BATCH) for start in range(0, len(items), INFERENCE_BATCH))
    _run(
        model,
        (view(pixels[rows[items[piece]]], items[piece], numbers[piece], flips=flips) for piece in pieces),
        lambda start, outputs: _write(None, kept, kept[0].items + start, outputs),
        total=len(items),
        progress=progress,
    )


def _run(
    model: keras.Model,
    images: Iterator[NDArray[np.uint8]],
    write: Callable[[int, Sequence[NDArray[np.float32]]], None],
    *,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run the model over batches and write what comes out in a second thread, while the next batch is computed."""
    done = 0
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(1) as writer:
        for outputs in keras_engine.forward(model, images):
            pending.append(writer.submit(write, done, outputs))
            done += len(outputs[0])
            if len(pending) > WAITING:
                pending.pop(0).result()
            if progress:
                progress(done, total)
        for future in pending:
            future.result()


def _write(
    features: NDArray[np.float32] | None,
    kept: Sequence[Kept],
    start: int,
    outputs: Sequence[NDArray[np.float32]],
) -> None:
    if features is not None:
        features[start : start + len(outputs[0])] = outputs[0]
    taken = 1
    for boundary in kept:
        count = len(boundary.shapes)
        boundary.write(start, outputs[taken : taken + count])
        taken += count


def _first(shape: Any) -> Any:
    return shape[0] if isinstance(shape, list) else shape


def _recall(path: Path, note: Path, shape: tuple[int, int]) -> tuple[NDArray[np.float32], float] | None:
    """Features in the cache and the seconds they took, or None unless both files are whole."""
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        recorded = json.loads(note.read_text(encoding="utf-8"))
        whole = kept.shape == shape and kept.dtype == np.float32 and recorded["sha256"] == caching.sha256_file(path)
        return (kept, float(recorded["seconds"])) if whole else None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
