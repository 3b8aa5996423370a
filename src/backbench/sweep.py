"""The whole story: request, dataset, jobs, cells, table, leaderboard. `python -m backbench.sweep` runs it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backbench import datasets, hardware, planning, protocol, report, store
from backbench.cache import cache_root
from backbench.cells import empty_row, plan
from backbench.errors import RequestError, UnavailableError
from backbench.executors import local
from backbench.progress import Bar
from backbench.records import Cell, Dataset, Finished, Job, Listing, Progress, Request, Summary
from backbench.supply import Supply

PACKAGES = ("backbench", "keras", "tensorflow", "jax", "torch", "numpy", "scipy", "pandas", "scikit-learn", "pillow")


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
    directory = results_directory(request)
    cache = cache_root()
    earlier = {} if request.fresh or not (directory / "run.json").exists() else store.read_run(directory)
    resolved = planning.resolve(request, earlier)
    _require_writable(directory)
    with Bar(0, visible=visible) as bar:
        listing = planning.listing_for(request, progress=bar.step)
        dataset = planning.dataset_for(request, listing, cache=cache, progress=bar.step)
    _require_same_dataset(directory, earlier, dataset)
    if request.fresh:
        store.clear(directory)
    jobs = list(planning.jobs_for(request, dataset, resolved=resolved, cache=cache))
    record = _record(request, dataset, resolved=resolved)
    outcome = Outcome(directory)
    with Bar(len(jobs), visible=visible) as bar:
        sweep = _Sweep(jobs, listing, directory=directory, mirrors=request.mirrors, outcome=outcome, bar=bar)
        if not earlier:
            store.write_run(directory, record)
        try:
            for position, event in local.run(sweep.ready(), logs=directory / "logs", workers=request.workers):
                sweep.take(position, event)
        finally:
            record |= {
                "finished": _now(),
                "jobs": [*earlier.get("jobs", []), *sweep.summaries],
                "first_started": earlier.get("first_started") or record["started"],
            }
            if sweep.changed or not earlier:
                store.write_run(directory, record)
                store.write_table(directory, store.table(store.read_cells(directory)))
        bar.say("drawing the leaderboard")
        if sweep.changed or not (directory / report.PAGE).exists():
            report.build(directory)
    return outcome


class _Sweep:
    """Feeds jobs to the executor and stores what comes back: the one writer of the results folder."""

    def __init__(
        self, jobs: list[Job], listing: Listing, *, directory: Path, mirrors: bool, outcome: Outcome, bar: Bar
    ) -> None:
        self.jobs, self.listing, self.directory = jobs, listing, directory
        self.outcome, self.bar = outcome, bar
        self.changed = False
        self.summaries: list[Mapping[str, Any]] = []
        self.done = {cell.cell_id for cell in store.read_cells(directory) if cell.status == "ok"}
        wanted = {job.backbone.name: job.backbone for job in jobs if job.backbone and job.pretrained}
        self.supply = Supply(wanted.values(), cache=jobs[0].cache, mirrors=mirrors)

    def ready(self) -> Iterator[tuple[int, Job]]:
        """Jobs with something left to do, as soon as their weights and pixels are at hand."""
        for position, job in enumerate(self.jobs):
            if job.backbone and job.pretrained:
                if self.supply.waiting_for(job.backbone):
                    self.bar.say(f"{job.label}: getting weights")
                try:
                    job = replace(job, weights=self.supply.get(job.backbone))
                except UnavailableError as error:
                    self._end(position, job, "skipped", str(error))
                    continue
            self.jobs[position] = job
            plans = plan(job)
            missing = tuple(cell.cell_id for cell in plans if cell.cell_id not in self.done)
            self._count("ok", len(plans) - len(missing))
            self.outcome.already += len(plans) - len(missing)
            if not missing:
                self.bar.end(position)
                continue
            job = planning.with_pixels(replace(job, wanted=missing), self.listing, progress=self.bar.step)
            self.jobs[position] = job
            yield position, job

    def take(self, position: int, event: Progress | Finished | Summary | local.Broken) -> None:
        """Act on one event of one job."""
        job = self.jobs[position]
        if isinstance(event, Progress):
            self.bar.phase(position, job.label, event.phase, event.done, event.total)
        elif isinstance(event, Finished):
            self._store(event)
        elif isinstance(event, Summary):
            self.summaries.append(
                {"label": event.label, "seconds": dict(event.seconds), "environment": dict(event.environment)}
            )
            self.bar.end(position)
        else:
            self._end(position, job, event.status, event.reason)

    def _end(self, position: int, job: Job, status: str, reason: str) -> None:
        """Cells that the job still owed are stored with what stopped them."""
        for cell in plan(job):
            if cell.cell_id not in self.done:
                row = {**empty_row(job, cell), "status": status}
                self._store(Finished(Cell(cell.cell_id, status, reason, cell.identity, row)))
        self.bar.end(position)

    def _store(self, finished: Finished) -> None:
        cell = finished.cell
        store.write_cell(self.directory, finished)
        self.done.add(cell.cell_id)
        self.changed = True
        self._count(cell.status, 1)
        store.write_table(self.directory, store.table(store.read_cells(self.directory)))
        self.bar.line(_sentence(cell))

    def _count(self, status: str, cells: int) -> None:
        if cells:
            self.outcome.counts[status] = self.outcome.counts.get(status, 0) + cells


def results_directory(request: Request) -> Path:
    """Where the results of a request go."""
    return request.out or Path("results") / datasets.results_name(request.dataset)


def command_of(request: Request) -> str:
    """The command line that makes this request."""
    words = ["backbench", "sweep"]
    for option in fields(Request):
        value = getattr(request, option.name)
        if option.name in ("dataset", "backbones") or (value != option.default and option.name != "fresh"):
            flag = {"mirrors": "--no-mirrors"}.get(option.name, "--" + option.name.replace("_", "-"))
            words += [flag] if isinstance(value, bool) else [flag, str(value)]
    return shlex.join(words)


def _sentence(cell: Cell) -> str:
    row = cell.row
    name = f"{row['backbone']} @ {row['freeze']}"
    name += " (random weights)" if row["weights"] == "none" and row["backbone"] != "scratch" else ""
    if cell.status != "ok":
        return f"{name}: {cell.status}: {cell.reason}"
    return (
        f"{name}: test {row['test_acc']:.1%} [{row['test_acc_lo']:.1%}, {row['test_acc_hi']:.1%}],"
        f" train {row['train_acc']:.1%}, val {row['val_acc']:.1%}, {row['wall_seconds']:.0f} s"
    )


def _require_writable(directory: Path) -> None:
    probe = directory / ".writable"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RequestError(
            f"cannot write to {directory} ({error.strerror}): choose another folder with --out"
        ) from None


def _require_same_dataset(directory: Path, earlier: Mapping[str, Any], dataset: Dataset) -> None:
    held = earlier.get("dataset", {})
    if earlier and held.get("fingerprint") != dataset.fingerprint:
        same = held.get("name") == dataset.name
        what = "an earlier state or selection of this dataset" if same else f"the dataset '{held.get('name')}'"
        raise RequestError(
            f"{directory} holds results of {what}: choose another folder with --out, or start over with --fresh"
        )


def _record(request: Request, dataset: Dataset, *, resolved: Mapping[str, str]) -> dict[str, Any]:
    counts = {split: len(dataset.indices(split)) for split in ("train", "val", "test")}
    asked = {option.name: getattr(request, option.name) for option in fields(Request)}
    return {
        "command": command_of(request),
        "request": {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
        "resolved": dict(resolved),
        "protocol": protocol.describe(request, dataset),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "classes": list(dataset.class_names),
            "counts": counts,
            "fingerprint": dataset.fingerprint,
            "image_size": dataset.image_size,
            "health": dict(dataset.health),
        },
        "environment": _environment(),
        "git_revision": _git_revision(),
        "started": _now(),
    }


def _environment() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = hardware.memory_gib()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": hardware.device(),
        **({"memory": f"{memory:.0f} GiB"} if memory else {}),
        **versions,
    }


def _git_revision() -> str | None:
    """Revision of the code that ran, where it ran from a checkout."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(  # noqa: S603  a fixed command
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    from backbench.cli import sweep_command

    sweep_command(prog_name="python -m backbench.sweep")
