"""The pipeline's resize inside a Keras graph: any image to the square that `data.decoding` makes of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

# Pillow rounds weights to 22 bits. Split into two halves, their products with a pixel and the sums of these are whole
# numbers that float32 holds exactly, on every backend; so ties fall to the same side, and they are not rare.
HALF = 2.0**11


def resized(images: keras.KerasTensor, *, size: int, resize: str) -> keras.KerasTensor:
    """Images uint8 [b, h, w, 3] of any size to uint8 [b, size, size, 3]: "stretch" or "crop", bilinear, antialiased.

    As Pillow does it: along the width, then along the height, each rounded to whole levels. The shape of a symbolic
    tensor is not known, so that width and height are counted on a row and a column of ones. The last layer is called
    as the way of resizing is, and its output is as large as the square.
    """
    levels = ops.cast(images, "float32")
    row, column = ops.ones_like(levels[0, 0, :, 0]), ops.ones_like(levels[0, :, 0, 0])
    width, height = ops.sum(row), ops.sum(column)
    side = ops.minimum(width, height)
    across, down = (side, side) if resize == "crop" else (width, height)
    levels = _weighed("bhwc,sw->bhcs", levels, _weights(row, width, across, size))
    levels = _weighed("bhcs,th->btsc", levels, _weights(column, height, down, size))
    return keras.layers.Identity(name=resize, dtype="uint8")(ops.cast(levels, "uint8"))


def _weights(line: Any, length: Any, extent: Any, size: int) -> tuple[Any, Any]:
    """How much each pixel of a line [length] counts for each of the `size` pixels that its middle `extent` becomes.

    Pillow's bilinear filter is a triangle with a base of two pixels of the line or of the result, whichever are larger.
    Here it is multiplied by 2 size, which makes all of it whole numbers: weights are quotients of these and their sum,
    in units of 2^-22, as an upper and a lower half [size, length].
    """
    twice_position = (2.0 * ops.cumsum(line) - 1.0 - (length - extent)) * size
    twice_centre = ops.multiply(extent, 2.0 * np.arange(size, dtype=np.float32)[:, None] + 1.0)
    triangles = ops.relu(2.0 * ops.maximum(extent, float(size)) - ops.absolute(twice_position - twice_centre))
    total = ops.sum(triangles, axis=1, keepdims=True)
    upper = ops.floor(triangles * HALF / total)
    lower = ops.floor((triangles * HALF - upper * total) * HALF / total + 0.5)
    return upper, lower


def _weighed(sums: str, levels: Any, weights: tuple[Any, Any]) -> Any:
    """Weighted sums of levels 0..255, rounded to whole levels."""
    upper, lower = (ops.einsum(sums, levels, half) for half in weights)
    return ops.floor((upper + ops.floor(lower / HALF) + HALF / 2) / HALF)
