"""Standardised features on the axes of their covariance: where the probe is solved and transferability is scored.

The one eigendecomposition that both need, in float64, of the d x d or of the n x n products, whichever are fewer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Features are read and multiplied in blocks of rows; a rotated matrix larger than this is kept in a mapped file, so
# that memory holds one block and what is d x d or d x C, whatever the number of images.
BLOCK_ROWS = 4096
IN_MEMORY_BYTES = 256 * 2**20

# Axes along which features vary less than this share of the largest variance are rounding.
LEAST_VARIANCE = 1e-10

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """Features of n rows, standardised on them: (X - mean) @ rotation = `rotated` has covariance diag(eigenvalues).

    mean [d], rotation [d, k], eigenvalues [k] ascending, rotated [n, k], which may be mapped; `varying` of the d
    features are not constant.
    """

    mean: Doubles
    rotation: Doubles
    eigenvalues: Doubles
    rotated: Floats
    varying: int


def blocks(rows: int) -> Iterator[slice]:
    """Slices of at most BLOCK_ROWS that cover so many rows."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(rows, start + BLOCK_ROWS))


def require_finite(features: NDArray[Any], rows: Rows) -> None:
    """Raise ValueError where some of these rows hold NaN or infinite values."""
    if not all(np.isfinite(features[rows[block]]).all() for block in blocks(len(rows))):
        raise ValueError("the features hold NaN or infinite values")


def decompose(features: NDArray[Any], rows: Rows, *, scratch: Path | None = None) -> Spectrum:
    """The spectrum of some rows of features [n, d], which may be memory-mapped.

    `scratch` is a folder for what does not fit into memory. Raises ValueError for features that are not finite.
    """
    require_finite(features, rows)
    n, d = len(rows), features.shape[1]
    mean = sum((features[rows[block]].sum(axis=0, dtype=np.float64) for block in blocks(n)), np.zeros(d)) / n
    squares = (np.sum((features[rows[block]] - mean) ** 2, axis=0, dtype=np.float64) for block in blocks(n))
    deviation = np.sqrt(sum(squares, np.zeros(d)) / n)
    # What does not vary carries nothing; rounding may leave it a deviation that is not quite zero.
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-30)
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    if n > d:
        products = np.zeros((d, d))
        for block in blocks(n):
            standard = (features[rows[block]] - mean) * scale
            products += standard.T @ standard
    else:
        standard = (features[rows] - mean) * scale
        products = standard @ standard.T
    values, vectors = np.linalg.eigh(products)
    kept = values > max(values[-1], 1e-30) * LEAST_VARIANCE
    values, vectors = values[kept], vectors[:, kept]
    if n <= d:  # eigenvectors of X X' give those of X' X
        vectors = (standard.T @ vectors) / np.sqrt(values)
    rotation = scale[:, None] * vectors
    return Spectrum(mean, rotation, values / n, _rotated(features, rows, mean, rotation, scratch), int(varies.sum()))


def _rotated(features: NDArray[Any], rows: Rows, mean: Doubles, rotation: Doubles, scratch: Path | None) -> Floats:
    shape = (len(rows), rotation.shape[1])
    if 4 * shape[0] * shape[1] > IN_MEMORY_BYTES:
        with tempfile.TemporaryFile(dir=scratch) as file:  # the mapping keeps the file alive after its name is gone
            found: Floats = np.memmap(file, np.float32, "w+", shape=shape)
    else:
        found = np.empty(shape, np.float32)
    for block in blocks(len(rows)):
        found[block] = (features[rows[block]] - mean) @ rotation
    return found
