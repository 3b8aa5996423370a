"""What every executor keeps to, on jobs that play a script; and what is said where one cannot be used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.manual_clock import ManualClock
from support.planned_jobs import cells_of, planned
from support.scripted_work import Script

import backbench
from backbench import executors
from backbench.cli.main import main
from backbench.core.cells import Status
from backbench.core.errors import RequestError
from backbench.core.events import CellFinished, CellStarted, Event, Progress, Summary
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors import local
from backbench.executors.ray import session as ray_session
from backbench.executors.retry import OUT_OF_TIME, JobFailure

Run = Any  # `executors.Run`, with the work of jobs and the clock of the deadline as arguments


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A cluster of one node of one core on this machine, whose workers find the scripts."""
    pytest.importorskip("ray", reason="Ray is not installed: make test-cluster installs it")
    from backbench.executors.ray import cluster

    tests, source = Path(__file__).parents[1], Path(backbench.__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(tests), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("BACKBENCH_CACHE", str(tmp_path_factory.mktemp("node")))
        with ray_session.connected("local"):
            yield cluster.run


@pytest.fixture(params=["local with 1 worker", "local with 2 workers", pytest.param("ray", marks=pytest.mark.cluster)])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "ray":
        return request.getfixturevalue("ray_cluster")
    return partial(local.run, workers=1 if "1" in request.param else 2)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Job]]:
    """Three jobs of three cells each, under numbers that are not their positions."""
    sizes = [planned(limit=20, backbones="scratch", seeds=3, image_size=size)[0] for size in (16, 24, 32)]
    return list(zip((4, 2, 7), (job.owing(cells_of(job)) for job in sizes), strict=True))


def cells(job: Job) -> tuple[str, ...]:
    assert job.cells is not None
    return job.cells


def ids(events: list[Event | JobFailure]) -> list[str]:
    return [event.cell.cell_id for event in events if isinstance(event, CellFinished)]


def test_the_events_of_each_job_come_in_order_under_its_number(
    run: Run, jobs: list[tuple[int, Job]], tmp_path: Path
) -> None:
    heard: dict[int, list[Event | JobFailure]] = {}
    for number, event in run(jobs, logs=tmp_path, work=Script()):
        heard.setdefault(number, []).append(event)
    assert set(heard) == {4, 2, 7}
    for number, job in jobs:
        kinds = [type(event) for event in heard[number]]
        assert kinds == [Progress, *[CellStarted, Progress, CellFinished] * 3, Summary]
        assert ids(heard[number]) == list(cells(job))
        assert [event.cell_id for event in heard[number] if isinstance(event, CellStarted)] == list(cells(job))
        assert heard[number][-1] == Summary("scratch", {}, {})


def test_only_the_cells_that_a_job_owes_are_measured(run: Run, jobs: list[tuple[int, Job]], tmp_path: Path) -> None:
    _, job = jobs[0]
    owed = cells(job)[1:]
    heard = [event for _, event in run([(0, job.owing(owed))], logs=tmp_path, work=Script())]
    assert ids(heard) == list(owed)


def test_a_cell_that_breaks_leaves_the_others(run: Run, jobs: list[tuple[int, Job]], tmp_path: Path) -> None:
    (number, job), other, _ = jobs
    first, broken, last = cells(job)
    heard: dict[int, list[Event | JobFailure]] = {}
    for position, event in run([(number, job), other], logs=tmp_path, work=Script({broken: "SIGSEGV"})):
        heard.setdefault(position, []).append(event)
    (failure,) = [event for event in heard[number] if isinstance(event, JobFailure)]
    assert (failure.status, failure.cells) == (Status.FAILED, (broken,))
    assert ids(heard[number]) == [first, last]
    assert isinstance(heard[number][-1], Summary)
    assert ids(heard[other[0]]) == list(cells(other[1]))


def test_what_breaks_before_any_cell_ends_its_job_alone(run: Run, jobs: list[tuple[int, Job]], tmp_path: Path) -> None:
    (number, job), other, _ = jobs
    heard = list(run([(number, job), other], logs=tmp_path, work=Script(shared={cells(job)[0]: "SIGABRT"})))
    assert ids([event for position, event in heard if position == number]) == []
    (failure,) = [event for position, event in heard if isinstance(event, JobFailure)]
    assert (failure.status, failure.cells) == (Status.FAILED, ())
    assert [event for position, event in heard if position == number][-1] == failure
    assert ids([event for position, event in heard if position == other[0]]) == list(cells(other[1]))


