"""One sweep: request, dataset, jobs, cells, table, leaderboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from backbench import data, executors
from backbench.budget.cost_model import known, longest_first
from backbench.budget.online_cost_model import OnlineCostModel
from backbench.core.cache import cache_root, evict, forget_leftovers, letting_go, limit_bytes, provide_home
from backbench.core.cells import Status, planned_cells
from backbench.core.dataset import Dataset, Listing, Pixels
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.evaluation import warm_start
from backbench.report import build
from backbench.results import integrity, run_record, store, thumbnails
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, options, plan, resume_checks
from backbench.sweep.budgeted import BudgetClock, BudgetedSweep
from backbench.sweep.controller import MeasurementRequest, SweepController
from backbench.sweep.dry_run_text import error_in_words
from backbench.sweep.progress import Bar
from backbench.sweep.summary import SweepSummary


@dataclass(frozen=True)
class _Prepared:
    """A sweep before its first job: what was asked, what is in the folder, and what is to be run on which data."""

    request: Request
    directory: Path
    earlier: RunRecord
    damaged: bool  # whether the folder's run record could not be read
    resolved: dict[str, str]
    listing: Listing
    dataset: Dataset
    pixels: Pixels
    jobs: list[Job]
    record: RunRecord


def run(
    request: Request,
    *,
    visible: bool | None = None,
    executor: executors.Run | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SweepSummary:
    """Run what is missing of a sweep, store each cell as it is finished, and write the table and the leaderboard.

    Jobs are run by `executor`, by default by the one that was asked for; a budget is spent by `clock`.
    Raises RequestError before anything is written when the request or the data cannot be used.
    """
    began = clock()
    provide_home()
    sweep = _prepared(request, visible=visible)
    directory = sweep.directory
    with store.locked(directory), letting_go(), Bar(len(sweep.jobs), visible=visible) as bar:
        renewed = _begun(sweep, bar)
        speeds, there = known(directory, sweep.jobs[0])
        costs = OnlineCostModel(speeds)
        jobs = longest_first(sweep.jobs, speeds, there) if request.executor == "ray" else sweep.jobs
        keep = sweep.resolved["keep_models"]
        controller = SweepController(
            jobs,
            sweep.listing,
            directory=directory,
            request=sweep.request,
            keep=keep,
            prices=costs,
            bar=bar,
            clock=clock,
        )
        budget = options.budget_of(request)
        search = BudgetedSweep(controller, costs, BudgetClock(budget, began, clock)) if budget else None
        try:
            run_jobs = executor or executors.chosen(sweep.request, _left(controller, jobs))
            _measure(sweep, controller, search, run_jobs)
        finally:
            renewed = _recorded(sweep, controller, costs, renewed=renewed)
        bar.say("drawing the leaderboard")
        if renewed or not integrity.page_is_current(directory):
            build.write_report(directory, decoded=partial(plan.pixels_of, sweep.dataset, sweep.pixels))
        for line in (*([search.report()] if search else []), *error_in_words(costs.error())):
            bar.line(line)
    return controller.outcome


def _prepared(request: Request, *, visible: bool | None) -> _Prepared:
    """Check the request against itself, the folder and the data; nothing is written but the cache."""
    options.check(request)
    executors.check(request)
    directory, cache = results_directory(request), cache_root()
    earlier, damaged = (RunRecord(), False) if request.fresh else integrity.earlier_run(directory)
    if damaged and request.images is None:  # somebody may have asked for that
        request = replace(request, images=False)
    resolved = engine_choice.resolve(request, earlier)
    resume_checks.writable(directory)
    resume_checks.same_recipe(directory, earlier, request, resolved)
    if not earlier.finished:  # else there may be nothing to do for it
        warm_start.context(resolved["backend"])
    forget_leftovers(cache)
    evict(cache, limit_bytes())
    with Bar(0, visible=visible) as bar:
        bar.say("reading images")
        listing = plan.listing_for(request, progress=bar.step)
        dataset, pixels = plan.dataset_for(request, listing, cache=cache, progress=bar.step)
        if lost := dataset.health["unreadable"]:
            files = "1 file" if len(lost) == 1 else f"{len(lost):,} files"
            first = f"{lost[0]['id']}: {lost[0]['reason']}"
            bar.line(f"{files} could not be read and will be left out, listed on the page and in run.json ({first})")
    resume_checks.same_dataset(directory, earlier, dataset)
    resolved = engine_choice.resolve(request, earlier, dataset)
    jobs = list(plan.jobs_for(request, dataset, resolved=resolved, cache=cache))
    if damaged:
        made = [cell.identity for cell in integrity.whole_cells(directory) if cell.status == Status.OK]
        resume_checks.same_makers(directory, made, jobs)
    record = run_record.record(request, dataset, jobs=jobs, resolved=resolved, earlier=earlier)
    return _Prepared(request, directory, earlier, damaged, resolved, listing, dataset, pixels, jobs, record)


def _begun(sweep: _Prepared, bar: Bar) -> bool:
    """Make the folder ready and write what is planned: this run may be cut off. Whether stored cells were repaired."""
    directory, record, earlier = sweep.directory, sweep.record, sweep.earlier
    if sweep.request.fresh:
        store.clear(directory)
    if sweep.damaged:
        bar.line(integrity.copy_aside(directory))
    if record.planned != earlier.planned:
        store.write_run(directory, record.going_on(earlier))
    repaired = integrity.put_right(directory, say=bar.line)
    if earlier.images and not record.images:  # at once, too
        thumbnails.keep(directory, {})
        (directory / build.PAGE).unlink(missing_ok=True)
    store.forget_drafts(directory)
    return repaired


def _measure(
    sweep: _Prepared, controller: SweepController, search: BudgetedSweep | None, executor: executors.Run
) -> None:
    """Run all jobs, or what a budget has time for."""
    run_jobs = partial(executor, logs=sweep.directory / "logs", timeout=options.timeout_of(sweep.request))
    with closing(controller.ahead):
        if search:
            search.spend(run_jobs)
        else:
            controller.do([MeasurementRequest(position) for position in range(len(controller.jobs))], run_jobs)


def _recorded(sweep: _Prepared, controller: SweepController, costs: OnlineCostModel, *, renewed: bool) -> bool:
    """Write the run record and the table where anything is new, also after an interruption; whether anything was."""
    directory, earlier = sweep.directory, sweep.earlier
    store.forget_drafts(directory)
    other_request = (
        earlier == RunRecord()
        or sweep.record.images != earlier.images
        or sweep.resolved["keep_models"] != earlier.resolved.get("keep_models", "best")
    )
    if not (renewed or controller.changed or other_request or not store.table_is_current(directory)):
        return False
    record = msgspec.structs.replace(
        sweep.record,
        finished=run_record.now(),
        jobs=(*(earlier.jobs or ()), *controller.summaries),
        decode_seconds={str(size): spent for size, spent in controller.decode_seconds.items()},
        forecast=costs.error(),
    )
    store.write_run(directory, record)
    store.write_table(directory, store.table(store.read_cells(directory)))
    return True


def _left(work: SweepController, jobs: Iterable[Job]) -> Iterator[Job]:
    """Jobs with those of their cells that are not measured yet."""
    for job in jobs:
        stored = {cell.cell_id: work.stored(job, cell) for cell in planned_cells(job.spec)}
        yield job.owing(tuple(name for name, cell in stored.items() if not cell or cell.status != Status.OK))


def results_directory(request: Request) -> Path:
    """Where the results of a request go."""
    name = data.results_name(request.dataset)
    # results/reference holds committed runs, one folder a dataset: a run of its own must not go between them.
    return request.out or Path("results") / ("reference-run" if name == "reference" else name)
