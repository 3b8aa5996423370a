"""The frozen pass: every image goes through the frozen part once, and what comes out is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import cache as caching
from backbench.engines import keras_engine

# Only speed depends on it, not results: a frozen network treats each image alone.
INFERENCE_BATCH = 32


def batches(
    pixels: NDArray[np.uint8], rows: NDArray[np.int64], *, size: int = INFERENCE_BATCH
) -> Iterator[NDArray[np.uint8]]:
    """The rows of the memory-mapped pixels in order, as arrays of at most `size` images."""
    for start in range(0, len(rows), size):
        yield pixels[rows[start : start + size]]


def frozen_pass(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    key: Mapping[str, Any],
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Features [n, d] of the images `pixels[rows]`, memory-mapped, computed once per key, and the seconds that took.

    `key` names everything that could change a value: pixels, weights, preprocessing, engine, versions. Features in the
    cache are used only when their file is whole. Raises OSError when the cache cannot be written.
    """
    path = cache / "features" / f"{caching.digest_of(key)}.npy"
    note = path.with_suffix(".json")
    width = int(model.output_shape[-1])
    if (recalled := _recall(path, note, (len(rows), width))) is not None:
        return recalled
    began = time.perf_counter()
    with caching.whole_file(path) as temporary:
        features = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(rows), width))
        done = 0
        for output in keras_engine.forward(model, batches(pixels, rows)):
            features[done : done + len(output)] = output
            done += len(output)
            if progress:
                progress(done, len(rows))
        features.flush()
        del features
        digest = caching.sha256_file(temporary)
    seconds = time.perf_counter() - began
    caching.write_json(note, {"sha256": digest, "seconds": seconds, "key": dict(key)})
    return np.load(path, mmap_mode="r", allow_pickle=False), seconds


def _recall(path: Path, note: Path, shape: tuple[int, int]) -> tuple[NDArray[np.float32], float] | None:
    """Features in the cache and the seconds they took, or None unless both files are whole."""
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        recorded = json.loads(note.read_text(encoding="utf-8"))
        whole = kept.shape == shape and kept.dtype == np.float32 and recorded["sha256"] == caching.sha256_file(path)
        return (kept, float(recorded["seconds"])) if whole else None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
