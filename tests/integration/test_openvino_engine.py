"""OpenVINO against Keras: the same numbers in float32, checked ones in bfloat16, and a fall back that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from support.doubled_network import doubled
from support.kinds import each, smallest

from backbench.backbones import BACKBONES, graph, stages
from backbench.core import hardware
from backbench.core.backbone import Backbone
from backbench.core.job import INFERENCE_BATCH
from backbench.features.engines import engine_for, keras_engine, precision_check
from backbench.features.engines.base import EngineUnusableError
from backbench.features.frozen_pass import FrozenModel, sample

pytest.importorskip("openvino", reason="OpenVINO is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads networks from TensorFlow", allow_module_level=True)

from backbench.features.engines import openvino_engine

SMALL = next(backbone for backbone in BACKBONES if backbone.name == "MobileNet:alpha=0.25")
ONES = np.ones((4, 4, 4, 3), np.uint8)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """70 real scans in colour at 32 px: two whole batches and a smaller one."""
    scans = load_digits().images[:70].astype(np.uint8) * 15
    return np.repeat(np.repeat(scans, 4, axis=1), 4, axis=2)[..., None].repeat(3, axis=3)


def parted(backbone: Backbone, size: int, *, pooled: bool = True) -> tuple[keras.Model, int]:
    """A network with random weights, its features and all its boundaries; and how many tensors these are."""
    keras.utils.set_random_seed(0)
    base = graph.build(backbone, image_size=size, weights=None, cache=Path())
    strides = [stage.stride for stage in backbone.stages[:-1]]
    tensors = [tensor for found in stages.boundaries(base, strides) for tensor in found.tensors]
    return graph.frozen_part(base, backbone, tensors, pooled=pooled), len(tensors)


def collected(outputs: Any) -> list[NDArray[Any]]:
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def batches(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [images[start : start + INFERENCE_BATCH] for start in range(0, len(images), INFERENCE_BATCH)]


def test_outputs_come_in_order_and_without_padding() -> None:
    images = np.zeros((3 * INFERENCE_BATCH + 5, 4, 4, 3), np.uint8)
    images += np.arange(len(images), dtype=np.uint8)[:, None, None, None]
    run, ran = openvino_engine.fitted(doubled(), [images[:7]], precision="float32", folder=None, key={})
    (found,) = collected(run(batches(images)))
    assert (found == 2.0 * np.arange(len(images))[:, None]).all()
    assert found.shape == (3 * INFERENCE_BATCH + 5, 3)
    assert (ran.engine, ran.precision, ran.reason) == ("openvino", "float32", "")


def test_running_may_end_early() -> None:
    run, _ = openvino_engine.fitted(
        doubled(), [np.ones((2, 4, 4, 3), np.uint8)], precision="float32", folder=None, key={}
    )
    stream = run(batches(np.full((5 * INFERENCE_BATCH, 4, 4, 3), 3, np.uint8)))
    assert (next(stream)[0] == 6.0).all()
    stream.close()
    assert list(run([])) == []


def test_float32_is_what_keras_says_at_every_boundary(pixels: NDArray[np.uint8]) -> None:
    model, tensors = parted(SMALL, 32)
    ours = FrozenModel(model, engine=engine_for("openvino", precision="float32"))
    theirs = FrozenModel(model, engine=engine_for("keras", precision="float32"))
    for frozen in (ours, theirs):
        frozen.settle(sample(pixels, np.arange(len(pixels))))
    assert (ours.ran.engine, ours.ran.reason) == ("openvino", "")
    assert 0 <= ours.ran.checks["difference_from_keras"] <= 2**-11, "boundaries are rounded to float16"
    assert ours.scales == theirs.scales
    found, expected = collected(ours.forward(batches(pixels))), collected(theirs.forward(batches(pixels)))
    assert len(found) == len(expected) == 1 + tensors
    for mine, keras_own in zip(found, expected, strict=True):
        assert mine.dtype == keras_own.dtype
        mine, keras_own = mine.astype(np.float32), keras_own.astype(np.float32)
        tolerance = 1e-5 if keras_own.ndim == 2 else 1e-3  # the others are rounded to float16
        assert np.abs(mine - keras_own).max() <= tolerance * np.abs(keras_own).max()


def test_noise_is_counted_in_units_of_what_differs_between_images() -> None:
    exact = np.array([[0.0, 10.0], [2.0, 10.0], [4.0, 10.0]], np.float32)
    # the change is 0.1 everywhere; variances are 8/3 and 0, their mean 4/3
    found = precision_check.noise(exact + np.array([[0.1, -0.1]], np.float32), exact)
    assert found == pytest.approx(0.1 / (4 / 3) ** 0.5, rel=1e-5)
    assert np.isnan(precision_check.noise(exact * np.nan, exact)), "which is not below any limit"


def test_difference_is_a_share_of_the_largest_value() -> None:
    expected = np.array([[4.0, -8.0, np.inf]], np.float32)
    found = np.array([[4.0, -8.4, 7.0], [99.0, 99.0, 99.0]], np.float32)  # the second image was not compared
    assert precision_check.difference(found, expected) == pytest.approx(0.05, rel=1e-5)
    assert np.isnan(precision_check.difference(found, np.array([[4.0, np.nan, 1.0]], np.float32)))


@pytest.mark.skipif(not hardware.has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_is_used_where_it_is_near_enough(pixels: NDArray[np.uint8]) -> None:
    model, _ = parted(SMALL, 32)
    exact = FrozenModel(model, engine=engine_for("openvino", precision="float32"))
    rounded = FrozenModel(model, engine=engine_for("openvino", precision="bfloat16"))
    rounded.settle(sample(pixels, np.arange(len(pixels))))
    assert (rounded.ran.engine, rounded.ran.precision) == ("openvino", "bfloat16")
    assert 0 < rounded.ran.checks["noise"] <= precision_check.NOISE
    ours, theirs = collected(rounded.forward(batches(pixels)))[0], collected(exact.forward(batches(pixels)))[0]
    assert 1e-4 < np.abs(ours - theirs).max() / np.abs(theirs).max() < 0.05, "it was computed in bfloat16"


def test_too_much_noise_gives_way_to_float32(pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_check, "noise", lambda *_: 0.25)
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    model, _ = parted(SMALL, 32)
    frozen = FrozenModel(model, engine=engine_for("openvino", precision="bfloat16"))
    found = collected(frozen.forward(batches(pixels)))
    assert (frozen.ran.engine, frozen.ran.precision) == ("openvino", "float32")
    assert frozen.ran.checks["noise"] == 0.25
    assert frozen.ran.reason == (
        "bfloat16 is too coarse for these images (its noise is 25% of what differs between them, 10% allowed)"
    )
    alone = FrozenModel(model, engine=engine_for("openvino", precision="float32"))
    for ours, theirs in zip(found, collected(alone.forward(batches(pixels))), strict=True):
        assert (ours == theirs).all()


def test_a_conversion_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    convert = openvino.convert_model

    def wrong(_: Any) -> Any:
        import tensorflow as tf

        model = doubled(2.01)
        traced = tf.function(lambda images: model(images, training=False))
        return convert(traced.get_concrete_function(tf.TensorSpec((INFERENCE_BATCH, 4, 4, 3), tf.uint8)))

    monkeypatch.setattr(openvino, "convert_model", wrong)
    with pytest.raises(EngineUnusableError, match=r"disagree on these images by 5\.0e-03"):
        openvino_engine.fitted(
            doubled(), [np.full((4, 4, 4, 3), 9, np.uint8)], precision="float32", folder=None, key={}
        )


def test_what_cannot_be_converted_gives_way_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def broken(_: Any) -> Any:
        raise openvino.frontend.OpConversionFailure("No translator found for Frobnicate\nand a long story")

    monkeypatch.setattr(openvino, "convert_model", broken)
    run, ran = engine_for("openvino", precision="float32")(doubled(), [np.ones((4, 4, 4, 3), np.uint8)])
    assert (ran.engine, ran.precision) == ("keras", "float32")
    assert ran.reason == "OpenVINO could not run this network (No translator found for Frobnicate and a long story)"
    assert (next(run([np.ones((4, 4, 4, 3), np.uint8)]))[0] == 2.0).all()


def test_an_operation_that_openvino_lacks_gives_way_with_its_name() -> None:
    images = keras.Input((4, 4, 3), dtype="uint8")
    values = keras.layers.Lambda(lambda x: _betainc(x), output_shape=(4, 4, 3))(images)
    run, ran = engine_for("openvino", precision="float32")(keras.Model(images, values), [ONES])
    assert ran.engine == "keras"
    assert "Betainc" in ran.reason
    assert "src/" not in ran.reason, "places in the source of OpenVINO tell the reader nothing"
    np.testing.assert_allclose(next(run([ONES]))[0], 0.5, rtol=1e-6)


def _betainc(images: Any) -> Any:
    """The regularised incomplete beta function I_x(1, 1) at x = images / 2, which is x."""
    import tensorflow as tf

    half = tf.cast(images, tf.float32) / 2
    return tf.math.betainc(tf.ones_like(half), tf.ones_like(half), half)


def test_a_network_that_cannot_be_compiled_gives_way_in_the_words_of_openvino(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(openvino_engine.HINTS, "float32", "f7")
    _, ran = engine_for("openvino", precision="float32")(doubled(), [ONES])
    assert ran.engine == "keras"
    assert "Wrong value f7 for property key INFERENCE_PRECISION_HINT" in ran.reason


@pytest.mark.parametrize(
    "error", [TypeError("a mistake"), KeyError("a"), NotImplementedError("not here"), PackageNotFoundError("backbench")]
)
@pytest.mark.parametrize("place", ["_converted", "_running"])
def test_an_error_that_is_not_of_openvino_is_raised(
    error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(openvino_engine, place, broken)
    with pytest.raises(type(error)):
        engine_for("openvino", precision="float32")(doubled(), [ONES])


def test_networks_are_kept_in_a_checkout_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "backbench":
            raise PackageNotFoundError(name)
        return installed(name)

    installed = openvino_engine.version
    monkeypatch.setattr(openvino_engine, "version", version)
    _, ran = engine_for("openvino", precision="float32", folder=tmp_path, key={})(doubled(), [ONES])
    assert (ran.engine, ran.reason) == ("openvino", "")
    assert len(list(tmp_path.glob("*.xml"))) == 1


def test_a_converted_network_is_kept_and_one_that_is_damaged_converted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    converted: list[str] = []
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda traced: converted.append("once") or convert(traced))
    images = np.full((5, 4, 4, 3), 7, np.uint8)

    def run(key: str) -> float:
        forward, ran = openvino_engine.fitted(
            doubled(), [images], precision="float32", folder=tmp_path, key={"network": key}
        )
        assert ran.checks["difference_from_keras"] < 1e-6, "compared again, wherever the network came from"
        return float(next(forward([images]))[0][0, 0])

    assert (run("a"), run("a"), len(converted)) == (14.0, 14.0, 1)
    assert (run("b"), len(converted)) == (14.0, 2)
    kept = [path.suffix for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert sorted(kept) == [".bin", ".bin", ".json", ".json", ".xml", ".xml"]
    for path in tmp_path.glob("*.xml"):
        path.write_text(path.read_text(encoding="utf-8").replace("Multiply", "Add"), encoding="utf-8")
    assert (run("a"), len(converted)) == (14.0, 3)
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps([]), encoding="utf-8")
    assert (run("a"), len(converted)) == (14.0, 4)


@each(smallest())
def test_every_kind_of_backbone_converts_with_all_its_boundaries(backbone: Backbone) -> None:
    size = max(64, backbone.min_size)
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    model, tensors = parted(backbone, size)
    frozen = FrozenModel(model, engine=engine_for("openvino", precision="float32"))
    frozen.settle(images)
    assert (frozen.ran.engine, frozen.ran.reason) == ("openvino", "")
    assert frozen.ran.checks["difference_from_keras"] <= precision_check.AGREES
    (found,) = frozen.forward([images])
    own = FrozenModel(model)
    own.scales, own._run = frozen.scales, lambda parts: keras_engine.forward(own.model, parts)
    (expected,) = own.forward([images])
    assert len(found) == len(expected) == 1 + tensors
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
        assert np.abs(ours - theirs).max() <= 2e-3 * np.abs(theirs).max()


@pytest.mark.slow
def test_two_processes_that_want_the_same_network_convert_it_once(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\nimport openvino\n"
        "from support.doubled_network import doubled\n"
        "from backbench.features.engines import openvino_engine\nconvert = openvino.convert_model\n"
        "openvino.convert_model = lambda traced: print('converted') or convert(traced)\n"
        "images = np.full((5, 4, 4, 3), 7, np.uint8)\n"
        "folder = Path(sys.argv[1])\n"
        "run, _ = openvino_engine.fitted(doubled(), [images], precision='float32', folder=folder, key={'a': 1})\n"
        "print(float(next(run([images]))[0][0, 0]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    said = sorted(running.communicate(timeout=300)[0] for running in both)
    assert said == ["14.0\n", "converted\n14.0\n"]
