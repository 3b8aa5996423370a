"""The machine: what it is called and how many cores this process may use."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def device() -> str:
    """Name of the processor that does the work: the first GPU where there is one that answers, else the CPU."""
    return _gpu() or cpu()


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


def memory_gib() -> float | None:
    """Physical memory in GiB, where the system tells."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _gpu() -> str | None:
    tool = shutil.which("nvidia-smi")
    if not tool or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    found = subprocess.run(  # noqa: S603  a fixed command
        [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False, timeout=20
    )
    names = found.stdout.strip().splitlines()
    return names[0].strip() if found.returncode == 0 and names else None
