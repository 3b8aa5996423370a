"""A job on its way through a Ray cluster: what it says, and how it ended if it could not say so itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbench.core.cells import Status
from backbench.core.errors import BackbenchError
from backbench.core.events import CellFinished, CellStarted, Event
from backbench.executors.ray.file_transfer import FileChunk, put_down
from backbench.executors.retry import FITS, Attempt, JobFailure, after, after_loss, owed


@dataclass
class Task:
    """A job on its way through the cluster. `events` is Ray's generator, of a reference for each event."""

    number: int
    position: int
    attempt: Attempt
    events: Any
    ended: bool = False


def result(ray: Any, reference: Any) -> Any:
    """What a task gave; what it raised for people is raised as if it had happened here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BackbenchError):
            raise error.cause from None
        raise


def listen(ray: Any, task: Task, logs: Path) -> tuple[Sequence[Event | JobFailure], Attempt | None]:
    """What a task has to tell, and the next attempt at its job where that comes to an end before its time."""
    attempt = task.attempt
    try:
        said: Event | JobFailure | FileChunk = result(ray, next(task.events))
    except StopIteration:
        task.ended = True
        return (
            ([], None) if attempt.over else after(attempt, JobFailure(Status.FAILED, "its task ended without a word"))
        )
    except ray.exceptions.RayTaskError as error:
        task.ended = True
        return after(attempt, JobFailure(Status.FAILED, f"its task failed with {last_line(error.cause)}"))
    except ray.exceptions.RayError as error:
        task.ended = True
        return ([], None) if attempt.over else after_loss(attempt, _lost(ray, error))
    if isinstance(said, FileChunk):
        if (folder := attempt.job.resources.drafts if said.kind == "model" else logs) is not None:
            put_down(said, folder)
        return [], None
    if isinstance(said, JobFailure):
        if attempt.trial_for:
            task.ended = True
            return after(attempt, said)
        attempt.settle(said)
        return [said], None
    if isinstance(said, CellStarted) and said.cell_id not in owed(attempt.job):  # somebody else has it
        task.ended, attempt.over = True, not owed(attempt.job)
        return [], None if attempt.over else attempt.next(attempt.job)
    if isinstance(said, CellFinished) and not attempt.trial_for and said.cell.cell_id not in owed(attempt.job):
        return [], None  # somebody else tells of it
    if isinstance(said, CellFinished) and said.model and attempt.job.resources.drafts:
        said = replace(said, model=attempt.job.resources.drafts / said.model.name)
    told = list(attempt.hear(said))
    if attempt.fits(said):
        task.ended = True
        return after(attempt, FITS)
    return told, None


def last_line(error: BaseException) -> str:
    """What an error says in the end."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"


def _lost(ray: Any, error: Exception) -> JobFailure:
    """How a task ended that could not say so itself."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return JobFailure(Status.FAILED, "Ray ended it because its node ran out of memory", memory=True)
    if isinstance(error, ray.exceptions.NodeDiedError):
        return JobFailure(Status.FAILED, "the node that it ran on died")
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return JobFailure(Status.FAILED, "the worker that it ran in died")
    return JobFailure(Status.FAILED, f"the cluster lost it ({type(error).__name__})")
