"""The hand-made CNN of the usual tutorial: the baseline that says whether a pretrained network is needed at all."""

from __future__ import annotations

import math

import keras
from keras import layers


def build(*, image_size: int, classes: int) -> keras.Model:
    """Raw images uint8 [b, size, size, 3] to logits [b, C].

    Convolution and max-pool until the map is at most 8 pixels wide, then dropout and two dense layers.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8", name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    for stage in range(max(2, math.ceil(math.log2(image_size / 8)))):
        x = layers.Conv2D(min(16 * 2**stage, 128), 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(images, layers.Dense(classes, dtype="float32")(x), name="scratch")  # logits want all their bits
