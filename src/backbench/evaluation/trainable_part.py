"""The trained part of a network: what comes after a boundary, then pooling and a head that starts at a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.backbones import graph, stages
from backbench.core.backbone import Backbone
from backbench.evaluation.batches import Batches
from backbench.evaluation.eigenbasis import BLOCK_ROWS
from backbench.evaluation.linear_probe import Head


@dataclass(frozen=True)
class HeadInit:
    """Where a head starts: at a probe's solution, in units in which every feature varies by about one on train.

    logits = ((features - mean) / deviation) @ weights + bias; mean, deviation [d], weights [d, C], bias [C]. In these
    units one learning rate means the same for backbones whose features differ in size.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class TrainablePart:
    """What is trained for a cell: `model` maps what `batches` gives to logits [b, C].

    It shares variables with `network`, whose weights are stored afterwards, those `after` a boundary where there is
    one. `init` is where the dense head on its features started; None where the network has a head of its own.
    """

    model: keras.Model
    batches: Batches
    network: keras.Model
    init: HeadInit | None = None
    after: stages.Boundary | None = None

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)

    def fitted_head(self) -> Head | None:
        """The trained head on raw features."""
        return raw_head(self.init, *self.model.get_layer("head").get_weights()) if self.init else None


def start_from(head: Head, features: NDArray[Any], train: NDArray[np.int64]) -> HeadInit:
    """The same classifier as a probe's head on raw features [n, d], written for standardised ones."""
    blocks = [train[start : start + BLOCK_ROWS] for start in range(0, len(train), BLOCK_ROWS)]
    mean = sum(features[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(train)
    spread = sum(np.square(features[block] - mean).sum(axis=0) for block in blocks) / len(train)
    deviation = np.sqrt(spread)
    deviation = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-30), deviation, 1.0)
    return HeadInit(
        mean.astype(np.float32),
        deviation.astype(np.float32),
        (head.weights * deviation[:, None]).astype(np.float32),
        (head.bias + mean @ head.weights).astype(np.float32),
    )


def raw_head(start: HeadInit, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> Head:
    """A trained head in the units of `start`, written for raw features: what `start_from` undoes."""
    outer = weights.astype(np.float64) / start.deviation[:, None]
    return Head(outer.astype(np.float32), (bias - start.mean @ outer).astype(np.float32))


def start_at_random(width: int, classes: int, *, seed: int) -> HeadInit:
    """A head for a network that starts at random: there a probe's features are not those that training begins with."""
    reach = np.sqrt(6 / (width + classes))  # Glorot and Bengio 2010, equation 16
    weights = np.random.default_rng(seed).uniform(-reach, reach, (width, classes)).astype(np.float32)
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    return HeadInit(zeros, ones, weights, np.zeros(classes, np.float32))


class InferenceMode(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A model that trains while it computes as in inference: batch norm by its moving statistics, no dropout.

    `model(x, training=False)` in a functional graph does not hold: the `training=True` of a training step replaces the
    keyword. A layer of one's own that passes it on does.
    """

    def __init__(self, inner: keras.Model, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner

    def call(self, inputs: Any) -> Any:
        """Through the model, never in training mode."""
        return self.inner(inputs, training=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the model."""
        return self.inner.compute_output_shape(input_shape)


def trainable_tail(
    base: keras.Model,
    boundary: stages.Boundary,
    scales: Sequence[float],
    start: HeadInit,
    *,
    pretrained: bool,
) -> keras.Model:
    """From what was kept at a boundary, float16 divided by `scales`, to logits [b, C]; shares `base`'s variables."""
    inputs = [keras.Input(tensor.shape[1:], dtype="float16") for tensor in boundary.tensors]
    tensors = [keras.ops.cast(kept, "float32") * scale for kept, scale in zip(inputs, scales, strict=True)]
    after = stages.rest(base, boundary)
    return keras.Model(inputs, _logits(after, tensors, start, pretrained=pretrained))


def trainable_model(base: keras.Model, backbone: Backbone, start: HeadInit, *, pretrained: bool) -> keras.Model:
    """From raw images uint8 [b, s, s, 3] to logits [b, C], everything trained; shares `base`'s variables."""
    images = keras.Input(base.input_shape[1:], dtype="uint8", name="images")
    prepared = graph.preprocess(backbone, keras.ops.cast(images, "float32"))
    return keras.Model(images, _logits(base, [prepared], start, pretrained=pretrained))


def _logits(body: keras.Model, tensors: Sequence[Any], start: HeadInit, *, pretrained: bool) -> Any:
    """Random weights have no moving statistics worth keeping: there batch norm trains as usual."""
    inputs = list(tensors) if len(tensors) > 1 else tensors[0]
    maps = InferenceMode(body)(inputs) if pretrained else body(inputs)
    features = keras.ops.cast(keras.layers.GlobalAveragePooling2D(dtype="float32")(maps), "float32")
    standard = (features - start.mean) / start.deviation
    head = keras.layers.Dense(start.bias.size, name="head", dtype="float32")
    logits = head(standard)
    head.set_weights([start.weights, start.bias])
    return logits