def test_at_the_deadline_what_runs_is_pruned_and_nothing_more_is_started(
    run: Run, jobs: list[tuple[int, Job]], tmp_path: Path
) -> None:
    """Time is over with the first cell of the first job, whose second one would never end."""
    clock, asked = ManualClock(), []
    sleeping = {cell: "sleeps" for number, job in jobs for cell in cells(job)[number == jobs[0][0] :]}

    def waiting() -> Iterator[tuple[int, Job]]:
        for number, job in jobs:
            asked.append(number)
            yield number, job

    heard = []
    for number, event in run(waiting(), logs=tmp_path, deadline=2000.0, work=Script(sleeping), clock=clock):
        if isinstance(event, CellFinished):
            clock.now = 2000.0
        heard.append((number, event))
    assert ids([event for _, event in heard]) == [cells(jobs[0][1])[0]]
    assert len(asked) < 3
    assert sorted(number for number, event in heard if isinstance(event, JobFailure)) == sorted(asked)
    assert {event for _, event in heard if isinstance(event, JobFailure)} == {OUT_OF_TIME}
    assert OUT_OF_TIME.status == Status.PRUNED


def test_after_the_deadline_no_job_is_asked_for(run: Run, tmp_path: Path) -> None:
    def waiting() -> Iterator[tuple[int, Job]]:
        pytest.fail("nobody has time for another job")
        yield

    assert list(run(waiting(), logs=tmp_path, deadline=1000.0, clock=ManualClock())) == []


def test_a_job_that_is_not_ready_is_asked_for_again(run: Run, jobs: list[tuple[int, Job]], tmp_path: Path) -> None:
    waiting = iter([None, jobs[0], None, None, jobs[1]])
    heard = list(run(waiting, logs=tmp_path, work=Script()))
    assert [number for number, event in heard if isinstance(event, Summary)] == [4, 2]


def test_closing_early_stops_the_processes_of_jobs(run: Run, jobs: list[tuple[int, Job]], tmp_path: Path) -> None:
    number, job = jobs[0]
    _, second, _ = cells(job)
    with closing(run([(number, job)], logs=tmp_path, work=Script({second: "sleeps"}))) as events:
        (process,) = [event.cell.row["pid"] for _, event in _until_finished(events)]
        assert _runs(process)
    end = time.monotonic() + 20
    while _runs(process):
        assert time.monotonic() < end
        time.sleep(0.05)


def _until_finished(events: Iterator[tuple[int, Event | JobFailure]]) -> Iterator[tuple[int, CellFinished]]:
    for number, event in events:
        if isinstance(event, CellFinished):
            yield number, event
            return


def _runs(process: int) -> bool:
    """Whether a process is there, and not only not yet waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_jobs_are_no_events(run: Run, tmp_path: Path) -> None:
    assert list(run([], logs=tmp_path)) == []


def test_trained_weights_are_where_the_job_was_told_to_leave_them(
    run: Run, jobs: list[tuple[int, Job]], tmp_path: Path
) -> None:
    number, job = jobs[0]
    drafts = tmp_path / "models"
    heard = run([(number, job.with_resources(drafts=drafts))], logs=tmp_path / "logs", work=Script())
    finished = [event for _, event in heard if isinstance(event, CellFinished)]
    assert len(finished) == 3
    for event in finished:
        assert event.model is not None
        assert event.model.parent == drafts
        assert event.model.read_bytes() == event.cell.cell_id.encode() * 1000


def test_the_default_is_this_machine_with_as_many_workers_as_it_has_gpus_for() -> None:
    chosen = executors.chosen(Request(), [])
    assert isinstance(chosen, partial)
    assert (chosen.func, chosen.keywords) == (local.run, {"workers": None})


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def find(name: str, *others: Any) -> Any:
        return None if name == "ray" else there(name, *others)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.usefixtures("without_ray")
def test_without_ray_one_line_names_what_to_install_and_nothing_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sweep", "--executor", "ray", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "backbench[ray]"' in done.stderr
    assert not (tmp_path / "out").exists()


def test_workers_of_a_cluster_do_not_import_from_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ray_session._elsewhere():
        assert Path.cwd() != tmp_path
        assert not list(Path.cwd().glob("*.py"))
    assert Path.cwd() == tmp_path


def test_versions_are_known_in_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    from backbench.executors.ray import node as ray_node

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    versions = ray_node.versions.__wrapped__()
    assert versions["backbench"] == backbench.__version__
    assert versions["keras"] == "none"


def test_a_ray_client_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with (
        pytest.raises(RequestError, match=r"ray://head:10001 is that of a Ray Client"),
        ray_session.connected("ray://head:10001"),
    ):
        pass
