"""A job in several parts, so that workers without a job take over cells of the one that has most left to do.

Each part makes its own frozen pass; cells do not know of each other. Nothing here starts or stops a process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from backbench.executors.attempts import Attempt, Broken, owed
from backbench.records import Event, Job, Summary
from backbench.workload import Work, work_of

# Operations of trained cells below which a process of their own, with all that it has to start, is not worth it.
FEW = 3e13


def later_half(attempt: Attempt) -> tuple[str, ...]:
    """Cells that another worker could take over: the later half of those that have not begun, none if that is none."""
    rest = [cell for cell in owed(attempt.job) if cell != attempt.cell]
    kept = math.floor(len(rest) / 2) if attempt.cell else math.ceil(len(rest) / 2)
    return () if attempt.trial_for or attempt.over else tuple(rest[kept:])


def worth(work: Work) -> bool:
    """Whether cells are more work than what all of a job's cells share, which whoever takes them over does again."""
    return sum(work.training.values()) > work.frozen + work.probe + FEW


def split(
    attempts: Iterable[Attempt], *, work_of: Callable[[Job, Collection[str]], Work] = work_of
) -> tuple[Attempt, Attempt] | None:
    """The attempt with most work to hand over, which it owes no longer, and the new one; None where it is not worth it.

    The process of the first does not know: it is to be ended when it begins with a cell that it does not owe.
    """
    offers: list[tuple[float, int, Attempt, tuple[str, ...]]] = []
    for attempt in attempts:
        if cells := later_half(attempt):
            work = work_of(attempt.job, cells)
            if worth(work):
                offers.append((sum(work.training.values()), len(offers), attempt, cells))
    if not offers:
        return None
    _, _, attempt, cells = max(offers)
    kept = tuple(cell for cell in owed(attempt.job) if cell not in cells)
    taken = Attempt(replace(attempt.job, wanted=cells), halved=attempt.halved)
    attempt.job = replace(attempt.job, wanted=kept)
    return attempt, taken


class Parts:
    """Of each job how many parts are on their way, so that it is over once, with the last of them."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()
        self._summaries: dict[int, Summary] = {}

    def begin(self, position: int) -> None:
        """One more part of a job."""
        self._open[position] += 1

    def tell(self, position: int, attempt: Attempt, events: Sequence[Event | Broken]) -> list[Event | Broken]:
        """The events of one part as those of the whole job: its end is not told yet."""
        told: list[Event | Broken] = []
        for event in events:
            if isinstance(event, Summary):
                self._summaries[position] = event
            elif isinstance(event, Broken) and not event.cells:
                if self._open[position] == 1:  # with it all of the job is over
                    self._summaries.pop(position, None)
                    told.append(event)
                elif cells := owed(attempt.job):
                    told.append(replace(event, cells=cells))
            else:
                told.append(event)
        return told

    def end(self, position: int) -> list[Event | Broken]:
        """A part is over; the last word of the job, where it was the last part and there is one."""
        self._open[position] -= 1
        if self._open[position]:
            return []
        summary = self._summaries.pop(position, None)
        return [summary] if summary else []
