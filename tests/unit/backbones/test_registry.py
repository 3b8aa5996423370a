import importlib
import inspect
import math
import warnings
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils
from keras.src.utils import file_utils
from support.kinds import each

from backbench.backbones import graph
from backbench.backbones.registry import APPLICATIONS, BACKBONES, FAMILIES, VARIANTS
from backbench.core.backbone import Backbone
from backbench.core.errors import RequestError

SMALL = [row for row in BACKBONES if row.params < 3_300_000]


class AskedError(Exception):
    """Carries what Keras asked for out of its function."""


def construct(backbone: Backbone, **options: Any) -> keras.Model:
    alpha = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    return getattr(keras.applications, backbone.function)(include_top=False, **alpha, **options)


def named(backbone: Backbone) -> str:
    return backbone.name


def test_has_every_function_of_keras_applications_and_no_other() -> None:
    functions = {name for name, thing in vars(keras.applications).items() if inspect.isfunction(thing)}
    assert len(functions) == 40
    assert {row.name for row in APPLICATIONS} == functions
    assert all(row.name == row.function and row.alpha is None for row in APPLICATIONS)


def test_variants_are_the_published_widths() -> None:
    assert [(row.function, row.alpha) for row in VARIANTS] == [
        *(("MobileNet", alpha) for alpha in (0.25, 0.5, 0.75)),
        *(("MobileNetV2", alpha) for alpha in (0.35, 0.5, 0.75, 1.3, 1.4)),
    ]
    assert all(row.name == f"{row.function}:alpha={row.alpha}" for row in VARIANTS)


def test_families_cover_the_table() -> None:
    assert FAMILIES == (
        "vgg", "xception", "resnet", "resnetv2", "inception", "mobilenet", "densenet", "nasnet", "efficientnet",
        "efficientnetv2", "convnext",
    )  # fmt: skip
    assert {row.family for row in BACKBONES} == set(FAMILIES)


def test_published_accuracy_is_a_fraction_with_its_source() -> None:
    for row in BACKBONES:
        assert row.imagenet_top1 is not None
        assert 0.5 < row.imagenet_top1 < 0.9
        assert row.top1_source


@pytest.mark.parametrize("backbone", BACKBONES, ids=named)
def test_minimum_size_is_where_keras_begins_to_refuse(backbone: Backbone, tmp_path: Path) -> None:
    too_small = backbone.min_size - 1
    with pytest.raises(ValueError, match=f"{backbone.min_size}|at least"):
        construct(backbone, weights=None, input_shape=(too_small, too_small, 3))
    with pytest.raises(RequestError, match=f"at least {backbone.min_size} px"):
        graph.build(backbone, image_size=too_small, weights=None, cache=tmp_path)


