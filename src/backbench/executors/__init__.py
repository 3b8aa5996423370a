"""Where jobs run: processes on this machine or nodes of a Ray cluster; events come back as they happen.

May import `evaluation`, `backbones`, `data`, `analysis` and `core`. Begin with the protocol `Run`, then `local.py`;
`retry.py` decides what follows when a process ends early. Every job ends with a `Summary`, or with a `JobFailure` that
says why there is none.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from backbench.core.events import Event
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.evaluation.workload import flops
from backbench.executors import local
from backbench.executors.retry import JobFailure

__all__ = ["Run", "check", "chosen", "local"]


class Run(Protocol):
    """What all executors are: numbered jobs in, their numbers with what happens to them out."""

    def __call__(
        self,
        jobs: Iterable[tuple[int, Job] | None],
        *,
        logs: Path,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[tuple[int, Event | JobFailure]]:
        """Jobs are started in order; the next is asked for when there is room for it, again where it is None.

        Logs go to a folder. A cell may take `timeout` seconds; at `deadline` (`time.monotonic`) all is stopped.
        """
        ...


def check(request: Request) -> None:
    """Raise RequestError where the executor that was asked for is not installed."""
    if request.executor == "ray":
        from backbench.executors.ray import cluster as ray_cluster

        ray_cluster.installed()


def chosen(request: Request, jobs: Iterable[Job]) -> Run:
    """The executor that was asked for, which may have to know how much work all jobs are."""
    if request.executor == "ray":
        from backbench.executors.ray import cluster as ray_cluster

        total = sum(flops(job) for job in jobs)
        return partial(ray_cluster.run, workers=request.workers, address=request.ray_address, total=total)
    return partial(local.run, workers=request.workers)
