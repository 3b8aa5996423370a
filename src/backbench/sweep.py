"""The whole story: request, dataset, jobs, cells, table, leaderboard. `python -m backbench.sweep` runs it."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, which --help does not need
    from backbench.cli import sweep_command

    sweep_command(prog_name="python -m backbench.sweep")

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from backbench import (
    datasets,
    doctor,
    executors,
    forecast,
    planning,
    preconditions,
    provenance,
    report,
    store,
    thumbnails,
)
from backbench.ahead import Ahead
from backbench.analysis.winners import trained, worth_keeping
from backbench.cache import cache_root, forget_leftovers
from backbench.cache_limit import evict, let_go, letting_go, limit_bytes
from backbench.cells import Plan, but_weights, empty_row, plan
from backbench.errors import BackbenchError, UnavailableError
from backbench.executors.attempts import Broken
from backbench.progress import Bar, in_a_line
from backbench.records import (
    Cell,
    Event,
    Finished,
    Job,
    Listing,
    Note,
    Progress,
    Request,
    Summary,
)
from backbench.supply import Supply


@dataclass
class Outcome:
    """What a sweep did: where its results are and how many cells came to which end."""

    directory: Path
    already: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every requested cell is ok, or pruned by a budget."""
        return not (self.counts.get("failed") or self.counts.get("skipped"))


def run(request: Request, *, visible: bool | None = None) -> Outcome:
    """Run what is missing of a sweep, store each cell as it is finished, and write the table and the leaderboard.

    Raises RequestError before anything is written when the request or the data cannot be used.
    """
    planning.check(request)
    run_jobs = executors.chosen(request)
    directory = results_directory(request)
    cache = cache_root()
    earlier, damaged = ({}, False) if request.fresh else doctor.earlier_run(directory)
    if damaged and request.images is None:  # somebody may have asked for that
        request = replace(request, images=False)
    resolved = planning.resolve(request, earlier)
    preconditions.writable(directory)
    preconditions.same_recipe(directory, earlier, request, resolved)
    forget_leftovers(cache)
    evict(cache, limit_bytes())
    with Bar(0, visible=visible) as bar:
        bar.say("reading images")
        listing = planning.listing_for(request, progress=bar.step)
        dataset, pixels = planning.dataset_for(request, listing, cache=cache, progress=bar.step)
        if lost := dataset.health["unreadable"]:
            files = "1 file" if len(lost) == 1 else f"{len(lost):,} files"
            first = f"{lost[0]['id']}: {lost[0]['reason']}"
            bar.line(f"{files} could not be read and will be left out, listed on the page and in run.json ({first})")
    preconditions.same_dataset(directory, earlier, dataset)
    resolved = planning.resolve(request, earlier, dataset)
    jobs = list(planning.jobs_for(request, dataset, resolved=resolved, cache=cache))
    if damaged:
        made = [cell.identity for cell in doctor.whole_cells(directory) if cell.status == "ok"]
        preconditions.same_makers(directory, made, jobs)
    record = provenance.record(request, dataset, jobs=jobs, resolved=resolved, earlier=earlier)
    outcome = Outcome(directory)
    with store.locked(directory), letting_go(), Bar(len(jobs), visible=visible) as bar:
        if request.fresh:
            store.clear(directory)
        if damaged:
            bar.line(doctor.copy_aside(directory))
        if record["planned"] != earlier.get("planned"):  # at once: this run may be cut off
            store.write_run(directory, {**earlier, **record})
        renewed = doctor.put_right(directory, say=bar.line)
        if earlier.get("images", True) and not record["images"]:  # at once, too
            thumbnails.keep(directory, {})
            (directory / report.PAGE).unlink(missing_ok=True)
        store.forget_drafts(directory)
        if request.executor == "ray":
            jobs = forecast.longest_first(jobs, *forecast.known(directory, jobs[0]))
        sweep = _Sweep(
            jobs, listing, directory=directory, request=request, keep=resolved["keep_models"], outcome=outcome, bar=bar
        )
        try:
            jobs_run = run_jobs(sweep.ready(), logs=directory / "logs", timeout=planning.timeout_of(request))
            with closing(sweep.ahead), closing(jobs_run) as events:
                for position, event in events:
                    sweep.take(position, event)
        finally:
            store.forget_drafts(directory)
            kept = earlier.get("resolved", {}).get("keep_models", "best")
            asked_anew = record["images"] != earlier.get("images") or resolved["keep_models"] != kept
            renewed = renewed or sweep.changed or asked_anew or not store.table_is_current(directory)
            if renewed:
                record["finished"] = provenance.now()
                record["jobs"] = [*earlier.get("jobs", []), *sweep.summaries]
                record["decode_seconds"] = {str(size): spent for size, spent in sweep.decode_seconds.items()}
                store.write_run(directory, record)
                store.write_table(directory, store.table(store.read_cells(directory)))
        bar.say("drawing the leaderboard")
        if renewed or not doctor.page_is_current(directory):
            report.build(directory, decoded=partial(planning.pixels_of, dataset, pixels))
    return outcome


