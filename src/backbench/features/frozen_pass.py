"""The frozen pass: every image goes through the frozen part once, and what comes out is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.core import files as caching
from backbench.core.cache import hold
from backbench.core.job import INFERENCE_BATCH
from backbench.data.augmentation import view
from backbench.features.activation_store import ActivationStore, Rows, nameless, scale_for
from backbench.features.engines import engine_for
from backbench.features.engines.base import Engine, EngineReport, Forward, Inputs, pieces
from backbench.features.feature_cache import stored_features

KERAS = engine_for("keras", precision="float32")

# Infinite values and NaN of float16 are those whose bits, but for the sign, are at least these.
INFINITE = 0x7C00

# Batches that may wait to be written while the next one is computed.
WAITING = 2


class FrozenModel:
    """A frozen part as it is run: features in float32, and tensors inside it in float16, divided by `scales`.

    `model` is what `graph.frozen_part` gives, with or without features (`pooled`). The network itself divides and
    rounds: that is much quicker than NumPy's rounding to float16, and only half the bytes leave the device. `ran` says
    what ran it, once something has, and `ready_seconds` how long it took to make that ready; `batch` images at a time.
    """

    def __init__(
        self, model: keras.Model, *, pooled: bool = True, engine: Engine = KERAS, batch: int = INFERENCE_BATCH
    ) -> None:
        own = model.outputs[: int(pooled)]
        tensors = model.outputs[int(pooled) :]
        self.width = int(own[0].shape[-1]) if pooled else 0
        self.model = _rounding(model, own, tensors) if tensors else model
        self.tensors = len(tensors)
        self.scales: tuple[float, ...] = ()
        self.ran = EngineReport("", "")
        self.ready_seconds = 0.0
        self.batch = batch
        self._engine = engine
        self._run: Forward | None = None

    def settle(self, images: NDArray[np.uint8]) -> Forward:
        """Make the engine ready and find the scales, from the first images or a sample; what was settled stays."""
        if self._run is not None:
            return self._run
        inputs: Inputs = [images, np.ones((len(images), self.tensors), np.float32)] if self.tensors else [images]
        began = time.perf_counter()
        self._run, self.ran = self._engine(self.model, inputs)
        self.ready_seconds = time.perf_counter() - began
        if self.tensors:
            largest = np.concatenate([outputs[-1] for outputs in self._run(pieces(inputs, self.batch))])
            self.scales = tuple(scale_for(value) for value in largest.max(axis=0))
        return self._run

    def forward(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[Any]]]:
        """Features [b, d] where there are any and tensors [b, ...] of each batch of raw images.

        Raises FloatingPointError for tensors that hold NaN or do not fit float16.
        """
        batches = iter(images)
        first = next(batches, None)
        if first is None:
            return
        run = self.settle(first)
        batches = chain([first], batches)
        if not self.tensors:
            yield from run(batches)
            return
        scales = np.array([self.scales], np.float32)
        for outputs in run([b, np.repeat(scales, len(b), axis=0)] for b in batches):
            for tensor in outputs[-1 - self.tensors : -1]:
                if not _finite(tensor):
                    raise FloatingPointError("activations hold NaN, or values too large to be kept as float16")
            yield outputs[:-1]


def _finite(values: NDArray[Any]) -> bool:
    """Whether all of float16 are; by their bits, which is ten times quicker than NumPy's own test."""
    positive, negative = values.view(np.int16).max(initial=0), values.view(np.uint16).max(initial=0)
    return bool(positive < INFINITE and negative < INFINITE + 0x8000)


def _rounding(model: keras.Model, own: Sequence[Any], tensors: Sequence[Any]) -> keras.Model:
    """With scales [b, k] of the k tensors as a second input, and their largest sizes [b, k] as a last output."""
    scales = keras.Input((len(tensors),), dtype="float32", name="scales")
    rounded, largest = [], []
    for position, tensor in enumerate(tensors):
        values = keras.ops.cast(tensor, "float32")
        inner = list(range(1, len(tensor.shape)))
        scale = keras.ops.expand_dims(scales[:, position], axis=inner)
        rounded.append(keras.ops.cast(values / scale, "float16"))
        largest.append(keras.ops.maximum(keras.ops.max(values, axis=inner), -keras.ops.min(values, axis=inner)))
    return keras.Model([*model.inputs, scales], [*own, *rounded, keras.ops.stack(largest, axis=1)], name=model.name)


def sample(pixels: NDArray[np.uint8], rows: Rows) -> NDArray[np.uint8]:
    """A batch of images from all over the dataset, by which an engine is checked and scales are chosen."""
    chosen: NDArray[np.uint8] = pixels[rows[np.linspace(0, len(rows) - 1, min(len(rows), INFERENCE_BATCH)).astype(int)]]
    return chosen


