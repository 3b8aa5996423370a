"""What a sweep would run and how long it may take, without starting anything (`--plan`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backbench.budget.cost_model import Expected, _expected, known
from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.dataset import Dataset
from backbench.core.request import Request
from backbench.data import assemble
from backbench.results import store
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, options, plan, resume_checks
from backbench.sweep.progress import Bar


@dataclass(frozen=True)
class Forecast:
    """A sweep that was not started. `measured` are the labels of jobs that ran in this folder before."""

    directory: Path
    dataset: Dataset
    engine: str
    workers: int
    jobs: tuple[Expected, ...]
    measured: frozenset[str]
    gpu: str | None
    budget: str | None = None


def forecast(request: Request, directory: Path) -> Forecast:
    """What `sweep` would do for a request whose results go to a folder. Nothing is written, decoded or fetched.

    Seconds follow from the work (`workload`) and from what earlier runs in the folder took for theirs. Raises
    RequestError where the sweep would refuse.
    """
    options.check(request)
    record = store.read_run(directory) if (directory / "run.json").exists() else RunRecord()
    earlier = RunRecord() if request.fresh else record
    resume_checks.same_recipe(directory, earlier, request, engine_choice.resolve(request, earlier))
    with Bar(0) as bar, _without_hub():
        bar.say("reading images")
        dataset = assemble(plan.listing_for(request, progress=bar.step), {})
    resolved = engine_choice.resolve(request, earlier, dataset)
    jobs = list(plan.jobs_for(request, dataset, resolved=resolved, cache=cache_root()))
    speeds, there = known(directory, jobs[0])
    there = set() if request.fresh else there
    return Forecast(
        directory,
        dataset,
        f"{resolved['engine']} in {resolved['precision']}, {resolved['backend']}",
        request.workers or 1,
        tuple(_expected(job, there, speeds) for job in jobs),
        frozenset(label for known in speeds.measured.values() for label in known),
        hardware.gpu(),
        request.budget,
    )


@contextmanager
def _without_hub() -> Iterator[None]:
    """A dataset of the hub is read from the library's cache, and not fetched."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HF_HUB_OFFLINE")
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before