@pytest.mark.parametrize("backbone", BACKBONES, ids=named)
def test_native_size_is_the_default_of_keras(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    if backbone.module == "mobilenet_v3":  # the one module that asks for no default
        assert "_224_" in backbone.weights_url
        assert backbone.native_size == 224
        return

    def asked(*_: Any, default_size: int, min_size: int, **__: Any) -> NoReturn:
        raise AskedError(default_size, min_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", asked)
    with pytest.raises(AskedError) as raised:
        construct(backbone, weights=None)
    assert raised.value.args == (backbone.native_size, backbone.min_size)


@pytest.mark.parametrize("backbone", BACKBONES, ids=named)
def test_published_hash_stands_in_the_source_of_keras(backbone: Backbone) -> None:
    module = importlib.import_module(f"keras.src.applications.{backbone.module}")
    source = inspect.getsource(module) + inspect.getsource(importlib.import_module("keras.src.applications.resnet"))
    if backbone.weights_hash is None:
        assert backbone.function in {"MobileNet", "MobileNetV2"}
    else:
        assert f'"{backbone.weights_hash}"' in source


def parameters(model: keras.Model) -> int:
    return sum(math.prod(variable.shape) for variable in model.weights)


def check_against_keras(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build symbolically, with no variable filled, up to where Keras asks for its file."""
    asked: dict[str, Any] = {}

    def get_file(fname: str, origin: str, cache_subdir: str, file_hash: str | None = None) -> str:
        asked.update(fname=fname, origin=origin, cache_subdir=cache_subdir, file_hash=file_hash)
        return fname

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_, **__: None)
    with keras.StatelessScope(initialize_variables=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MobileNet says that it takes the 224 px file, which is what is meant
        model = construct(backbone, weights="imagenet", input_shape=(backbone.native_size, backbone.native_size, 3))
    keras.backend.clear_session()
    assert asked == {
        "fname": backbone.file_name,
        "origin": backbone.weights_url,
        "cache_subdir": "models",
        "file_hash": backbone.weights_hash,
    }
    assert parameters(model) == backbone.params


@pytest.mark.parametrize("backbone", SMALL, ids=named)
def test_file_and_parameters_of_small_ones(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    check_against_keras(backbone, monkeypatch)


@each([row for row in BACKBONES if row not in SMALL])
def test_file_and_parameters_of_all(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    check_against_keras(backbone, monkeypatch)


@each()
def test_builds_at_its_minimum_size(backbone: Backbone, tmp_path: Path) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = graph.build(backbone, image_size=backbone.min_size, weights=None, cache=tmp_path)
    keras.backend.clear_session()
    assert model.input_shape == (None, backbone.min_size, backbone.min_size, 3)
    assert all(side >= 1 for side in model.output_shape[1:])
    assert parameters(model) == backbone.params, "the published weights would not fit at this size"


# One pixel of raw RGB, and by hand what each mode makes of it.
PIXEL = np.array([255.0, 0.0, 127.5], dtype=np.float32)
BY_HAND = {
    "tf": [1.0, -1.0, 0.0],
    "torch": [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.5 - 0.406) / 0.225],
    "caffe": [127.5 - 103.939, 0 - 116.779, 255 - 123.68],
    "identity": [255.0, 0.0, 127.5],
}


@pytest.mark.parametrize("module", sorted({row.module for row in BACKBONES}))
def test_preprocessing_is_that_of_the_module(module: str) -> None:
    backbone = next(row for row in BACKBONES if row.module == module)
    images = np.tile(PIXEL, (2, 4, 4, 1))
    expected = np.tile(np.array(BY_HAND[backbone.preprocessing], dtype=np.float32), (2, 4, 4, 1))
    official = importlib.import_module(f"keras.applications.{module}").preprocess_input(images.copy())
    np.testing.assert_allclose(official, expected, rtol=1e-5, atol=1e-5)

    np.testing.assert_allclose(graph.preprocess(backbone, images), expected, rtol=1e-5, atol=1e-5)
    assert (images == PIXEL).all(), "the caller's array was written into"
    tensor = keras.ops.convert_to_tensor(images)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(graph.preprocess(backbone, tensor)), expected, rtol=1e-5, atol=1e-5
    )
    pixels = keras.Input((4, 4, 3))
    model = keras.Model(pixels, graph.preprocess(backbone, pixels))
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=1e-5, atol=1e-5)


def test_all_rows_of_a_module_preprocess_alike() -> None:
    for module in {row.module for row in BACKBONES}:
        assert len({row.preprocessing for row in BACKBONES if row.module == module}) == 1


@pytest.mark.parametrize("name", ["MobileNet:alpha=0.25", "MobileNetV2:alpha=0.35"])
def test_a_built_backbone_has_the_width_of_its_name(name: str, tmp_path: Path) -> None:
    backbone = next(row for row in BACKBONES if row.name == name)
    model = graph.build(backbone, image_size=64, weights=None, cache=tmp_path)
    assert model.count_params() == backbone.params
    assert model.output_shape[:3] == (None, 2, 2)
