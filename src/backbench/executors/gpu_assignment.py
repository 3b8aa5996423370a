"""Who of several jobs on one machine computes on which GPU, and with which of the cores: from their numbers alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from backbench.core import hardware


@dataclass(frozen=True)
class GpuAssignment:
    """What one job at a time has for itself: a GPU by the name that CUDA knows, None for any, and cores.

    Without `cores` it may use all of them.
    """

    gpu: str | None = None
    cores: tuple[int, ...] = ()


def shares(gpus: Sequence[str], cores: Sequence[int], workers: int | None) -> list[GpuAssignment]:
    """A share for each of so many workers: by default one a GPU, and one where there is at most one GPU.

    Several jobs get a GPU each, in turns where there are more jobs, and as many cores as the others, neighbours among
    them, which are near the same memory on most machines. Without several GPUs they share the machine as they like, as
    its scheduler does that better than fixed cores where jobs take turns at being single-threaded.
    """
    count = workers or max(1, len(gpus))
    if count == 1 or len(gpus) < 2:
        return [GpuAssignment()] * count
    edges = [len(cores) * place // count for place in range(count + 1)]
    return [
        GpuAssignment(gpus[place % len(gpus)], tuple(cores[edges[place] : edges[place + 1]]) or tuple(cores))
        for place in range(count)
    ]


def of_this_machine(workers: int | None) -> list[GpuAssignment]:
    """The shares of the GPUs and cores that this process may use."""
    return shares(hardware.gpus(), hardware.core_numbers(), workers)


def take(share: GpuAssignment) -> None:
    """Bind this process to its share; before a framework is imported, which looks then."""
    if share.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu
    if share.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)
