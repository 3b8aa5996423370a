"""What every engine promises of a frozen part: one body for all of them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from backbench.core import hardware
from backbench.features.engines import engine_for

BATCH = 8


def missing(engine: str) -> str:
    """Why an engine cannot run here, empty where it can."""
    if engine == "openvino" and find_spec("openvino") is None:
        return "OpenVINO is not installed"
    if engine == "openvino" and keras.backend.backend() != "tensorflow":
        return "OpenVINO reads networks from TensorFlow"
    return ""


@pytest.fixture(params=["keras", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if why := missing(name):
        pytest.skip(why)
    return name


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Images to their mean colour and to the images at half size: values that are known by hand."""
    images = keras.Input((4, 4, 3), dtype="uint8")
    floats = keras.ops.cast(images, "float32")
    halved = keras.layers.AveragePooling2D(2)(floats)
    return keras.Model(images, [keras.ops.mean(floats, axis=(1, 2)), halved])


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Two whole batches and a smaller one."""
    return np.random.default_rng(0).integers(0, 256, (2 * BATCH + 3, 4, 4, 3), dtype=np.uint8)


def parts(images: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def outputs(engine: str, model: keras.Model, images: NDArray[np.uint8], *, precision: str = "float32") -> Any:
    run, report = engine_for(engine, precision=precision, batch=BATCH)(model, [images])
    return [np.concatenate(arrays) for arrays in zip(*run(parts(images, BATCH)), strict=True)], report


def test_float32_gives_the_values_by_hand_in_the_order_of_the_images(
    engine: str, model: keras.Model, images: NDArray[np.uint8]
) -> None:
    (means, halved), report = outputs(engine, model, images)
    np.testing.assert_allclose(means, images.mean(axis=(1, 2)), rtol=1e-6)
    by_hand = images.reshape(len(images), 2, 2, 2, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(halved, by_hand, rtol=1e-6)
    assert (report.engine, report.precision, report.reason) == (engine, "float32", "")


def test_an_image_has_the_same_output_in_a_batch_of_any_size(
    engine: str, model: keras.Model, images: NDArray[np.uint8]
) -> None:
    run, _ = engine_for(engine, precision="float32", batch=BATCH)(model, [images])
    whole = np.concatenate([means for means, _ in run(parts(images, BATCH))])
    for size in (1, 5):
        assert np.concatenate([means for means, _ in run(parts(images, size))]).tobytes() == whole.tobytes()


def test_the_same_run_again_gives_the_same_bytes(engine: str, model: keras.Model, images: NDArray[np.uint8]) -> None:
    (first, _), _ = outputs(engine, model, images)
    (again, _), _ = outputs(engine, model, images)
    assert first.tobytes() == again.tobytes()


def test_no_batches_give_no_outputs(engine: str, model: keras.Model, images: NDArray[np.uint8]) -> None:
    run, _ = engine_for(engine, precision="float32", batch=BATCH)(model, [images])
    assert list(run([])) == []


def test_what_bfloat16_ruins_runs_in_float32_and_the_report_says_why(engine: str) -> None:
    if engine == "openvino" and not hardware.has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    # A difference of 1/64 between colours, far below a large constant: bfloat16 has 8 bits for both. The convolution
    # passes it on as it is; without a product OpenVINO would not compute in bfloat16.
    offset = keras.layers.Rescaling(1 / 64, offset=1024.0)(keras.ops.cast(inputs, "float32"))
    passed_on = keras.layers.Conv2D(3, 1, use_bias=False)
    ruined = keras.Model(inputs, keras.ops.mean(passed_on(offset), axis=(1, 2)))
    passed_on.set_weights([np.eye(3, dtype=np.float32)[None, None]])
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 4, 4, 3), dtype=np.uint8)
    (values,), report = outputs(engine, ruined, images, precision="bfloat16")
    np.testing.assert_allclose(values, images.mean(axis=(1, 2)) / 64 + 1024.0, rtol=1e-6)
    assert report.precision == "float32"
    assert report.reason
