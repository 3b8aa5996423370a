"""Feeds jobs to an executor and stores what comes back: the one writer of a results folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from backbench.analysis.best_cells import trained, worth_keeping
from backbench.budget.online_cost_model import OnlineCostModel
from backbench.core.cache import evict, let_go, limit_bytes
from backbench.core.cells import (
    Cell,
    CellKey,
    PlannedCell,
    Status,
    but_weights,
    empty_row,
    planned_cells,
)
from backbench.core.columns import CellRow
from backbench.core.dataset import Listing
from backbench.core.errors import BackbenchError, UnavailableError
from backbench.core.events import COST_PHASES, CellFinished, Event, Message, Progress, Summary
from backbench.core.job import FULL, Effort, Job, Screening
from backbench.core.request import Request
from backbench.executors.retry import JobFailure
from backbench.results import store
from backbench.results.run_record import JobRecord
from backbench.sweep import plan
from backbench.sweep.pixels_prefetch import PixelsPrefetcher
from backbench.sweep.progress import Bar, in_a_line, tried_as
from backbench.sweep.summary import SweepSummary
from backbench.sweep.weights_prefetch import WeightsPrefetcher

Runner = Callable[[Iterator[tuple[int, Job] | None]], Generator[tuple[int, Event | JobFailure]]]


class SweepController:
    """Feeds jobs to the executor and stores what comes back: the one writer of the results folder."""

    def __init__(
        self,
        jobs: list[Job],
        listing: Listing,
        *,
        directory: Path,
        request: Request,
        keep: str,
        prices: OnlineCostModel,
        bar: Bar,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs, self.listing, self.directory, self.keep = jobs, listing, directory, keep
        self.outcome, self.bar = SweepSummary(directory), bar
        self.searching = request.budget is not None  # jobs then come back for more
        self.changed = False
        self.summaries: list[JobRecord] = []
        self.decode_seconds: dict[int, float] = {}
        self.prices, self.clock = prices, clock
        # Without what stands behind their numbers, which is large.
        self.cells = {cell.cell_id: replace(cell, trace={}) for cell in store.read_cells(directory)}
        self.held = [cell for cell in self.cells.values() if cell.status == Status.OK]
        # By all but the weights: what is there of a job whose weights nobody has asked for yet; ok goes first.
        self.alike = {but_weights(cell.identity): cell.cell_id for cell in (*self.cells.values(), *self.held)}
        self.ok = {cell.cell_id for cell in self.held}
        # Who asks for all weights gets those that were not kept by training once more.
        bare = set(trained(store.table(self.held))["cell_id"]) - store.models(directory)
        self.there = self.ok - bare if request.keep_models == "all" else self.ok
        self.done = set(self.there)
        self.tried: set[str] = set()
        self.counted: set[int] = set()
        self.running: dict[int, tuple[Job, float, float]] = {}
        self.open = {job.spec.series for job in jobs}
        wanted = {job.spec.backbone.name: job.spec.backbone for job in jobs if job.spec.pretrained}
        self.supply = WeightsPrefetcher(wanted.values(), cache=jobs[0].resources.cache, mirrors=request.mirrors)
        self.ahead = PixelsPrefetcher(listing)

    def do(self, orders: Iterable[MeasurementRequest], run: Runner) -> None:
        """Run what is missing of these orders, in their order, and store what it comes to."""
        with closing(run(self.ready(orders))) as events:
            for position, event in events:
                self.take(position, event)

    def ready(self, orders: Iterable[MeasurementRequest]) -> Iterator[tuple[int, Job] | None]:
        """Jobs with something left to do, once their weights and pixels are at hand, and None until then."""
        for order in orders:
            position, job = order.position, self.jobs[order.position]
            if job.spec.pretrained and not job.spec.weights:
                if self.supply.waiting_for(job.spec.backbone):
                    self.bar.say(f"{job.label}: getting weights")
                while self.supply.waiting_for(job.spec.backbone):
                    self.supply.quiet(False)
                    yield None
                try:
                    job = job.with_spec(weights=self.supply.get(job.spec.backbone))
                except UnavailableError as error:
                    if position not in self.counted:
                        self._without_weights(position, job, str(error))
                    continue
            self.jobs[position] = job
            plans = planned_cells(job.spec)
            if position not in self.counted:
                self._count_held(position, job, plans)
            missing = tuple(cell.cell_id for cell in plans if cell.cell_id not in self.done and order.wants(cell))
            if not missing:
                self._over(position, job)
                continue
            try:
                job = yield from self._prepared(job.owing(missing).with_effort(order.effort))
            except BackbenchError as error:
                self._end(position, job.owing(missing), JobFailure(Status.SKIPPED, str(error)))
                continue
            self.tried -= set(missing)
            self.bar.say(f"{job.label}: starting")
            self.ahead.start(job, [later for later in self.jobs[position + 1 :] if self._wants_pixels(later)])
            self.running[position] = job, self.clock(), self.prices.expected(job, missing)
            yield position, job

    def take(self, position: int, event: Event | JobFailure) -> None:
        """Act on one event of one job."""
        job, began, expected = self.running[position]
        if isinstance(event, Progress):
            self.bar.phase(position, job.label, event.phase, event.done, event.total)
            for background in (self.supply, self.ahead):
                background.quiet(event.phase in COST_PHASES)
        elif isinstance(event, CellFinished):
            self._store(event)
        elif isinstance(event, Message):
            self.bar.line(event.text)
        elif isinstance(event, Summary):
            if event.seconds:  # else its parts were ended before they had a last word
                seconds = {str(phase): spent for phase, spent in event.seconds.items()}
                self.summaries.append(JobRecord(event.label, seconds, dict(event.environment)))
                wall = self.clock() - began
                self.prices.learn(job, job.cells or (), said=expected, phases=event.seconds, wall=wall)
            self._over(position, job)
        elif isinstance(event, JobFailure):
            self._end(position, job, event)

    def close(self) -> None:
        """No job comes back for more."""
        self.open.clear()
        self._thin(self.table())

    def table(self) -> pd.DataFrame:
        """That of all stored cells."""
        return store.table(cell for _, cell in sorted(self.cells.items()))

    def stored(self, job: Job, cell: PlannedCell) -> Cell | None:
        """What is stored of a planned cell, without its trace; before its weights are at hand, whatever these were."""
        if job.spec.weights or not job.spec.pretrained:
            return self.cells.get(cell.cell_id)
        return self.cells.get(self.alike.get(but_weights(cell.identity), ""))

    def owed(self, position: int) -> list[PlannedCell]:
        """Cells of a job that a search has left out; what failed earlier keeps its reason."""
        job = self.jobs[position]
        plans = planned_cells(job.spec)
        if position not in self.counted:
            self._count_held(position, job, plans)
        left = []
        for cell in plans:
            stored = self.stored(job, cell)
            if cell.cell_id in self.done:
                continue
            if stored and stored.status in (
                Status.OK,
                Status.FAILED,
            ):  # what was measured may only lack its trained weights
                self.outcome.count(stored.status, 1)
                self.done.add(cell.cell_id)
            else:
                left.append(cell)
        return left

    def prune(self, job: Job, cell: PlannedCell, reason: str) -> None:
        """Store a cell that was not measured as pruned, with the reason and what a trial showed."""
        if stored := self.stored(job, cell):
            cell = replace(cell, cell_id=stored.cell_id, identity=stored.identity)
        if trial := self._trial_of(cell.cell_id):
            reason = f"{reason}; {tried_as(trial)}"
        row = empty_row(job.spec, cell).replace(status=Status.PRUNED)
        self._write(CellFinished(Cell(cell.cell_id, Status.PRUNED, reason, cell.identity, row)))
        self.done.add(cell.cell_id)
        self.outcome.count(Status.PRUNED, 1)

    def _count_held(self, position: int, job: Job, plans: Iterable[PlannedCell]) -> None:
        for cell in plans:
            if cell.impossible and cell.cell_id not in self.done:
                self._missed(job, cell, Status.SKIPPED, cell.impossible)
        stored = {cell.cell_id: self.stored(job, cell) for cell in plans}
        held = [cell_id for cell_id, found in stored.items() if found and found.cell_id in self.there]
        self.done.update(held)
        self.outcome.count(Status.OK, len(held))
        self.outcome.already += len(held)
        self.counted.add(position)

    def _prepared(self, job: Job) -> Generator[None, None, Job]:
        """With its images, and a place for trained weights; yields until it has them."""
        if isinstance(job.effort, Screening):
            job, listing = plan.screened(job, self.listing, images=job.effort.images)
            return plan.with_pixels(job, listing, progress=self.bar.step)
        drafts = None if self.keep == "none" or not job.effort.complete else store.drafts(self.directory)
        job = job.with_resources(drafts=drafts)
        began = self.clock()
        job = yield from self.ahead.decoded(job, self.bar.step)
        self.decode_seconds.setdefault(job.spec.image_size, self.clock() - began)
        return job

    def _wants_pixels(self, job: Job) -> bool:
        """Whether a job will surely run: its weights are at hand and some of its cells are not."""
        if job.spec.pretrained:
            if self.supply.waiting_for(job.spec.backbone):
                return False
            try:
                job = job.with_spec(weights=self.supply.get(job.spec.backbone))
            except UnavailableError:
                return False
        return any(not cell.impossible and cell.cell_id not in self.done for cell in planned_cells(job.spec))

    def _without_weights(self, position: int, job: Job, reason: str) -> None:
        """Cells that were measured while the weights could be had still count; the others are skipped."""
        held = {but_weights(cell.identity) for cell in self.held}
        there = [cell.cell_id for cell in planned_cells(job.spec) if but_weights(cell.identity) in held]
        self.done.update(there)
        self.outcome.count(Status.OK, len(there))
        self.outcome.already += len(there)
        self.counted.add(position)
        self._end(position, job, JobFailure(Status.SKIPPED, reason))

    def _end(self, position: int, job: Job, broken: JobFailure) -> None:
        """Cells that broke are stored with what stopped them: all that the job still owed, unless some are named.

        Those for which the budget had no time left are for the search to explain.
        """
        over = self.done | self.tried
        for cell in planned_cells(job.spec):
            owed = cell.cell_id not in over and (job.cells is None or cell.cell_id in job.cells)
            if owed and broken.status != Status.PRUNED and (not broken.cells or cell.cell_id in broken.cells):
                self._missed(job, cell, broken.status, cell.impossible or broken.reason)
        if not broken.cells:
            self._over(position, job)

    def _over(self, position: int, job: Job) -> None:
        if not self.searching:
            self.open.discard(job.spec.series)
        if self.keep != "all" and store.models(self.directory):
            self._thin(self.table())
        # The page will show images of the first size.
        if job.resources.pixels and job.spec.image_size not in {
            self.jobs[0].spec.image_size,
            *(size for *_, size in self.open),
        }:
            let_go(job.resources.pixels.path)
        evict(job.resources.cache, limit_bytes())
        self.bar.end(position)

    def _thin(self, table: pd.DataFrame) -> None:
        """Let go of trained weights that are beaten, or that nobody wants."""
        if self.keep != "all":
            wanted = worth_keeping(table, open_series=self.open) if self.keep == "best" else ()
            store.keep_models(self.directory, wanted)

    def _missed(self, job: Job, cell: PlannedCell, status: Status, reason: str) -> None:
        row = empty_row(job.spec, cell).replace(status=status)
        self._store(CellFinished(Cell(cell.cell_id, status, reason, cell.identity, row)))

    def _store(self, finished: CellFinished) -> None:
        cell = finished.cell
        if cell.status != Status.OK and cell.cell_id in self.ok:  # it was measured before, only its weights are missing
            self.done.add(cell.cell_id)
            self.outcome.count(Status.OK, 1)
            self.bar.line(f"{in_a_line(cell)}; what was measured earlier stays")
            return
        if trial := cell.trace.get("trial"):  # until the search has decided, which may be cut off
            finished = replace(finished, cell=replace(cell, reason=f"the search was cut off; {tried_as(trial)}"))
        try:
            self._write(finished)
        except ValueError as error:  # a number that JSON does not know must not end the whole sweep
            columns = cell.row.to_columns()
            finite: dict[str, Any] = {name: value for name, value in columns.items() if isinstance(value, str | int)}
            row = CellRow(**finite)
            cell = Cell(cell.cell_id, Status.FAILED, f"a measured value is not finite: {error}", cell.identity, row)
            self._write(CellFinished(cell))
        if trial:  # it may yet be measured
            self.tried.add(cell.cell_id)
            self.bar.line(in_a_line(cell))
            return
        self.done.add(cell.cell_id)
        self.outcome.count(cell.status, 1)
        table = self.table()
        store.write_table(self.directory, table)
        self._thin(table)
        self.bar.line(in_a_line(cell))

    def _write(self, finished: CellFinished) -> None:
        cell = finished.cell
        if "trial" not in cell.trace and (trial := self._trial_of(cell.cell_id)):
            # It stays beside whatever the cell came to: a search that goes on from here decides as this one did.
            cell = replace(cell, trace={**cell.trace, "trial": trial})
            finished = replace(finished, cell=cell)
        for cell_id in store.write_cell(self.directory, finished, among=self.cells.values()):
            del self.cells[cell_id]
        self.cells[cell.cell_id] = replace(cell, trace={})
        self.changed = True

    def _trial_of(self, cell_id: str) -> Mapping[str, Any]:
        """What a trial of a cell has shown, empty where there was none."""
        stored = store.read_cell(self.directory, cell_id).trace if cell_id in self.cells else {}
        return dict(stored.get("trial", {}))


@dataclass(frozen=True)
class MeasurementRequest:
    """Which cells of a job are wanted now, by their keys, or all; with a `trial` they are only tried."""

    position: int
    cells: frozenset[CellKey] | None = None
    effort: Effort = FULL

    def wants(self, cell: PlannedCell) -> bool:
        """Whether a cell of the job is meant."""
        return self.cells is None or cell.key in self.cells
