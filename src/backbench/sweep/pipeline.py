"""One sweep: request, dataset, jobs, cells, table, leaderboard."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from backbench import data, executors
from backbench.budget.cost_model import known, longest_first
from backbench.budget.online_cost_model import OnlineCostModel
from backbench.core.cache import cache_root, evict, forget_leftovers, letting_go, limit_bytes, provide_home
from backbench.core.cells import Status, planned_cells
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.report import build
from backbench.results import integrity, run_record, store, thumbnails
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, options, plan, resume_checks
from backbench.sweep.budgeted import BudgetClock, BudgetedSweep
from backbench.sweep.controller import MeasurementRequest, SweepController
from backbench.sweep.dry_run_text import error_in_words
from backbench.sweep.progress import Bar
from backbench.sweep.summary import SweepSummary


def run(request: Request, *, visible: bool | None = None) -> SweepSummary:
    """Run what is missing of a sweep, store each cell as it is finished, and write the table and the leaderboard.

    Raises RequestError before anything is written when the request or the data cannot be used.
    """
    began = time.monotonic()
    provide_home()
    options.check(request)
    executors.check(request)
    directory = results_directory(request)
    cache = cache_root()
    earlier, damaged = (RunRecord(), False) if request.fresh else integrity.earlier_run(directory)
    if damaged and request.images is None:  # somebody may have asked for that
        request = replace(request, images=False)
    resolved = engine_choice.resolve(request, earlier)
    resume_checks.writable(directory)
    resume_checks.same_recipe(directory, earlier, request, resolved)
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
    with store.locked(directory), letting_go(), Bar(len(jobs), visible=visible) as bar:
        if request.fresh:
            store.clear(directory)
        if damaged:
            bar.line(integrity.copy_aside(directory))
        if record.planned != earlier.planned:  # at once: this run may be cut off
            store.write_run(directory, record.going_on(earlier))
        renewed = integrity.put_right(directory, say=bar.line)
        if earlier.images and not record.images:  # at once, too
            thumbnails.keep(directory, {})
            (directory / build.PAGE).unlink(missing_ok=True)
        store.forget_drafts(directory)
        speeds, there = known(directory, jobs[0])
        prices = OnlineCostModel(speeds)
        if request.executor == "ray":
            jobs = longest_first(jobs, speeds, there)
        work = SweepController(
            jobs,
            listing,
            directory=directory,
            request=request,
            keep=resolved["keep_models"],
            prices=prices,
            bar=bar,
        )
        budget = options.budget_of(request)
        spending = BudgetedSweep(work, prices, BudgetClock(budget, began)) if budget else None
        run_jobs = executors.chosen(request, _left(work, jobs))
        run_here = partial(run_jobs, logs=directory / "logs", timeout=options.timeout_of(request))
        try:
            with closing(work.ahead):
                if spending:
                    spending.spend(run_here)
                else:
                    work.do([MeasurementRequest(position) for position in range(len(jobs))], run_here)
        finally:
            store.forget_drafts(directory)
            kept = earlier.resolved.get("keep_models", "best")
            asked_anew = earlier == RunRecord() or record.images != earlier.images or resolved["keep_models"] != kept
            renewed = renewed or work.changed or asked_anew or not store.table_is_current(directory)
            if renewed:
                record = msgspec.structs.replace(
                    record,
                    finished=run_record.now(),
                    jobs=(*(earlier.jobs or ()), *work.summaries),
                    decode_seconds={str(size): spent for size, spent in work.decode_seconds.items()},
                    forecast=prices.error(),
                )
                store.write_run(directory, record)
                store.write_table(directory, store.table(store.read_cells(directory)))
        bar.say("drawing the leaderboard")
        if renewed or not integrity.page_is_current(directory):
            build.write_report(directory, decoded=partial(plan.pixels_of, dataset, pixels))
        if spending:
            bar.line(spending.report())
        for line in error_in_words(prices.error()):
            bar.line(line)
    return work.outcome


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