class _Sweep:
    """Feeds jobs to the executor and stores what comes back: the one writer of the results folder."""

    def __init__(
        self,
        jobs: list[Job],
        listing: Listing,
        *,
        directory: Path,
        request: Request,
        keep: str,
        outcome: Outcome,
        bar: Bar,
    ) -> None:
        self.jobs, self.listing, self.directory, self.keep = jobs, listing, directory, keep
        self.outcome, self.bar = outcome, bar
        self.changed = False
        self.summaries: list[Mapping[str, Any]] = []
        self.decode_seconds: dict[int, float] = {}
        self.held = [cell for cell in store.read_cells(directory) if cell.status == "ok"]
        self.ok = {cell.cell_id for cell in self.held}
        # Who asks for all weights gets those that were not kept by training once more.
        bare = set(trained(store.table(self.held))["cell_id"]) - store.models(directory)
        self.there = self.ok - bare if request.keep_models == "all" else self.ok
        self.done = set(self.there)
        self.open = {_series(job) for job in jobs}
        wanted = {job.backbone.name: job.backbone for job in jobs if job.backbone and job.pretrained}
        self.supply = Supply(wanted.values(), cache=jobs[0].cache, mirrors=request.mirrors)
        self.ahead = Ahead(listing)

    def ready(self) -> Iterator[tuple[int, Job] | None]:
        """Jobs with something left to do, once their weights and pixels are at hand, and None until then."""
        for position, job in enumerate(self.jobs):
            if job.backbone and job.pretrained:
                if self.supply.waiting_for(job.backbone):
                    self.bar.say(f"{job.label}: getting weights")
                while self.supply.waiting_for(job.backbone):
                    self.supply.quiet(False)
                    yield None
                try:
                    job = replace(job, weights=self.supply.get(job.backbone))
                except UnavailableError as error:
                    self._without_weights(position, job, str(error))
                    continue
            self.jobs[position] = job
            plans = plan(job)
            for cell in plans:
                if cell.impossible and cell.cell_id not in self.done:
                    self._missed(job, cell, "skipped", cell.impossible)
            missing = tuple(cell.cell_id for cell in plans if cell.cell_id not in self.done)
            held = sum(cell.cell_id in self.there for cell in plans)
            self._count("ok", held)
            self.outcome.already += held
            if not missing:
                self._over(position, job)
                continue
            drafts = None if self.keep == "none" else store.drafts(self.directory)
            try:
                began = time.perf_counter()
                job = yield from self.ahead.decoded(replace(job, wanted=missing, drafts=drafts), self.bar.step)
                self.decode_seconds[job.image_size] = time.perf_counter() - began
            except BackbenchError as error:
                self._end(position, job, Broken("skipped", str(error)))
                continue
            self.jobs[position] = job
            self.bar.say(f"{job.label}: starting")
            self.ahead.start(job, [later for later in self.jobs[position + 1 :] if self._wants_pixels(later)])
            yield position, job

    def take(self, position: int, event: Event | Broken) -> None:
        """Act on one event of one job."""
        job = self.jobs[position]
        if isinstance(event, Progress):
            self.bar.phase(position, job.label, event.phase, event.done, event.total)
            for background in (self.supply, self.ahead):
                background.quiet(event.phase in ("timing", "memory"))
        elif isinstance(event, Finished):
            self._store(event)
        elif isinstance(event, Note):
            self.bar.line(event.text)
        elif isinstance(event, Summary):
            self.summaries.append(
                {"label": event.label, "seconds": dict(event.seconds), "environment": dict(event.environment)}
            )
            self._over(position, job)
        elif isinstance(event, Broken):
            self._end(position, job, event)

    def _wants_pixels(self, job: Job) -> bool:
        """Whether a job will surely run: its weights are at hand and some of its cells are not."""
        if job.backbone and job.pretrained:
            if self.supply.waiting_for(job.backbone):
                return False
            try:
                job = replace(job, weights=self.supply.get(job.backbone))
            except UnavailableError:
                return False
        return any(not cell.impossible and cell.cell_id not in self.done for cell in plan(job))

    def _without_weights(self, position: int, job: Job, reason: str) -> None:
        """Cells that were measured while the weights could be had still count; the others are skipped."""
        held = {but_weights(cell.identity) for cell in self.held}
        there = [cell.cell_id for cell in plan(job) if but_weights(cell.identity) in held]
        self.done.update(there)
        self._count("ok", len(there))
        self.outcome.already += len(there)
        self._end(position, job, Broken("skipped", reason))

    def _end(self, position: int, job: Job, broken: Broken) -> None:
        """Cells that broke are stored with what stopped them: all that the job still owed, unless some are named."""
        for cell in plan(job):
            if cell.cell_id not in self.done and (not broken.cells or cell.cell_id in broken.cells):
                self._missed(job, cell, broken.status, cell.impossible or broken.reason)
        if not broken.cells:
            self._over(position, job)

    def _over(self, position: int, job: Job) -> None:
        self.open.discard(_series(job))
        if self.keep != "all" and store.models(self.directory):
            self._thin(store.table(store.read_cells(self.directory)))
        # The page will show images of the first size.
        if job.pixels and job.image_size not in {self.jobs[0].image_size, *(size for *_, size in self.open)}:
            let_go(job.pixels.path)
        evict(job.cache, limit_bytes())
        self.bar.end(position)

    def _thin(self, table: pd.DataFrame) -> None:
        """Let go of trained weights that are beaten, or that nobody wants."""
        if self.keep != "all":
            wanted = worth_keeping(table, open_series=self.open) if self.keep == "best" else ()
            store.keep_models(self.directory, wanted)

    def _missed(self, job: Job, cell: Plan, status: str, reason: str) -> None:
        row = {**empty_row(job, cell), "status": status}
        self._store(Finished(Cell(cell.cell_id, status, reason, cell.identity, row)))

    def _store(self, finished: Finished) -> None:
        cell = finished.cell
        if cell.status != "ok" and cell.cell_id in self.ok:  # it was measured before, only its weights are missing
            self.done.add(cell.cell_id)
            self._count("ok", 1)
            self.bar.line(f"{in_a_line(cell)}; what was measured earlier stays")
            return
        try:
            store.write_cell(self.directory, finished)
        except ValueError as error:  # a number that JSON does not know must not end the whole sweep
            row = {name: value for name, value in cell.row.items() if isinstance(value, str | int)}
            cell = Cell(cell.cell_id, "failed", f"a measured value is not finite: {error}", cell.identity, row)
            store.write_cell(self.directory, Finished(cell))
        self.done.add(cell.cell_id)
        self.changed = True
        self._count(cell.status, 1)
        table = store.table(store.read_cells(self.directory))
        store.write_table(self.directory, table)
        self._thin(table)
        self.bar.line(in_a_line(cell))

    def _count(self, status: str, cells: int) -> None:
        if cells:
            self.outcome.counts[status] = self.outcome.counts.get(status, 0) + cells


def _series(job: Job) -> tuple[str, str, int]:
    """Backbone, weights and image size, as in the table."""
    name = job.backbone.name if job.backbone else "scratch"
    return name, "imagenet" if job.pretrained else "none", job.image_size


def results_directory(request: Request) -> Path:
    """Where the results of a request go."""
    name = datasets.results_name(request.dataset)
    # results/reference holds committed runs, one folder a dataset: a run of its own must not go between them.
    return request.out or Path("results") / ("reference-run" if name == "reference" else name)
