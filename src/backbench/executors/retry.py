"""What becomes of a job whose process ended before its time: once more with less memory, on without one cell, or over.

Nothing here starts or stops a process: it is told what happened and says what to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from backbench.core.cells import Status, planned_cells
from backbench.core.events import TRAINING_PHASES, CellFinished, CellStarted, Event, Progress, Summary
from backbench.core.job import Job
from backbench.core.timing import in_words

# A job that ran out of memory is started again with half of its inference batch, then with a quarter.
HALVINGS = 2

# So often a job may lose the machine or the worker that it runs on before that is taken for its own fault.
LOSSES = 3


@dataclass(frozen=True)
class JobFailure:
    """Cells ended before their time: `skipped` where they cannot run here, `failed` otherwise.

    Without `cells` it is all that the job still owes, and the job is over. `memory` is whether there was too little;
    `presumed` where only a SIGKILL says so, which a user or a scheduler sends too.
    """

    status: Status
    reason: str
    cells: tuple[str, ...] = ()
    memory: bool = False
    presumed: bool = False


# The end of a trial that has shown what it was for.
FITS = JobFailure(Status.OK, "")

# The end of whatever still runs when there is no time left.
OUT_OF_TIME = JobFailure(Status.PRUNED, "the budget was spent before it was done")


@dataclass
class Attempt:
    """One process of a job: what it was asked for and how far it is.

    `trial_for` is the attempt whose training step did not fit into memory, and `why` how that showed; `job` is then
    only a trial of a smaller batch, which ends as soon as that is seen to fit. `killed` is the cell whose training was
    killed before, by nobody knows whom. `losses` counts the nodes and workers that it lost since its last cell.
    """

    job: Job
    number: int = 1
    halved: int = 0
    losses: int = 0
    trial_for: Attempt | None = None
    why: str = ""
    killed: str | None = None
    cell: str | None = None
    phase: str = ""
    since: float = field(default_factory=time.monotonic)
    over: bool = False

    def hear(self, event: Event) -> Iterator[Event]:
        """Take note of an event, and hand on what others should know of it."""
        if isinstance(event, CellStarted):
            self.cell, self.since = event.cell_id, time.monotonic()
        elif isinstance(event, Progress):
            self.phase = event.phase
        elif isinstance(event, CellFinished):
            self.cell, self.since = None, time.monotonic()
            self.job, self.losses = without(self.job, event.cell.cell_id), 0
            if self.halved:
                event = replace(event, cell=replace(event.cell, reason=self._with_less_memory(event.cell.reason)))
        elif isinstance(event, Summary):
            self.over = True
        if not self.trial_for:
            yield event

    def settle(self, broken: JobFailure) -> None:
        """Take note of cells that ended before their time where the job runs, which goes on there with the others."""
        self.over = not broken.cells
        for cell in broken.cells:
            self.job, self.losses = without(self.job, cell), 0

    def fits(self, event: Event) -> bool:
        """Whether a batch that was only tried has turned out to fit: an epoch is over, or even the cell."""
        trained = isinstance(event, Progress) and event.phase in TRAINING_PHASES and 0 < event.done < event.total
        return self.trial_for is not None and (trained or isinstance(event, CellFinished))

    def next(self, job: Job, **changed: Any) -> Attempt:
        """The attempt that comes after this one."""
        return Attempt(job, **{"number": self.number + 1, "halved": self.halved, **changed})

    def _with_less_memory(self, reason: str) -> str:
        said = (
            f"memory ran out at first: what trains nothing ran on {self.job.resources.inference_batch} images at a time"
        )
        return f"{reason}; {said}" if reason else said


def after(attempt: Attempt, end: JobFailure) -> tuple[list[JobFailure], Attempt | None]:
    """What to tell after a process ended before its time, and the next attempt, None where the job is over."""
    job = attempt.job
    if end == OUT_OF_TIME:
        return [end], None
    if attempt.trial_for:
        return _after_trial(attempt, attempt.trial_for, end)
    training = attempt.phase in TRAINING_PHASES
    if end.presumed and training and attempt.cell and attempt.cell != attempt.killed:
        return [], attempt.next(job, killed=attempt.cell)
    if end.presumed and training:
        end = replace(end, reason=f"twice, {end.reason}")
    if end.memory and training and attempt.cell and job.spec.batch_size > 1:
        smaller = _with_batch(job.owing((attempt.cell,)), job.spec.batch_size // 2)
        return [], attempt.next(smaller, trial_for=attempt, why=end.reason)
    if end.memory and not training and attempt.halved < HALVINGS and job.resources.inference_batch > 1:
        smaller = job.with_resources(inference_batch=job.resources.inference_batch // 2)
        return [], attempt.next(smaller, halved=attempt.halved + 1)
    if end.memory and attempt.halved:
        end = replace(end, reason=f"{end.reason}; {job.resources.inference_batch} images at a time were still too many")
    return _without_one(attempt, end)


def after_loss(attempt: Attempt, end: JobFailure) -> tuple[list[JobFailure], Attempt | None]:
    """The same after a node or a worker was lost, which is no fault of the job, unless it happens again and again."""
    if end.memory:
        return after(attempt, end)
    if attempt.losses + 1 < LOSSES:
        return [], attempt.next(attempt.job, losses=attempt.losses + 1)
    return after(attempt, replace(end, reason=f"given up after {LOSSES} attempts: {end.reason}"))


def _after_trial(trial: Attempt, stopped: Attempt, end: JobFailure) -> tuple[list[JobFailure], Attempt | None]:
    job, batch = stopped.job, trial.job.spec.batch_size
    if end != FITS and end.memory and batch > 1:
        return [], trial.next(_with_batch(trial.job, batch // 2), trial_for=stopped, why=trial.why)
    said = f"a training step of {job.spec.batch_size} images does not fit into memory"
    if end == FITS:
        said += f", one of {batch} does: --batch-size {batch} is another recipe, for a folder of its own (--out)"
    elif end.memory:
        said += ", nor does one of a single image: ask for a smaller --image-size, or freeze more"
    else:
        said += f" (whether one of {batch} does is not known: {end.reason})"
    return _without_one(replace(stopped, number=trial.number), JobFailure(Status.FAILED, f"{said}; {trial.why}"))


def _without_one(attempt: Attempt, end: JobFailure) -> tuple[list[JobFailure], Attempt | None]:
    """The cell in work is at fault, and the others go on; without one it is what all of them share."""
    rest = without(attempt.job, attempt.cell)
    if end.status == Status.SKIPPED or attempt.cell is None or not rest.cells:
        return [end], None
    return [replace(end, cells=(attempt.cell,))], attempt.next(rest)


def overrun(attempt: Attempt, timeout: float) -> JobFailure:
    """The end of a process that took longer than a cell, or what all of a job's cells share, may take."""
    what = "it" if attempt.cell else "what all cells of this backbone share"
    phase = f" (in the phase '{attempt.phase}')" if attempt.phase else ""
    return JobFailure(Status.FAILED, f"stopped by --timeout: {what} took longer than {in_words(timeout)}{phase}")


def _with_batch(job: Job, batch_size: int) -> Job:
    """The same cells with another batch, by which they have other ids."""
    other = job.with_spec(batch_size=batch_size)
    theirs = {
        ours.cell_id: theirs.cell_id
        for ours, theirs in zip(planned_cells(job.spec), planned_cells(other.spec), strict=True)
    }
    return other.owing(tuple(theirs[cell] for cell in owed(job))).with_resources(drafts=None)


def without(job: Job, cell: str | None) -> Job:
    """A job that owes everything but this."""
    return job.owing(tuple(other for other in owed(job) if other != cell))


def owed(job: Job) -> tuple[str, ...]:
    """Ids of the cells that a job still has to measure, in its order."""
    return tuple(cell.cell_id for cell in planned_cells(job.spec)) if job.cells is None else job.cells
