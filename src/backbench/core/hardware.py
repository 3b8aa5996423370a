"""The machine: what it is called and how many cores this process may use."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")


def cpu() -> str:
    """Model name of the CPU and the number of usable cores."""
    listing = Path("/proc/cpuinfo")
    name = platform.processor() or platform.machine()
    if listing.exists():
        models = [line.partition(":")[2].strip() for line in listing.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {cores()} cores"


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_numbers() -> list[int]:
    """The cores that this process may use, by the system's numbers."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores()))


def has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 (AVX512-BF16 or AMX), where the system tells."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return False
    flags = next((line for line in listing.read_text().splitlines() if line.startswith("flags")), "")
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def memory_gib() -> float:
    """Physical memory in GiB."""
    return float(psutil.virtual_memory().total / 2**30)


def free_bytes(*, on_gpu: bool = False) -> float | None:
    """Memory that can be had now: of the machine, or of the first GPU, None where no driver tells."""
    if on_gpu:
        return _ask_driver(lambda nvml: float(nvml.nvmlDeviceGetMemoryInfo(_first_gpu(nvml)).free))
    return min(float(psutil.virtual_memory().available), _left_of_container(Path("/sys/fs/cgroup")))


def _left_of_container(group: Path) -> float:
    """What a control group has left of its limit, if it has one; cached files do not count, they can go."""
    try:
        limit = float((group / "memory.max").read_text())  # "max" is no number
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - float(used["anon"])
    except (OSError, ValueError, KeyError):
        return math.inf


def gpus() -> list[str]:
    """The GPUs that this process may use, by names that CUDA knows: those of $CUDA_VISIBLE_DEVICES, else all.

    As CUDA reads it, the list ends at the first entry that is no device.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        return list(takewhile(lambda name: bool(name) and not name.startswith("-"), names))
    return _ask_driver(_uuids) or []


def gpu() -> str | None:
    """Name of the first GPU, where a driver answers."""
    return _ask_driver(lambda nvml: str(nvml.nvmlDeviceGetName(_first_gpu(nvml))))


def gpu_has_bfloat16() -> bool:
    """Whether the first GPU computes in bfloat16, as those from compute capability 8.0 on do."""
    capability = _ask_driver(lambda nvml: nvml.nvmlDeviceGetCudaComputeCapability(_first_gpu(nvml)))
    return capability is not None and capability >= (8, 0)


def _ask_driver(question: Callable[[Any], T]) -> T | None:
    """The answer of NVIDIA's driver to a question put to its library, None where there is no driver or no answer."""
    import pynvml  # only here: most commands need no GPU, and most machines have none

    try:
        pynvml.nvmlInit()
        try:
            return question(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _uuids(nvml: Any) -> list[str]:
    devices = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
    return [str(nvml.nvmlDeviceGetUUID(device)) for device in devices]


def _first_gpu(nvml: Any) -> Any:
    """The driver's handle of the first GPU that this process may use; of the machine's first where it may use none."""
    name = next(iter(gpus()), "0") if os.environ.get("CUDA_VISIBLE_DEVICES") else "0"
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)
