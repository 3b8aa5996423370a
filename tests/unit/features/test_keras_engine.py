"""Keras as an engine: batches in order, and bfloat16 only where it is near enough."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from backbench.backbones import BACKBONES, graph, stages
from backbench.core.job import INFERENCE_BATCH
from backbench.features.engines import engine_for, keras_engine, precision_check
from backbench.features.frozen_pass import FrozenModel, frozen_pass, sample

SMALL = next(backbone for backbone in BACKBONES if backbone.name == "MobileNet:alpha=0.25")


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """70 real scans in colour at 32 px: two whole batches and a smaller one."""
    scans = load_digits().images[:70].astype(np.uint8) * 15
    return np.repeat(np.repeat(scans, 4, axis=1), 4, axis=2)[..., None].repeat(3, axis=3)


def built(precision: str = "float32", weights: list[NDArray[np.float32]] | None = None) -> keras.Model:
    """The network's features and the tensor at its last boundary, with weights that do not die out."""
    keras.utils.set_random_seed(0)
    with graph.computing_in(precision):
        base = graph.build(SMALL, image_size=32, weights=None, cache=Path())
        tensors = stages.boundaries(base, [SMALL.stages[-2].stride])[0].tensors
        model = graph.frozen_part(base, SMALL, tensors)
    if weights:
        model.set_weights(weights)
    return model


def test_outputs_come_in_order_and_without_padding() -> None:
    images = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(images, 2 * keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2)))
    given = np.arange(70, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    found = [out for (out,) in keras_engine.forward(model, (given[s : s + 32] for s in range(0, 70, 32)))]
    assert [len(out) for out in found] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(found), 2 * np.arange(70, dtype=np.float32)[:, None].repeat(3, 1))


def test_weights_that_change_between_calls_are_seen() -> None:
    numbers = keras.Input((1,))
    model = keras.Model(numbers, keras.layers.Dense(1, use_bias=False)(numbers))
    for factor in (3.0, 5.0):
        model.set_weights([np.array([[factor]], np.float32)])
        ((found,),) = keras_engine.forward(model, [np.array([[2.0]], np.float32)])
        np.testing.assert_array_equal(found, [[2 * factor]])


def test_a_network_turned_to_bfloat16_is_the_one_that_is_built_in_it(pixels: NDArray[np.uint8]) -> None:
    exact = built()
    turned, reference = keras_engine.in_bfloat16(exact), built("bfloat16", exact.get_weights())
    found, expected = (next(keras_engine.forward(model, [pixels[:8]])) for model in (turned, reference))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found[0].dtype == np.float32  # the features are averaged in it
    exactly, _ = next(keras_engine.forward(exact, [pixels[:8]]))
    assert 0 < np.abs(found[0] - exactly).max() <= 0.1 * np.abs(exactly).max()


def test_what_normalises_its_inputs_does_so_in_bfloat16_as_well(pixels: NDArray[np.uint8]) -> None:
    (backbone,) = (one for one in BACKBONES if one.name == "EfficientNetB0")
    keras.utils.set_random_seed(0)
    exact = graph.features_model(backbone, image_size=32, weights=None, cache=Path())
    body = next(layer for layer in exact.layers if isinstance(layer, keras.Model))
    normalise = next(layer for layer in body.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, *rest = normalise.get_weights()
    normalise.set_weights([np.full_like(mean, 0.45), np.full_like(variance, 0.05), *rest])
    normalise.finalize_state()
    turned = keras_engine.in_bfloat16(exact)
    (found,), (right,) = (next(keras_engine.forward(model, [pixels[:8]])) for model in (turned, exact))
    assert np.abs(found - right).mean() < 0.05 * np.abs(right).mean()


@pytest.mark.parametrize("allowed", [np.inf, 0.0])
def test_bfloat16_runs_where_its_noise_is_allowed_and_float32_elsewhere(
    pixels: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float
) -> None:
    monkeypatch.setattr(precision_check, "NOISE", allowed)
    keras.utils.set_random_seed(0)
    model = graph.features_model(SMALL, image_size=32, weights=None, cache=Path())
    frozen = FrozenModel(model, engine=engine_for("keras", precision="bfloat16"))
    key = {"engine": "keras", "allowed": str(allowed)}
    features, _ = frozen_pass(frozen, pixels, np.arange(70), key=key, cache=tmp_path)
    expected = keras_engine.in_bfloat16(model) if allowed else model
    chosen = sample(pixels, np.arange(70))
    assert len(chosen) == INFERENCE_BATCH
    np.testing.assert_array_equal(features[:32], next(keras_engine.forward(expected, [pixels[:32]]))[0])
    assert frozen.ran.precision == ("bfloat16" if allowed else "float32")
    assert frozen.ran.reason == ("" if allowed else precision_check.too_coarse(frozen.ran.checks["noise"]))
    again = FrozenModel(model, engine=engine_for("keras", precision="bfloat16"))
    frozen_pass(again, pixels, np.arange(70), key=key, cache=tmp_path)
    assert again.ran == frozen.ran  # what was too coarse once is too coarse again: no need to find out


def test_the_device_of_a_backend_is_asked_of_the_backend() -> None:
    backend = os.environ.get("KERAS_BACKEND") or keras.backend.backend()
    from backbench.features.device import device, used_by

    assert used_by(backend) == device()
    assert used_by("no backend") is None
