"""An executor for tests that are about numbers and files, and not about processes."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from support.ready_jobs import when_ready

from backbench.core.events import Event
from backbench.core.job import Job
from backbench.executors.retry import JobFailure


@dataclass
class InProcess:
    """Runs jobs in this process, one after another; `labels` are those of the jobs that it ran."""

    labels: list[str] = field(default_factory=list)

    def __call__(
        self,
        jobs: Iterable[tuple[int, Job] | None],
        *,
        logs: Path,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[tuple[int, Event | JobFailure]]:
        from backbench.evaluation import job as evaluation

        for position, job in when_ready(jobs):
            self.labels.append(job.label)
            events: list[Event] = []
            evaluation.run(job, events.append)
            yield from ((position, event) for event in events)
