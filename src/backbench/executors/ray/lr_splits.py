"""A long cell whose learning rates are trained apart, by as many workers, and what it comes to when they are done.

They race as they would have one after the other. Where one was behind can show later than it did, and is then known
from the same curves: the cell is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from backbench.core.cells import Cell, part_of, whole_of
from backbench.core.events import CellFinished, Scored
from backbench.core.job import Job
from backbench.evaluation.lr_selection import BEHIND, LearningRateRun, from_trace, run_again
from backbench.evaluation.workload import TRIALS, Workload, workload_of
from backbench.executors.retry import owed

# Of a worker's share of all work a cell that is not cut is at most this part: none of those that begin late is longer.
LONG = 1 / 4

# FLOPs of training below which a process of its own, with all that it has to start, is not worth it.
FEW = 3e13


def longest_first(
    job: Job, share: float, *, work_of: Callable[[Job, Collection[str]], Workload] = workload_of
) -> tuple[str, ...]:
    """Ids of what a job owes, the most work first; cells that are long for a `share` (FLOPs) by their learning rates.

    What is not trained goes first. A cell that is only tried has one learning rate.
    """
    training = work_of(job, owed(job)).training
    ids: list[str] = []
    for cell in sorted(owed(job), key=lambda cell: -training.get(cell, float("inf"))):
        whole = job.pretrained and job.backbone and not job.trial and whole_of(cell)[1] is None
        apart = whole and training.get(cell, 0.0) > max(LONG * share, TRIALS * FEW)
        ids += [part_of(cell, rate) for rate in range(TRIALS)] if apart else [cell]
    return tuple(ids)


class Rates:
    """The learning rates of one cell: the curve of each that is on its way, and those that are over."""

    def __init__(self, cell_id: str) -> None:
        self.cell_id = cell_id
        self.broken = False
        self._curves: dict[int, LearningRateRun] = {}
        self._seconds: dict[int, float] = {}
        self._over: dict[int, CellFinished | None] = {}

    def hear(self, rate: int, event: Scored | CellFinished) -> None:
        """Take note of one more epoch of a learning rate, or that it is over."""
        if isinstance(event, Scored):
            self._curves[rate], self._seconds[rate] = from_trace(event.trial), event.seconds
            if event.trial["ended"]:
                self._over[rate] = None
        else:
            self._over[rate] = event
            training = event.cell.trace.get("training", {})
            for found in (*training.get("trials", ()), *event.cell.trace.get("diverged", ())):
                self._curves[rate] = from_trace(found)

    def give_up(self) -> list[int]:
        """Learning rates that are behind whichever of those before them will lead: they are over with this."""
        found = []
        for rate, trial in sorted(self._curves.items()):  # who is given up does not lead the later ones
            lost = (epoch for epoch in range(1, len(trial.curve) + 1) if self._behind(rate, trial, epoch))
            if rate not in self._over and (epoch := next(lost, 0)):
                self._curves[rate] = replace(trial, curve=trial.curve[:epoch], ended=BEHIND)
                self._over[rate] = None
                found.append(rate)
        return found

    def _behind(self, rate: int, trial: LearningRateRun, epoch: int) -> bool:
        rivals = []
        for other in range(rate):
            rival, over = self._curves.get(other), other in self._over
            if over and (rival is None or not rival.curve or rival.ended == BEHIND):
                continue  # it does not lead
            if rival is None or (not over and len(rival.curve) < epoch):
                return False  # it may yet be the one
            rivals.append(rival)
        return bool(rivals) and all(trial.behind(rival, epoch) for rival in rivals)

    def whole(self) -> CellFinished | None:
        """The cell as if they had raced, None while some are on their way.

        It failed where one of them did, unless that only diverged and another did not.
        """
        parts = {rate: part.cell for rate, part in self._over.items() if part}
        for cell in parts.values():
            if cell.status != "ok" and not cell.trace.get("diverged"):
                return CellFinished(self._of(cell))
        if not self.over:
            return None
        trials, chosen = run_again([self._curves[rate] for rate in range(TRIALS)])
        won = self._over.get(chosen)
        if won is None:  # all diverged: who is behind does not win
            return CellFinished(self._of(parts[0], trace={"diverged": [trial.trace() for trial in trials]}))
        training = {**won.cell.trace["training"], "trials": [trial.trace() for trial in trials], "chosen": chosen}
        cell = self._of(won.cell, trace={**won.cell.trace, "training": training})
        spent = {
            name: sum(cell.row.get(name, 0.0) for cell in parts.values())
            + sum(seconds for rate, seconds in self._seconds.items() if rate not in parts)
            for name in ("fit_seconds", "wall_seconds")
        }
        return replace(won, cell=replace(cell, row={**cell.row, **spent}))

    @property
    def over(self) -> bool:
        """Whether none is on its way any more."""
        return len(self._over) == TRIALS

    def let_go(self, but: CellFinished | None = None) -> None:
        """Remove the trained weights that did not win."""
        for part in self._over.values():
            if part and part.model and not (but and part.model == but.model):
                part.model.unlink(missing_ok=True)

    def _of(self, cell: Cell, **changed: object) -> Cell:
        return replace(cell, cell_id=self.cell_id, row={**cell.row, "cell_id": self.cell_id}, **changed)  # type: ignore[arg-type]
