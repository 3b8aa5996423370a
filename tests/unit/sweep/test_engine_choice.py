"""What `--engine auto` and `--precision auto` come to."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backbench.core import hardware
from backbench.core.dataset import Dataset
from backbench.core.errors import RequestError
from backbench.core.request import Request
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice

# A network of 1 % of VGG16's operations would need 100 times as many images; these two are on either side of its limit.
VGG16_FLOPS_AT_96_PX = 30.7e9 * (96 / 224) ** 2
FEW, MANY = 80, 100


def dataset(items: int, size: int | None = 96) -> Dataset:
    ids = tuple(f"{i}.png" for i in range(items))
    zeros = np.zeros(items, np.int64)
    return Dataset("scans", "scans", ("a", "b"), ids, zeros, np.array(["train"] * items), zeros, "f", {}, size)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CPU with bfloat16, OpenVINO installed, no GPU and TensorFlow, but for what is said."""

    def set_up(
        *,
        bfloat16: bool = True,
        openvino: bool = True,
        gpu: str | None = None,
        gpu_bfloat16: bool = False,
        used: str | None = None,
        backend: str = "tensorflow",
    ) -> None:
        find = importlib.util.find_spec
        monkeypatch.setenv("KERAS_BACKEND", backend)
        monkeypatch.setattr(hardware, "has_bfloat16", lambda: bfloat16)
        monkeypatch.setattr(hardware, "gpu", lambda: gpu)
        monkeypatch.setattr(hardware, "gpu_has_bfloat16", lambda: gpu_bfloat16)
        monkeypatch.setattr(hardware, "cpu", lambda: "a CPU")
        monkeypatch.setattr(engine_choice, "used_by", lambda _: used)
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: (object() if openvino else None) if name == "openvino" else find(name.replace("jax", "json")),
        )

    return set_up


def chosen(request: Request, earlier: RunRecord | None = None, items: int = MANY) -> tuple[str, str]:
    found = engine_choice.resolve(request, earlier or RunRecord(), dataset(items))
    return found["engine"], found["precision"]


VGG = Request(backbones="VGG16")


def test_openvino_in_bfloat16_where_it_pays(machine: Any) -> None:
    machine()
    assert FEW * VGG16_FLOPS_AT_96_PX < engine_choice.WORTH_CONVERTING < MANY * VGG16_FLOPS_AT_96_PX
    assert chosen(VGG) == ("openvino", "bfloat16")
    assert chosen(VGG, items=FEW) == ("keras", "float32"), "converting would take longer than Keras"
    assert chosen(Request(backbones="MobileNetV2")) == ("keras", "float32")
    assert chosen(Request(backbones="scratch"), items=10**6) == ("keras", "float32"), "nothing to convert"


@pytest.mark.parametrize("without", [{"bfloat16": False}, {"openvino": False}, {"gpu": "H100"}, {"backend": "jax"}])
def test_keras_where_openvino_cannot_help(machine: Any, without: dict[str, Any]) -> None:
    machine(**without)
    assert chosen(VGG, items=10**6) == ("keras", "float32")


def test_bfloat16_on_a_gpu_that_has_it_and_is_used(machine: Any) -> None:
    machine(gpu="H100", gpu_bfloat16=True, used="H100")
    assert chosen(VGG) == ("keras", "bfloat16")
    assert chosen(replace(VGG, precision="float32")) == ("keras", "float32")
    machine(gpu="V100", used="V100")
    assert chosen(VGG) == ("keras", "float32")
    machine(gpu="H100", gpu_bfloat16=True, used="a CPU")
    assert chosen(VGG) == ("keras", "float32"), "a backend without support for the GPU computes on the CPU"


def test_what_is_asked_for_is_kept(machine: Any) -> None:
    machine()
    assert chosen(Request(backbones="VGG16", precision="float32")) == ("keras", "float32"), "exactness was asked for"
    assert chosen(Request(backbones="VGG16", precision="bfloat16")) == ("openvino", "bfloat16")
    assert chosen(Request(backbones="VGG16", engine="keras")) == ("keras", "float32")
    assert chosen(Request(backbones="VGG16", engine="openvino"), items=FEW) == ("openvino", "bfloat16")
    assert chosen(Request(backbones="VGG16", engine="openvino", precision="float32")) == ("openvino", "float32")
    machine(bfloat16=False)
    assert chosen(Request(backbones="VGG16", engine="openvino")) == ("openvino", "float32")


def test_a_folder_keeps_what_its_first_run_chose(machine: Any) -> None:
    machine()
    earlier = RunRecord(resolved={"engine": "keras", "precision": "float32"})
    assert chosen(VGG, earlier) == ("keras", "float32")
    earlier = RunRecord(resolved={"engine": "openvino", "precision": "bfloat16"})
    assert chosen(VGG, earlier, items=FEW) == ("openvino", "bfloat16")


def test_openvino_that_is_not_there_is_refused(machine: Any) -> None:
    machine(openvino=False)
    with pytest.raises(RequestError, match="not installed: pip install"):
        chosen(Request(engine="openvino"))
    machine(backend="jax")
    with pytest.raises(RequestError, match="reads networks from TensorFlow, not from jax"):
        chosen(Request(engine="openvino"))
