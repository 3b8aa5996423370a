"""Executors run jobs somewhere and yield (position of the job, event) as things happen.

Every job ends with a `Summary`, or with cells that say why there is none.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from backbench.executors import local
from backbench.executors.attempts import Broken
from backbench.records import Event, Job, Request

__all__ = ["Run", "chosen", "local"]


class Run(Protocol):
    """What all executors are: numbered jobs in, their numbers with what happens to them out."""

    def __call__(
        self,
        jobs: Iterable[tuple[int, Job] | None],
        *,
        logs: Path,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[tuple[int, Event | Broken]]:
        """Jobs are started in order; the next is asked for when there is room for it, again where it is None.

        Logs go to a folder. A cell may take `timeout` seconds; at `deadline` (`time.monotonic`) all is stopped.
        """
        ...


def chosen(request: Request) -> Run:
    """The executor that was asked for. Raises RequestError where it is not installed."""
    if request.executor == "ray":
        from backbench.executors import ray_cluster

        ray_cluster.installed()
        return partial(ray_cluster.run, workers=request.workers, address=request.ray_address)
    return partial(local.run, workers=request.workers)
