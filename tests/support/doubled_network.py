"""A network whose outputs are known by hand."""

from __future__ import annotations

import keras


def doubled(factor: float = 2.0) -> keras.Model:
    """Images of 4 x 4 pixels to their mean colour, times a factor."""
    images = keras.Input((4, 4, 3), dtype="uint8")
    return keras.Model(images, factor * keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2)))