def batches(pixels: NDArray[np.uint8], rows: Rows, *, size: int = INFERENCE_BATCH) -> Iterator[NDArray[np.uint8]]:
    """The rows of the memory-mapped pixels in order, as arrays of at most `size` images."""
    for start in range(0, len(rows), size):
        yield pixels[rows[start : start + size]]


def frozen_pass(
    frozen: FrozenModel,
    pixels: NDArray[np.uint8],
    rows: Rows,
    *,
    key: Mapping[str, Any],
    cache: Path,
    kept: Sequence[ActivationStore] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Features [n, d] of the images `pixels[rows]`, mapped, and the seconds they took once the engine was ready.

    They are computed once per key. The tensors of the frozen part are those of the boundaries to be `kept`, in order.
    `key` names everything that could change a value: pixels, weights, preprocessing, engine, versions. Features in the
    cache are used only when their file is whole; `frozen.ran` is then what ran when they were computed. Raises OSError
    when the cache cannot be written.
    """
    path = cache / "features" / f"{caching.digest_of(key)}.npy"
    note = path.with_suffix(".json")
    hold(path)
    if not any(boundary.files for boundary in kept) and (
        recalled := stored_features(path, note, (len(rows), frozen.width))
    ):
        features, seconds, frozen.ran = recalled
        return features, seconds
    frozen.settle(sample(pixels, rows))
    outputs = frozen.forward(batches(pixels, rows, size=frozen.batch))
    began = time.perf_counter()
    with caching.whole_file(path) as temporary:
        features = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(rows), frozen.width))
        caching.reserve(temporary)  # a full disk shows now, and not as a crash
        write_all(outputs, frozen.scales, features, kept, rows=len(rows), progress=progress)
        features.flush()
        digest = caching.sha256_file(temporary)
        # Opened under this name: another process that computes the same may soon give the other one to its own file.
        found: NDArray[np.float32] = np.load(temporary, mmap_mode="r", allow_pickle=False)
    seconds = time.perf_counter() - began
    if frozen.ran.engine == key.get("engine", frozen.ran.engine):  # falling back on another may have a passing cause
        recorded = {"features": digest, "seconds": seconds, "ran": asdict(frozen.ran), "key": dict(key)}
        caching.write_json(note, caching.sealed(recorded))
    return found, seconds


def augmented_pass(
    frozen: FrozenModel,
    pixels: NDArray[np.uint8],
    rows: Rows,
    *,
    features: NDArray[np.float32],
    train: Rows,
    views: int,
    flips: bool,
    folder: Path,
    kept: Sequence[ActivationStore] = (),
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Fill the augmented views of the train items; `rows` are those of all n items, `frozen` what they went through.

    Returns `features` with those of the views below, [n + (views - 1) len(train), d], mapped from a nameless file.
    """
    items = np.tile(train, views - 1)
    numbers = np.repeat(np.arange(1, views), len(train))
    parts = (slice(start, start + frozen.batch) for start in range(0, len(items), frozen.batch))
    shape = (len(rows) + len(items), features.shape[1])
    found: NDArray[np.float32] = np.memmap(nameless(folder, 4 * shape[0] * shape[1]), np.float32, "r+", shape=shape)
    found[: len(rows)] = features
    images = (view(pixels[rows[items[piece]]], items[piece], numbers[piece], flips=flips) for piece in parts)
    outputs, first = frozen.forward(images), len(rows)
    write_all(outputs, frozen.scales, found, kept, rows=len(items), first=first, progress=progress)
    return found


def write_all(
    outputs: Iterable[Sequence[NDArray[Any]]],
    scales: Sequence[float],
    features: Any,
    kept: Sequence[ActivationStore],
    *,
    rows: int,
    first: int = 0,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Fill `rows` of features and kept tensors from `first` on; a second thread writes while the next is computed."""
    done = first
    pending: list[Future[None]] = []

    def write(start: int, outputs: Sequence[NDArray[Any]]) -> None:
        features[start : start + len(outputs[0])] = outputs[0]
        taken = 1
        for boundary in kept:
            mine = slice(taken, taken := taken + len(boundary.shapes))
            boundary.write(start, outputs[mine], scales[mine.start - 1 : mine.stop - 1])

    with ThreadPoolExecutor(1) as writer:
        for batch in outputs:
            pending.append(writer.submit(write, done, batch))
            done += len(batch[0])
            if len(pending) > WAITING:
                pending.pop(0).result()
            if progress:
                progress(done - first, rows)
        for future in pending:
            future.result()
