"""A job in several parts, so that workers without a job take over cells of those that have most left to do.

Each part makes its own frozen pass; cells do not know of each other. Nothing here starts or stops a process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from backbench.core.events import Event, Summary
from backbench.core.job import Job
from backbench.evaluation.workload import Workload, workload_of
from backbench.executors.retry import Attempt, JobFailure, owed

# What is handed over at a time is this part of a worker's share of all work, and at least the longest cell: whoever is
# done early comes back for more, and what is long must not wait behind it.
HANDED_OVER = 1 / 32

# FLOPs of training below which a process of its own, with all that it has to start, is not worth it.
FEW = 3e13


def longest_first(job: Job) -> tuple[str, ...]:
    """Ids of the cells that a job owes, the most work first; what is not trained precedes all of them."""
    training = workload_of(job, owed(job)).training
    return tuple(sorted(owed(job), key=lambda cell: -training.get(cell, math.inf)))


def to_hand_over(
    attempt: Attempt, most: float, *, work_of: Callable[[Job, Collection[str]], Workload] = workload_of
) -> tuple[str, ...]:
    """Cells that another worker could take over: the longest that have not begun, until they are enough (FLOPs).

    At most every other one, for the rest is for who has them now; the longest goes first where that one has begun with
    another. None where nothing is left to share.
    """
    if attempt.trial_for or attempt.over:
        return ()
    rest = [cell for cell in owed(attempt.job) if cell != attempt.cell]
    found: list[str] = []
    taken = 0.0
    for cell in rest[not attempt.cell :: 2]:
        if not found or taken < most:
            found.append(cell)
            taken += sum(work_of(attempt.job, [cell]).training.values())
    return tuple(found)


def worth(work: Workload) -> bool:
    """Whether cells are more work than what all of a job's cells share, which whoever takes them over may do again."""
    return sum(work.training.values()) > work.frozen + work.probe + FEW


def split(
    attempts: Iterable[Attempt],
    *,
    share: float = math.inf,
    work_of: Callable[[Job, Collection[str]], Workload] = workload_of,
) -> tuple[Attempt, Attempt] | None:
    """The attempt with the longest cell to hand over, which it owes no longer, and the new one; None if not worth it.

    The process of the first does not know yet: until it hears of it, it may begin with a cell that it does not owe, and
    is then to be ended.
    """
    offers: list[tuple[float, int, Attempt, tuple[str, ...]]] = []
    for attempt in attempts:
        if cells := to_hand_over(attempt, HANDED_OVER * share, work_of=work_of):
            work = work_of(attempt.job, cells)
            if worth(work):
                offers.append((max(work.training.values()), len(offers), attempt, cells))
    if not offers:
        return None
    _, _, attempt, cells = max(offers)
    kept = tuple(cell for cell in owed(attempt.job) if cell not in cells)
    taken = Attempt(attempt.job.owing(cells), halved=attempt.halved)
    attempt.job = attempt.job.owing(kept)
    return attempt, taken


class Parts:
    """Of each job how many parts are on their way, so that it is over once, with the last of them."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()
        self._summaries: dict[int, Summary] = {}
        self._broken: set[int] = set()

    def begin(self, position: int) -> None:
        """One more part of a job."""
        self._open[position] += 1
        self._broken.discard(position)

    def tell(self, position: int, attempt: Attempt, events: Sequence[Event | JobFailure]) -> list[Event | JobFailure]:
        """The events of one part as those of the whole job: its end is not told yet."""
        told: list[Event | JobFailure] = []
        for event in events:
            if isinstance(event, Summary):
                earlier = self._summaries.get(position, event)
                spent = Counter(event.seconds) + Counter({} if earlier is event else earlier.seconds)
                self._summaries[position] = replace(event, seconds=dict(spent))
            elif isinstance(event, JobFailure) and not event.cells:
                if self._open[position] == 1:  # with it all of the job is over
                    self._summaries.pop(position, None)
                    self._broken.add(position)
                    told.append(event)
                elif cells := owed(attempt.job):
                    told.append(replace(event, cells=cells))
            else:
                told.append(event)
        return told

    def end(self, position: int, job: Job) -> list[Event | JobFailure]:
        """A part is over; the last word of the job where it was the last part, empty if none had the time for one."""
        self._open[position] -= 1
        if self._open[position] or position in self._broken:
            return []
        return [self._summaries.pop(position, Summary(job.label, {}, {}))]
