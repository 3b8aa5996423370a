"""The machine: what it is called and how many cores this process may use."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path


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


def memory_gib() -> float | None:
    """Physical memory in GiB, where the system tells."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def free_bytes(*, on_gpu: bool = False) -> float | None:
    """Memory that can be had now, of the machine or of the first GPU, where the system tells."""
    if on_gpu:
        free = _asked_of_driver("memory.free")
        return float(free.split()[0]) * 2**20 if free and free.split()[0].isdigit() else None
    listing = Path("/proc/meminfo")
    if not listing.exists():
        return None
    known = dict(line.split(":", 1) for line in listing.read_text().splitlines() if ":" in line)
    if "MemAvailable" not in known:
        return None
    return min(float(known["MemAvailable"].split()[0]) * 1024, _left_of_container(Path("/sys/fs/cgroup")))


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
    tool = shutil.which("nvidia-smi")
    return _lines([tool, "--query-gpu=uuid", "--format=csv,noheader"], timeout=20) if tool else []


def gpu() -> str | None:
    """Name of the first GPU, where a driver answers."""
    return _asked_of_driver("name")


def gpu_has_bfloat16() -> bool:
    """Whether the first GPU computes in bfloat16, as those from compute capability 8.0 on do."""
    try:
        return float(_asked_of_driver("compute_cap") or 0) >= 8.0
    except ValueError:
        return False


def used_by(backend: str) -> str | None:
    """Name of the device that a Keras backend computes on, asked in a process of its own, which takes seconds."""
    command = [sys.executable, "-P", "-c", "from backbench.features.device import device; print(device())"]
    return _first_line(command, timeout=120, env={**os.environ, "KERAS_BACKEND": backend})


def _asked_of_driver(what: str) -> str | None:
    """Of the first GPU that this process may use."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    chosen = gpus()[:1] if os.environ.get("CUDA_VISIBLE_DEVICES") else []
    which = ["-i", chosen[0]] if chosen else []
    return _first_line([tool, *which, f"--query-gpu={what}", "--format=csv,noheader"], timeout=20)


def _first_line(command: list[str], *, timeout: float, env: dict[str, str] | None = None) -> str | None:
    return next(iter(_lines(command, timeout=timeout, env=env)), None)


def _lines(command: list[str], *, timeout: float, env: dict[str, str] | None = None) -> list[str]:
    """What a command prints, if it ends well."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=env)  # noqa: S603  fixed
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in found.stdout.strip().splitlines()] if found.returncode == 0 else []
