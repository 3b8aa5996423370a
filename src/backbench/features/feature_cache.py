"""The feature cache: features of a frozen pass that an earlier job with the same key has stored."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench.core import files as caching
from backbench.features.engines.base import EngineReport


def stored_features(
    path: Path, note: Path, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], float, EngineReport] | None:
    """Features in the cache, the seconds they took and what ran, or None unless both files are whole."""
    if not (path.is_file() and note.is_file()):
        return None
    with suppress(Exception):  # readers of damaged files raise anything
        recorded = json.loads(note.read_text(encoding="utf-8"))
        if caching.is_sealed(recorded) and caching.intact(path, recorded["features"]):
            kept = np.load(path, mmap_mode="r", allow_pickle=False)
            if kept.shape == shape and kept.dtype == np.float32:
                return kept, float(recorded["seconds"]), EngineReport(**recorded["ran"])
    caching.set_aside(path)
    return None
