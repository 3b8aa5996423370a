"""What is said of the machine; NVIDIA's driver library is a stand-in, so that no GPU is needed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from backbench.core import hardware

GPUS = {
    "GPU-x": SimpleNamespace(name="NVIDIA V100", free=10 * 2**30, capability=(7, 0)),
    "GPU-y": SimpleNamespace(name="NVIDIA H100", free=80_000 * 2**20, capability=(9, 0)),
    "GPU-z": SimpleNamespace(name="NVIDIA A100", free=40 * 2**30, capability=(8, 0)),
}


class Driver:
    """The functions of NVML that are used, on three GPUs; a handle is the UUID. It counts who has opened it."""

    NVMLError = pynvml.NVMLError

    def __init__(self) -> None:
        self.opened = 0
        self.silent: set[str] = set()

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def __getattr__(self, name: str) -> object:
        if name in self.silent:
            return self.refuse
        return {
            "nvmlDeviceGetCount": lambda: len(GPUS),
            "nvmlDeviceGetHandleByIndex": self.by_index,
            "nvmlDeviceGetHandleByUUID": self.by_uuid,
            "nvmlDeviceGetUUID": lambda handle: handle,
            "nvmlDeviceGetName": lambda handle: GPUS[handle].name,
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(free=GPUS[handle].free),
            "nvmlDeviceGetCudaComputeCapability": lambda handle: GPUS[handle].capability,
        }[name]

    def refuse(self, *_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def by_index(self, index: int) -> str:
        if index >= len(GPUS):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return list(GPUS)[index]

    def by_uuid(self, uuid: str) -> str:
        if uuid not in GPUS:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    stand_in = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself, which finds no driver, whatever this machine has."""
    monkeypatch.setattr(
        pynvml, "_LoadNvmlLibrary", lambda: pynvml._nvmlCheckReturn(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_those_of_the_driver_without_cuda_visible_devices(driver: Driver) -> None:
    assert hardware.gpus() == ["GPU-x", "GPU-y", "GPU-z"]
    assert driver.opened == 0


@pytest.mark.parametrize(
    ("visible", "names"),
    [("2, GPU-x", ["2", "GPU-x"]), ("", []), ("-1", []), ("1,-1,0", ["1"])],  # as CUDA has it, none after no device
)
def test_gpus_are_those_of_cuda_visible_devices(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpus() == names


@pytest.mark.parametrize(
    ("visible", "name", "free", "bfloat16"),
    [
        (None, "NVIDIA V100", 10 * 2**30, False),
        ("1,0", "NVIDIA H100", 80_000 * 2**20, True),
        ("GPU-z", "NVIDIA A100", 40 * 2**30, True),
        ("3", None, None, False),
        ("GPU-unknown", None, None, False),
    ],
)
def test_first_gpu_is_the_first_that_may_be_used(
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    name: str | None,
    free: float | None,
    bfloat16: bool,
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpu() == name
    assert hardware.free_bytes(on_gpu=True) == free
    assert hardware.gpu_has_bfloat16() is bfloat16
    assert driver.opened == 0


def test_driver_that_does_not_tell_the_capability_has_no_bfloat16(driver: Driver) -> None:
    driver.silent = {"nvmlDeviceGetCudaComputeCapability"}
    assert hardware.gpu_has_bfloat16() is False


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_there_is_no_gpu_and_the_answer_is_quick() -> None:
    began = time.perf_counter()
    assert hardware.gpus() == []
    assert hardware.gpu() is None
    assert hardware.gpu_has_bfloat16() is False
    assert hardware.free_bytes(on_gpu=True) is None
    assert time.perf_counter() - began < 1


def test_driver_library_is_not_imported_before_it_is_needed() -> None:
    program = (
        "import sys; from backbench.core import hardware; hardware.free_bytes(); sys.exit('pynvml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_free_memory_is_less_than_all_memory() -> None:
    free = hardware.free_bytes()
    assert free is not None
    assert 0 < free < hardware.memory_gib() * 2**30


def test_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    assert hardware._left_of_container(tmp_path) == float("inf")
    (tmp_path / "memory.stat").write_text("anon 300\nfile 900\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware._left_of_container(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    assert hardware._left_of_container(tmp_path) == 700
