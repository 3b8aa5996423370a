"""Jobs in processes of their own: what they measure, and what becomes of those that end before their time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from backbench.core.cells import Cell, planned_cells
from backbench.core.events import CellFinished, CellStarted, Event, Progress, Summary
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors import local
from backbench.executors.retry import Attempt, JobFailure
from backbench.sweep import plan


@dataclass(frozen=True)
class Doomed:
    """Stands in for a job; its process meets its end when it asks for the backend, before a framework is imported."""

    label: str
    end: str
    wanted: tuple[str, ...] = ("a cell",)
    inference_batch: int = 1

    @property
    def backend(self) -> str:
        if os.getpid() == PARENT.get("pid"):
            return "tensorflow"
        print(f"{self.label} was here", flush=True)
        if self.end == "killed while speaking":
            # As when memory runs out half way through handing over a cell.
            sending = sys._getframe(1).f_locals["sending"]
            assert isinstance(sending, Connection)
            os.write(sending.fileno(), struct.pack("!i", 1000) + b"half a message")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.end == "hangs as it leaves":
            sys._getframe(1).f_locals["sending"].close()
            time.sleep(600)
        if self.end == "leaves without a word":
            os._exit(0)
        if self.end == "leaves with a code":
            os._exit(7)
        if self.end == "sleeps":
            time.sleep(600)
        os.kill(os.getpid(), getattr(signal, self.end))
        return "tensorflow"


@dataclass(frozen=True)
class Scripted:
    """Stands in for a job whose cells come to the ends that they are given; nothing of a framework is imported."""

    label: str
    ends: dict[str, str]
    wanted: tuple[str, ...]
    inference_batch: int = 32
    batch_size: int = 32
    phase: str = "evaluation"

    @property
    def backend(self) -> str:
        if os.getpid() != PARENT.get("pid"):
            acting = types.ModuleType("backbench.evaluation.job")
            acting.run = act  # type: ignore[attr-defined]
            sys.modules["backbench.evaluation.job"] = acting
        return "tensorflow"


def act(job: Scripted, emit: Any) -> None:
    emit(Progress("frozen pass", 0, 1))
    if "shared" in job.ends:
        meet(job, job.ends["shared"])
    for cell in job.cells:
        emit(CellStarted(cell))
        emit(Progress(job.phase, 0, 1))
        meet(job, job.ends.get(cell, "well"))
        emit(CellFinished(Cell(cell, "ok", "", {}, {"images": job.resources.inference_batch})))
    emit(Summary(job.label, {}, {}))


def meet(job: Scripted, end: str) -> None:
    if end == "sleeps":
        time.sleep(600)
    elif end == "needs memory" and job.resources.inference_batch > 8:
        raise MemoryError("no room for so many images")
    elif end.startswith("once ") and not (before := Path(end.removeprefix("once "))).exists():
        before.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif end.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, end))
    elif end == "full disk":
        raise OSError(errno.ENOSPC, "No space left on device", "features.npy")


def told_by(job: Scripted, logs: Path, timeout: float | None = None) -> list[Event | JobFailure]:
    events = local.run([(0, job)], logs=logs, timeout=timeout)  # type: ignore[list-item]
    return [event for _, event in events if not isinstance(event, Progress | CellStarted)]


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


PARENT: dict[str, int] = {}  # empty in the children: they import this module anew


def run_doomed(tmp_path: Path, *ends: str, workers: int = 1) -> list[tuple[int, Event | JobFailure]]:
    jobs = [(position, Doomed(f"Job {position}", end)) for position, end in enumerate(ends)]
    return list(local.run(jobs, logs=tmp_path / "logs", workers=workers))  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def _parent() -> Iterator[None]:
    PARENT["pid"] = os.getpid()
    yield
    PARENT.clear()


def ready(cache: Path, **asked: Any) -> list[Job]:
    """Jobs on a few real digits, with their pixels."""

    def quiet(_name: str, _done: int, _total: int) -> None: ...

    request = Request(limit=20, freeze="all", weights="none", epochs=1, **asked)
    listing = plan.listing_for(request, progress=quiet)
    dataset, _ = plan.dataset_for(request, listing, cache=cache, progress=quiet)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    jobs = plan.jobs_for(request, dataset, resolved=resolved, cache=cache)
    return [plan.with_pixels(job, listing, progress=quiet) for job in jobs]


@dataclass(frozen=True)
class Told:
    """What three real jobs said: one that is measured, one that cannot be had, one that fails."""

    jobs: list[Job]
    events: dict[int, list[Event | JobFailure]]
    order: list[int]
    logs: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("executor")
    scratch, mobile = ready(folder / "cache", backbones="scratch,MobileNetV2:alpha=0.35", image_size=32)
    too_small = mobile.with_spec(image_size=16)
    bogus = scratch.with_spec(backend="bogus")
    jobs = [scratch, too_small, bogus]
    events: dict[int, list[Event | JobFailure]] = {number: [] for number in range(3)}
    order = []
    for number, event in local.run(enumerate(jobs), logs=folder / "logs", workers=2):
        events[number].append(event)
        order.append(number)
    return Told(jobs, events, order, folder / "logs")


def test_a_job_hands_over_its_cells_and_a_summary(told: Told) -> None:
    *before, cell, summary = told.events[0]
    assert before
    assert all(isinstance(event, Progress | CellStarted) for event in before)
    assert isinstance(cell, CellFinished)
    assert cell.cell.status == "ok"
    assert cell.cell.cell_id == planned_cells(told.jobs[0])[0].cell_id
    assert cell.predictions["test_probs"].shape == (20, 10)
    assert isinstance(summary, Summary)
    assert summary.label == "scratch"
    assert summary.environment["backend"] == "tensorflow"
    phases = {event.phase for event in before if isinstance(event, Progress)}
    assert {"building", "training", "evaluation", "timing", "memory"} <= phases
    assert set(summary.seconds) == phases | {"starting"}  # a part of training


def test_what_cannot_be_measured_here_is_skipped_with_the_reason(told: Told) -> None:
    last = told.events[1][-1]
    assert isinstance(last, JobFailure)
    assert last.status == "skipped"
    assert last.reason.startswith("MobileNetV2:alpha=0.35 needs images of at least 32 px, not 16")


def test_an_exception_is_a_failure_with_its_text_and_the_traceback_is_in_the_log(told: Told) -> None:
    (last,) = told.events[2]
    assert isinstance(last, JobFailure)
    assert last.status == "failed"
    assert "bogus" in last.reason
    assert "\n" not in last.reason
    log = (told.logs / "002-scratch.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "bogus" in log


def test_each_job_has_a_log_of_its_own(told: Told) -> None:
    assert sorted(path.name for path in told.logs.iterdir()) == [
        "000-scratch.log",
        "001-MobileNetV2-alpha-0-35--random-weights.log",
        "002-scratch.log",
    ]


def test_the_output_of_jobs_reaches_their_logs_and_not_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_doomed(tmp_path, "SIGKILL", "leaves with a code", workers=2)
    assert "was here" in (tmp_path / "logs/000-Job-0.log").read_text()
    assert (tmp_path / "logs/001-Job-1.log").read_text() == "Job 1 was here\n"
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_killed_job_is_a_failure_with_the_name_of_the_signal_and_the_others_go_on(tmp_path: Path) -> None:
    found = dict(run_doomed(tmp_path, "SIGKILL", "SIGSEGV", "leaves with a code", workers=2))
    killed, segfault, coded = (found[number] for number in range(3))
    assert isinstance(killed, JobFailure)
    assert killed.status == "failed"
    assert killed.reason.startswith("the job was killed by SIGKILL")
    assert killed.reason.endswith("; its last words: Job 0 was here")
    assert isinstance(segfault, JobFailure)
    assert segfault.status == "failed"
    assert segfault.reason.startswith("the job was killed by SIGSEGV")
    assert coded == JobFailure("failed", "the job was ended with code 7; its last words: Job 2 was here")


def test_a_job_that_is_killed_while_it_hands_something_over_is_a_failure_too(tmp_path: Path) -> None:
    found = dict(run_doomed(tmp_path, "killed while speaking", "leaves with a code"))
    broken = found[0]
    assert isinstance(broken, JobFailure)
    assert broken.status == "failed"
    assert "SIGKILL" in broken.reason
    assert 1 in found, "the next job still runs"


def test_a_cell_that_kills_its_process_costs_itself_only(tmp_path: Path) -> None:
    job = Scripted("Job", {"b": "SIGSEGV"}, ("a", "b", "c"))
    first, broken, last, summary = told_by(job, tmp_path)
    assert isinstance(first, CellFinished)
    assert first.cell.cell_id == "a"
    assert broken == JobFailure("failed", "the job was killed by SIGSEGV in the phase 'evaluation'", ("b",))
    assert isinstance(last, CellFinished)
    assert last.cell.cell_id == "c"
    assert isinstance(summary, Summary)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000-Job.2.log", "000-Job.log"]


def test_what_kills_the_part_that_all_cells_share_ends_the_job(tmp_path: Path) -> None:
    (broken,) = told_by(Scripted("Job", {"shared": "SIGABRT"}, ("a", "b")), tmp_path)
    assert broken == JobFailure("failed", "the job was killed by SIGABRT in the phase 'frozen pass'")


def test_a_cell_that_takes_too_long_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    job = Scripted("Job", {"b": "sleeps"}, ("a", "b", "c"))
    first, broken, last, summary = told_by(job, tmp_path, timeout=6.0)
    assert isinstance(broken, JobFailure)
    assert broken.cells == ("b",)
    assert broken.reason == "stopped by --timeout: it took longer than 6s (in the phase 'evaluation')"
    assert [event.cell.cell_id for event in (first, last) if isinstance(event, CellFinished)] == ["a", "c"]
    assert isinstance(summary, Summary)
    assert _children() == set()


def test_a_shared_part_that_takes_too_long_would_do_so_again(tmp_path: Path) -> None:
    (broken,) = told_by(Scripted("Job", {"shared": "sleeps"}, ("a", "b")), tmp_path, timeout=4.0)
    assert isinstance(broken, JobFailure)
    assert broken.cells == ()
    assert "what all cells of this backbone share took longer than 4s (in the phase 'frozen pass')" in broken.reason


def test_a_job_that_runs_out_of_memory_is_started_again_on_fewer_images_and_the_cell_says_so(tmp_path: Path) -> None:
    finished, summary = told_by(Scripted("Job", {"shared": "needs memory"}, ("a",)), tmp_path)
    assert isinstance(finished, CellFinished)
    assert finished.cell.row == {"images": 8}
    assert finished.cell.reason == "memory ran out at first: what trains nothing ran on 8 images at a time"
    assert isinstance(summary, Summary)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_job_that_the_system_kills_for_its_memory_has_three_lives(tmp_path: Path) -> None:
    (broken,) = told_by(Scripted("Job", {"a": "SIGKILL"}, ("a",)), tmp_path)
    assert isinstance(broken, JobFailure)
    assert broken.status == "failed"
    assert broken.reason.startswith("the job was killed by SIGKILL in the phase 'evaluation'")
    assert broken.reason.endswith("8 images at a time were still too many")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_training_that_somebody_killed_once_is_measured_with_its_own_batch(tmp_path: Path) -> None:
    job = Scripted("Job", {"b": f"once {tmp_path / 'before'}"}, ("a", "b"), phase="fine-tuning")
    first, second, summary = told_by(job, tmp_path / "logs")
    assert [event.cell for event in (first, second) if isinstance(event, CellFinished)] == [
        Cell("a", "ok", "", {}, {"images": 32}),
        Cell("b", "ok", "", {}, {"images": 32}),
    ]
    assert isinstance(summary, Summary)


def test_only_a_kill_without_a_word_of_memory_is_presumed_to_be_one(tmp_path: Path) -> None:
    attempt, log = Attempt(Doomed("Job", "sleeps")), tmp_path / "job.log"  # type: ignore[arg-type]
    ends = []
    for said in ("epoch 3", "RESOURCE_EXHAUSTED: failed to allocate"):
        log.write_text(said)
        ends += [local._obituary(code, attempt, log) for code in (-signal.SIGKILL, -signal.SIGSEGV)]
    assert [(end.memory, end.presumed) for end in ends] == [(True, True), (False, False), (True, False), (True, False)]


def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path) -> None:
    (broken,) = told_by(Scripted("Job", {"shared": "full disk"}, ("a",)), tmp_path)
    assert isinstance(broken, JobFailure)
    assert broken.reason.startswith("the disk is full (OSError: [Errno 28] No space left on device: 'features.npy')")
    assert "BACKBENCH_CACHE" in broken.reason


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_jobs_do_not_outlive_a_sweep_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nimport test_executor_local as t\nt.PARENT['pid'] = os.getpid()\n"
        "for _, event in t.local.run([(0, t.Scripted('Job', {'a': 'sleeps'}, ('a',)))], logs=Path(sys.argv[1])):\n"
        "    print(*(child.pid for child in t.multiprocessing.active_children()), flush=True)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    sweep = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert sweep.stdout is not None
    child = int(sweep.stdout.readline())
    sweep.kill()
    sweep.communicate()
    gone = time.monotonic() + 20
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < gone
        time.sleep(0.05)


def test_a_job_that_ends_without_a_word_is_a_failure(tmp_path: Path) -> None:
    """Its cells would be missing from the table otherwise, with nobody told."""
    ((_, broken),) = run_doomed(tmp_path, "leaves without a word")
    assert isinstance(broken, JobFailure)
    assert broken.status == "failed"


def test_the_next_job_is_asked_for_only_when_there_is_room(tmp_path: Path) -> None:
    asked: list[int] = []
    finished: list[int] = []

    def jobs() -> Iterator[tuple[int, Any]]:
        for number in range(3):
            asked.append(number)
            assert len(asked) - len(finished) <= 1
            yield number, Doomed(f"Job {number}", "leaves with a code")

    for number, _ in local.run(jobs(), logs=tmp_path):
        finished.append(number)
    assert finished == [0, 1, 2]


def test_what_runs_is_heard_while_the_next_job_is_made_ready(tmp_path: Path) -> None:
    heard: list[str] = []

    def jobs() -> Iterator[Any]:
        yield 0, Scripted("Job 0", {}, ("a",))
        while "Summary" not in heard:  # never, if nobody listened until the next job is ready
            yield None
        yield 1, Scripted("Job 1", {}, ("b",))

    for _, event in local.run(jobs(), logs=tmp_path, workers=2, timeout=60):
        heard.append(type(event).__name__)
    assert heard.count("Finished") == 2


def test_at_the_deadline_what_runs_is_stopped_and_nothing_more_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    asked = []

    def jobs() -> Iterator[Any]:
        for number, ends in enumerate(({"b": "sleeps"}, {"shared": "sleeps"}, {})):
            asked.append(number)
            yield number, Scripted(f"Job {number}", ends, ("a", "b", "c"))

    found = []
    for number, event in local.run(jobs(), logs=tmp_path, workers=2, deadline=2000.0):
        if isinstance(event, CellFinished):
            clock.now = 2000.0
        if not isinstance(event, Progress | CellStarted):
            found.append((number, event))
    assert asked == [0, 1]
    (first, finished), *broken = found
    assert first == 0
    assert isinstance(finished, CellFinished)
    assert sorted(broken) == [
        (number, JobFailure("pruned", "the budget was spent before it was done")) for number in (0, 1)
    ]
    assert _children() == set()


def test_after_the_deadline_no_job_is_asked_for(tmp_path: Path) -> None:
    def jobs() -> Iterator[Any]:
        pytest.fail("nobody has time for another job")
        yield

    assert list(local.run(jobs(), logs=tmp_path, deadline=time.monotonic())) == []


def test_a_job_that_is_not_ready_by_the_deadline_is_waited_for_no_longer(tmp_path: Path) -> None:
    began = time.monotonic()
    assert list(local.run(iter(lambda: None, 0), logs=tmp_path, deadline=began + 0.3)) == []
    assert 0.3 <= time.monotonic() - began < 5


def test_a_job_that_is_to_start_again_is_over_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    job = Scripted("Job", {"a": "SIGSEGV"}, ("a", "b"))
    found = []
    for _, event in local.run([(0, job)], logs=tmp_path, deadline=2000.0):  # type: ignore[list-item]
        if isinstance(event, JobFailure):
            clock.now = 2000.0
            found.append(event)
    assert [(event.status, event.cells) for event in found] == [("failed", ("a",)), ("pruned", ())]


def test_jobs_that_still_run_are_ended_with_the_generator(tmp_path: Path) -> None:
    jobs = [(0, Doomed("Job 0", "leaves with a code")), (1, Doomed("Job 1", "sleeps"))]
    running = local.run(jobs, logs=tmp_path, workers=2)  # type: ignore[arg-type]
    next(running)
    children = _children()
    assert len(children) == 1
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 5
    assert _children() == set()


def test_processes_that_do_not_end_have_one_time_of_grace_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)

    class Stubborn:
        alive = True

        def terminate(self) -> None: ...

        def is_alive(self) -> bool:
            return self.alive

        def kill(self) -> None:
            self.alive = False

        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None or not self.alive
            clock.now += (timeout or 0.0) if self.alive else 0.0

    several = [Stubborn() for _ in range(4)]
    local._stop(several)
    assert clock.now == 1000.0 + local.GRACE
    assert not any(process.alive for process in several)


def test_no_jobs_are_no_events(tmp_path: Path) -> None:
    assert list(local.run([], logs=tmp_path)) == []


def _children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid}


def test_a_job_that_hangs_as_it_leaves_does_not_hold_up_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.5)
    jobs = [(0, Doomed("Job 0", "hangs as it leaves")), (1, Doomed("Job 1", "leaves with a code"))]
    began = time.monotonic()
    found = list(local.run(jobs, logs=tmp_path))  # type: ignore[arg-type]
    assert time.monotonic() - began < 60
    assert [(number, event.status) for number, event in found if isinstance(event, JobFailure)] == [
        (0, "failed"),
        (1, "failed"),
    ]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (143, "stopped by SIGTERM"),
        (3, "ended with code 3"),
    ],
)
def test_any_end_has_words(tmp_path: Path, code: int, said: str) -> None:
    attempt = Attempt(Doomed("Job", "sleeps"))  # type: ignore[arg-type]
    assert said in local._obituary(code, attempt, tmp_path / "none.log").reason
