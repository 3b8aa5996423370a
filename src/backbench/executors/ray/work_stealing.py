"""A job in several parts, so that workers without a job take over cells of those that have most left to do.

Each part makes its own frozen pass, unless that was made before (`passes`); cells do not know of each other. Nothing
here starts or stops a process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from backbench.core.cells import part_of, whole_of
from backbench.core.events import CellFinished, Event, Scored, Summary
from backbench.core.job import Job
from backbench.evaluation.workload import TRIALS, Workload, workload_of
from backbench.executors.ray import lr_splits
from backbench.executors.ray.lr_splits import Rates
from backbench.executors.retry import Attempt, JobFailure, owed

# What is handed over at a time is this part of a worker's share of all work, and at least the longest cell: whoever is
# done early comes back for more, and what is long must not wait behind it.
HANDED_OVER = 1 / 32


def to_hand_over(
    attempt: Attempt, most: float, *, work_of: Callable[[Job, Collection[str]], Workload] = workload_of
) -> tuple[str, ...]:
    """Cells that another worker could take over: the longest that have not begun, until they are enough (FLOPs).

    At most every other one, for the rest is for who has them now; the longest goes first where that one has begun with
    another. None where nothing is left to share.
    """
    if attempt.trial_for or attempt.over or attempt.job.shard:
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
    return sum(work.training.values()) > work.frozen + work.probe + lr_splits.FEW


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
    taken = Attempt(replace(attempt.job, wanted=cells), halved=attempt.halved)
    attempt.job = replace(attempt.job, wanted=kept)
    return attempt, taken


class Parts:
    """Of each job how many parts are on their way, so that it is over once, with the last of them.

    Of each cell whose learning rates are trained apart it has those that are done, so that it is told whole.
    """

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()
        self._summaries: dict[int, Summary] = {}
        self._rates: dict[tuple[int, str], Rates] = {}
        self._broken: set[int] = set()
        self._given_up: list[tuple[int, str]] = []

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
                    told += self._without(position, replace(event, cells=cells))
            elif isinstance(event, JobFailure):
                told += self._without(position, event)
            elif isinstance(event, CellFinished | Scored):
                told += self._whole(position, event)
            else:
                told.append(event)
        return told

    def given_up(self) -> list[tuple[int, str]]:
        """Job and id of learning rates that are behind, or whose cell broke: whoever trains them is to stop."""
        found, self._given_up = self._given_up, []
        return found

    def _whole(self, position: int, event: CellFinished | Scored) -> list[Event | JobFailure]:
        """A cell; nothing yet, where it is one of its learning rates and others are still on their way."""
        cell_id, rate = whole_of(event.cell_id if isinstance(event, Scored) else event.cell.cell_id)
        if rate is None:
            return [event]
        apart = self._rates.setdefault((position, cell_id), Rates(cell_id))
        apart.hear(rate, event)
        if apart.broken:
            apart.let_go()
            return []
        self._given_up += [(position, part_of(cell_id, each)) for each in apart.give_up()]
        cell = apart.whole()
        if cell is None:
            return []
        apart.let_go(but=cell)
        if apart.over:
            del self._rates[position, cell_id]
        else:  # one of them failed, and what the others come to does not matter any more
            apart.broken = True
            self._given_up += [(position, part_of(cell_id, each)) for each in range(TRIALS)]
        return [cell]

    def _without(self, position: int, broken: JobFailure) -> list[Event | JobFailure]:
        """Cells that broke, each once, of which others may still train a learning rate."""
        cells = []
        for cell_id, rate in map(whole_of, broken.cells):
            if rate is not None:
                apart = self._rates.setdefault((position, cell_id), Rates(cell_id))
                apart.let_go()
                if apart.broken:
                    continue
                apart.broken = True
                self._given_up += [(position, part_of(cell_id, each)) for each in range(TRIALS)]
            cells.append(cell_id)
        return [replace(broken, cells=tuple(cells))] if cells else []

    def are_over(self, position: int) -> bool:
        """Whether no part of a job is on its way any more."""
        return not self._open[position]

    def end(self, position: int, job: Job) -> list[Event | JobFailure]:
        """A part is over; the last word of the job where it was the last part, empty if none had the time for one."""
        self._open[position] -= 1
        if self._open[position] or position in self._broken:
            return []
        return [self._summaries.pop(position, Summary(job.label, {}, {}))]
