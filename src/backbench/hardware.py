"""The machine: what it is called and how many cores this process may use."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
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


def gpu() -> str | None:
    """Name of the first GPU, where a driver answers."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603  fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    names = found.stdout.strip().splitlines()
    return names[0].strip() if found.returncode == 0 and names else None
