"""The whole story: request, dataset, jobs, cells, table, leaderboard. `python -m backbench.sweep` runs it."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, which --help does not need
    from backbench.cli import sweep_command

    sweep_command(prog_name="python -m backbench.sweep")

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from backbench import (
    datasets,
    doctor,
    executors,
    options,
    planning,
    preconditions,
    provenance,
    report,
    store,
    thumbnails,
)
from backbench.cache import cache_root, forget_leftovers
from backbench.cache_limit import evict, letting_go, limit_bytes
from backbench.cells import Order, plan
from backbench.forecast import known, longest_first
from backbench.forecast_text import error_in_words
from backbench.outcome import Outcome
from backbench.prices import Prices
from backbench.progress import Bar
from backbench.records import Job, Request
from backbench.spending import Purse, Spending
from backbench.work import Work


def run(request: Request, *, visible: bool | None = None) -> Outcome:
    """Run what is missing of a sweep, store each cell as it is finished, and write the table and the leaderboard.

    Raises RequestError before anything is written when the request or the data cannot be used.
    """
    began = time.monotonic()
    options.check(request)
    executors.check(request)
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
        speeds, there = known(directory, jobs[0])
        prices = Prices(speeds)
        if request.executor == "ray":
            jobs = longest_first(jobs, speeds, there)
        work = Work(
            jobs,
            listing,
            directory=directory,
            request=request,
            keep=resolved["keep_models"],
            prices=prices,
            bar=bar,
        )
        budget = options.budget_of(request)
        spending = Spending(work, prices, Purse(budget, began)) if budget else None
        run_jobs = executors.chosen(request, _left(work, jobs))
        run_here = partial(run_jobs, logs=directory / "logs", timeout=options.timeout_of(request))
        try:
            with closing(work.ahead):
                if spending:
                    spending.spend(run_here)
                else:
                    work.do([Order(position) for position in range(len(jobs))], run_here)
        finally:
            store.forget_drafts(directory)
            kept = earlier.get("resolved", {}).get("keep_models", "best")
            asked_anew = record["images"] != earlier.get("images") or resolved["keep_models"] != kept
            renewed = renewed or work.changed or asked_anew or not store.table_is_current(directory)
            if renewed:
                record["finished"] = provenance.now()
                record["jobs"] = [*earlier.get("jobs", []), *work.summaries]
                record["decode_seconds"] = {str(size): spent for size, spent in work.decode_seconds.items()}
                record["forecast"] = prices.error()
                store.write_run(directory, record)
                store.write_table(directory, store.table(store.read_cells(directory)))
        bar.say("drawing the leaderboard")
        if renewed or not doctor.page_is_current(directory):
            report.build(directory, decoded=partial(planning.pixels_of, dataset, pixels))
        if spending:
            bar.line(spending.report())
        for line in error_in_words(prices.error()):
            bar.line(line)
    return work.outcome


def _left(work: Work, jobs: Iterable[Job]) -> Iterator[Job]:
    """Jobs with those of their cells that are not measured yet."""
    for job in jobs:
        stored = {cell.cell_id: work.stored(job, cell) for cell in plan(job)}
        yield replace(job, wanted=tuple(name for name, cell in stored.items() if not cell or cell.status != "ok"))


def results_directory(request: Request) -> Path:
    """Where the results of a request go."""
    name = datasets.results_name(request.dataset)
    # results/reference holds committed runs, one folder a dataset: a run of its own must not go between them.
    return request.out or Path("results") / ("reference-run" if name == "reference" else name)
