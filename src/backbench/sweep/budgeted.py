"""A sweep under a budget: a search asks for measurements and gets those for which there is time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from backbench.analysis import metrics
from backbench.budget.online_cost_model import OnlineCostModel
from backbench.budget.protocol import Arm, Measurement, PerItemScores, Round
from backbench.budget.strategies import DEFAULT, STRATEGIES
from backbench.core import formatting
from backbench.core.cells import CellKey, PlannedCell, Status, planned_cells
from backbench.core.job import Effort, Job, Screening
from backbench.results import store
from backbench.sweep.controller import MeasurementRequest, SweepController
from backbench.sweep.options import Budget

# Seconds that table and page take at the end, and those before a sweep looks at its clock.
FOR_THE_PAGE = 6.0

# By this share of the budget a job may end late that was expected to end in time: what is stopped leaves nothing.
LATE = 0.08

UNSPENT = "the budget had no time left for it"
UNPROBED = "its frozen probe failed"

# Where a cell is: the position of its job, and its key.
Place = tuple[int, CellKey]
Groups = dict[tuple[int, Effort], list[Place]]


@dataclass
class BudgetClock:
    """What may be spent and when that began, by `now`; `full` is the estimate of all that was asked."""

    budget: Budget
    began: float
    now: Callable[[], float] = time.monotonic
    full: float = 0.0

    @property
    def seconds(self) -> float:
        """The whole budget; that of a share moves with the estimate."""
        return self.budget.seconds or (self.budget.share or 0.0) * self.full

    @property
    def deadline(self) -> float:
        """When the measurements are to be over: what is not expected to end by then is not started."""
        return self.began + max(0.0, self.seconds - FOR_THE_PAGE)

    @property
    def end(self) -> float:
        """When what still runs is stopped."""
        return self.deadline + LATE * self.seconds


class BudgetedSweep:
    """Spends a budget on the cells of a sweep, and says of those that were left out why."""

    def __init__(self, work: SweepController, prices: OnlineCostModel, purse: BudgetClock) -> None:
        self.work, self.prices, self.purse = work, prices, purse
        self.places: dict[str, Place] = {}
        self.arms = tuple(self._arms())
        self.dropped: dict[tuple[int, str], str] = {}
        self.told: dict[Measurement, PerItemScores] = {}
        work.bar.follow(self._spent)
        self.started = 0

    def spend(self, run: Callable[..., Any]) -> None:
        """Search, and again with what is known, until nothing new fits; `run` is that of an executor."""
        before = -1
        while self.started > before:
            before = self.started
            self._search(run)
        self._prune()
        self.work.close()

    def _search(self, run: Callable[..., Any]) -> None:
        self.dropped.clear()
        search = STRATEGIES[DEFAULT](self.arms, train=len(self.jobs[0].spec.dataset.indices("train")))
        asked: Round | None = next(search)
        while asked is not None:
            for arm, reason in asked.dropped.items():
                position, key = self.places[arm.cells[0]]
                self.dropped[position, key.freeze] = reason
            self.purse.full = sum(
                self.prices.expected(job, [cell.cell_id for cell in planned_cells(job.spec)]) for job in self.jobs
            )
            self.work.bar.say(asked.name)
            self.work.do(self._orders(asked), partial(run, deadline=self.purse.end))
            told = {step: seen for step in asked.steps if (seen := self._seen(step)) is not None}
            try:
                asked = search.send(told)
            except StopIteration:
                asked = None

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the sweep, with their weights as far as these were needed."""
        return self.work.jobs

    def _spent(self) -> float:
        return (self.purse.now() - self.purse.began) / max(1e-9, self.purse.seconds)

    def report(self) -> str:
        """What was spent, and on what."""
        spent = formatting.duration(self.purse.now() - self.purse.began)
        counts = self.work.outcome.counts
        asked = sum(counts.values())
        said = (
            f"budget: {spent} of {formatting.duration(self.purse.seconds)};"
            f" {counts.get(Status.OK, 0)} of {asked} cells measured, {counts.get(Status.PRUNED, 0)} pruned"
        )
        if counts.get(Status.OK):
            return said
        least = min(self._price(job, [(0, cell.key)]) for job in self.jobs for cell in planned_cells(job.spec)[:1])
        return f"{said}; the quickest of them is expected to take {formatting.duration(least)}: give it more"

    def _arms(self) -> Iterator[Arm]:
        several = len({job.spec.image_size for job in self.jobs}) > 1
        for position, job in enumerate(self.jobs):
            network = job.label + (f" {job.spec.image_size} px" if several else "")
            cells = [cell for cell in planned_cells(job.spec) if not cell.impossible]
            for freeze in dict.fromkeys(cell.freeze for cell in cells):
                keys = []
                for cell in cells:
                    if cell.freeze == freeze:
                        keys.append(f"{position}:{freeze}#{cell.seed}")
                        self.places[keys[-1]] = position, cell.key
                frozen = freeze == "all"
                yield Arm(
                    network,
                    job.spec.backbone.family,
                    freeze,
                    tuple(keys),
                    0 if frozen else job.spec.epochs,
                    (job.spec.backbone.imagenet_top1 or 0.0) if job.spec.pretrained else 0.0,
                )

    def _orders(self, asked: Round) -> Iterator[MeasurementRequest]:
        """Of each job the cells for which there is time, judged when its turn comes."""
        began = self.purse.now()
        until = began + asked.share * (self.purse.deadline - began)
        groups: Groups = {}
        for step in asked.steps:
            place = self.places[step.cell]
            if not self._over(place) and self._seen(step) is None:
                groups.setdefault((place[0], step.effort), []).append(place)
        before = self.started
        for limit in (until, self.purse.deadline):
            for (position, effort), places in self._in_order(groups):
                wanted = self._that_fit(self.jobs[position].with_effort(effort), places, limit - self.purse.now())
                if wanted and (limit == until or self.started == before):  # of what is too long for a round, only one
                    self.started += 1
                    yield MeasurementRequest(position, frozenset(key for _, key in wanted), effort)
                    del places[: len(wanted)]

    def _in_order(self, groups: Groups) -> list[tuple[tuple[int, Effort], list[Place]]]:
        """As they were asked for; while nothing was measured the cheapest first: it tells what the others will take."""
        found = list(groups.items())
        if found and not self.prices.said:
            first = min(found, key=lambda group: self._price(self.jobs[group[0][0]].with_effort(group[0][1]), group[1]))
            found.remove(first)
            found.insert(0, first)
        return found

    def _price(self, job: Job, places: Sequence[Place]) -> float:
        return self.prices.expected(job, [cell.cell_id for cell in _cells(job, places)])

    def _that_fit(self, job: Job, places: Sequence[Place], seconds: float) -> Sequence[Place]:
        """The first cells of a job for which there is time."""
        while places and self._price(job, places) > seconds:
            places = places[:-1]
        return places

    def _seen(self, step: Measurement) -> PerItemScores | None:
        """What a step came to, should it have been taken; trials are remembered when the whole cell is there, too."""
        if step not in self.told and (found := self._stored(step)) is not None:
            self.told[step] = found
        return self.told.get(step)

    def _over(self, place: Place) -> bool:
        """Whether nothing is left to do for a cell."""
        (cell,) = _cells(self.jobs[place[0]], [place])
        stored = self.work.stored(self.jobs[place[0]], cell)
        return cell.cell_id in self.work.done or (stored is not None and stored.cell_id in self.work.done)

    def _stored(self, step: Measurement) -> PerItemScores | None:
        place = self.places[step.cell]
        (cell,) = _cells(self.jobs[place[0]], [place])
        stored = self.work.stored(self.jobs[place[0]], cell)
        if stored is None:
            return None
        found = store.read_cell(self.work.directory, stored.cell_id)
        trial = found.trace.get("trial", {})
        effort = step.effort
        if {name: trial.get(name) for name in effort.record()} == effort.record() and not effort.complete:
            return np.array(trial["items"])
        if found.status != Status.OK or isinstance(effort, Screening):
            return None
        answers = store.read_predictions(self.work.directory, stored.cell_id)
        # Also where a trial is asked for: what was measured without a search had none, and shows no less than one.
        return metrics.tempered_logs(answers["val_probs"], answers["val_labels"])

    def _why(self, position: int, cell: PlannedCell) -> str:
        job = self.jobs[position]
        probes = (self.work.stored(job, other) for other in planned_cells(job.spec) if other.freeze == "all")
        failed = any(probe is not None and probe.status == Status.FAILED for probe in probes)
        return self.dropped.get((position, cell.freeze), UNPROBED if failed else UNSPENT)

    def _prune(self) -> None:
        """Store every cell that was asked for and not measured, with the reason."""
        kinds: Counter[str] = Counter()
        for position, job in enumerate(self.jobs):
            for cell in self.work.owed(position):
                reason = self._why(position, cell)
                self.work.prune(job, cell, reason)
                kinds[reason.partition(":")[0]] += 1
        for kind, cells in kinds.items():
            self.work.bar.line(f"{cells} {'cell' if cells == 1 else 'cells'} pruned: {kind}")


def _cells(job: Job, places: Iterable[Place]) -> list[PlannedCell]:
    wanted = {key for _, key in places}
    return [cell for cell in planned_cells(job.spec) if cell.key in wanted]
