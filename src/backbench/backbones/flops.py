"""Floating-point operations of a functional Keras model, counted from its layers."""

from __future__ import annotations

import math
from typing import Any

import keras


def flops(model: keras.Model) -> int:
    """Operations for one image: convolutions and dense products, a multiply-add counted as two.

    Normalisation, activations, pooling and sums are left out, as published tables do. Nested models are followed.
    """
    return sum(flops_of(layer) for layer in model.layers)


def flops_of(layer: Any) -> int:
    """The same for one layer or other operation of a built graph."""
    if isinstance(layer, keras.Model):
        return flops(layer)
    if isinstance(layer, keras.layers.Dense):
        positions = math.prod(int(side) for side in layer.output.shape[1:-1])
        return 2 * positions * _size(layer.kernel)
    if isinstance(layer, keras.layers.SeparableConv2D):
        positions = math.prod(int(side) for side in layer.output.shape[1:-1])
        return 2 * positions * (_size(layer.depthwise_kernel) + _size(layer.pointwise_kernel))
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        # A kernel is (height, width, inputs per group, outputs); depthwise: (height, width, inputs, multiplier).
        positions = math.prod(int(side) for side in layer.output.shape[1:-1])
        return 2 * positions * _size(layer.kernel)
    return 0


def _size(kernel: Any) -> int:
    return math.prod(int(side) for side in kernel.shape)
