"""Jobs for what stands in the place of an executor in tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from backbench.core.job import Job


def when_ready(jobs: Iterable[tuple[int, Job] | None]) -> Iterator[tuple[int, Job]]:
    """The jobs alone: waits where the next one is not ready yet."""
    for each in jobs:
        if each is None:
            time.sleep(0.01)
        else:
            yield each
