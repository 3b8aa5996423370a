"""How many images go through a network at once: as many as pay, and as the memory that is free has room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

# A GPU is not filled by the batch that a CPU is quickest with.
TIMES_ON_GPU = 8

# Of the free memory for activations: weights, copies and what others take need the rest.
SHARE = 0.5

# Tensors of the largest size that are alive at once: what goes into a layer, what comes out, and what is computed with.
ALIVE = 3


def batch_for(model: keras.Model, *, most: int, free: float | None) -> int:
    """Images of one call: `most`, or the largest half, quarter and so on of it that fits into `free` bytes.

    Without knowing what is free it is `most`. Results do not depend on it but for rounding.
    """
    if free is None:
        return most
    an_image = ALIVE * largest_tensor(model)
    batch = most
    while batch > 1 and batch * an_image > SHARE * free:
        batch //= 2
    return batch


def largest_tensor(model: keras.Model) -> int:
    """Bytes of the largest tensor of one image in float32, wherever in the network it is."""
    return max((4 * math.prod(int(side or 1) for side in shape[1:]) for shape in _shapes(model)), default=0)


def _shapes(model: keras.Model) -> Iterator[Any]:
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            yield from _shapes(operation)
        for tensor in keras.tree.flatten(operation.output):
            yield tensor.shape
