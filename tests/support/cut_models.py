"""Models cut at a boundary, and what has to hold of the two parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.applications.convnext import LayerScale
from numpy.typing import NDArray

from backbench.backbones import graph, stages
from backbench.core.backbone import Backbone


@dataclass(frozen=True)
class Cut:
    """A backbone, its boundaries, and what it computed in one pass: the tensors at each boundary, and its output."""

    backbone: Backbone
    base: keras.Model
    boundaries: tuple[stages.Boundary, ...]
    tensors: list[list[Any]]
    output: NDArray[np.float32]

    @cached_property
    def rests(self) -> list[keras.Model]:
        return [stages.rest(self.base, boundary) for boundary in self.boundaries]

    @cached_property
    def prefixes(self) -> list[keras.Model]:
        return [keras.Model(self.base.input, list(boundary.tensors)) for boundary in self.boundaries]


def cut(backbone: Backbone, size: int, *, images: int = 2) -> Cut:
    """A backbone with random weights, cut where its table says, and run once on random images."""
    keras.utils.set_random_seed(0)
    base = graph.build(backbone, image_size=size, weights=None, cache=Path())
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3)).astype(np.float32)
    batch = graph.preprocess(backbone, pixels)
    awaken(base, batch)
    found = stages.boundaries(base, [stage.stride for stage in backbone.stages[:-1]])
    crossing = [tensor for boundary in found for tensor in boundary.tensors]
    *values, output = keras.Model(base.input, [*crossing, base.output])(batch, training=False)
    waiting = iter(values)
    return Cut(
        backbone, base, found, [[next(waiting) for _ in boundary.tensors] for boundary in found], np.asarray(output)
    )


def awaken(base: keras.Model, batch: NDArray[np.float32]) -> None:
    """Make random weights count: deep networks that were never trained answer 1e-10 or 1e6 to whatever they are shown.

    Batch norm takes its moving statistics from the very images, and ConvNeXt's blocks weigh one, not a millionth.
    """
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, layers.Dropout):
            layer.rate = 0.0
        elif isinstance(layer, LayerScale):
            layer.gamma.assign(np.ones(layer.gamma.shape))
    base(batch, training=True)


def same(found: Any, expected: NDArray[np.float32]) -> None:
    """Equal but for rounding: TensorFlow on a CPU repeats every operation bit for bit, but nothing promises that.

    A dead or constant answer would equal anything: two images must get different ones.
    """
    scale = np.abs(expected).max()
    assert 1e-3 < scale < 1e4
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * scale
    assert np.abs(np.asarray(found) - expected).max() <= 1e-5 * scale


def check_values(cut: Cut) -> None:
    """What comes after each boundary makes of its tensors what the whole made of the images."""
    for after, tensors in zip(cut.rests, cut.tensors, strict=True):
        same(after(tensors, training=False), cut.output)


def check_variables(cut: Cut) -> None:
    """Each variable is the original's own, and on one side of each boundary; so are parameters, as in the table."""
    own = identities(cut.base)
    frozen = np.cumsum([stage.params for stage in cut.backbone.stages]).tolist()
    for prefix, after, expected in zip(cut.prefixes, cut.rests, frozen[:-1], strict=True):
        assert identities(prefix) | identities(after) == own
        assert not identities(prefix) & identities(after)
        assert prefix.count_params() == expected
        assert after.count_params() == frozen[-1] - expected
    assert cut.base.count_params() == frozen[-1]


def identities(model: keras.Model) -> set[int]:
    return {id(variable) for variable in model.variables}
