"""Jobs in processes of their own: what they measure, and what becomes of those that end before their time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.manual_clock import ManualClock
from support.planned_jobs import cells_of, planned
from support.scripted_work import Script

from backbench.core.cells import Status, planned_cells
from backbench.core.events import CellFinished, CellStarted, Event, Phase, Progress, Summary
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors import local
from backbench.executors.retry import OUT_OF_TIME, Attempt, JobFailure
from backbench.sweep import plan

# How a job fails whose process prints one line and leaves with code 7.
A_CODE = JobFailure(Status.FAILED, "the job was ended with code 7; its last words: scratch meets: leaves with a code")


@pytest.fixture(scope="module")
def job() -> Job:
    """A job of three cells, which are measured in the order of their ids here; nothing of it is decoded."""
    (job,) = planned(limit=20, backbones="scratch", seeds=3)
    return job.owing(cells_of(job))


def owed_by(job: Job) -> tuple[str, ...]:
    assert job.cells is not None
    return job.cells


def events_of(
    job: Job, script: Script, logs: Path, *, timeout: float | None = None
) -> list[CellFinished | Summary | JobFailure]:
    """What a job comes to, without how far it is."""
    events = local.run([(0, job)], logs=logs, timeout=timeout, work=script)
    return [event for _, event in events if isinstance(event, CellFinished | Summary | JobFailure)]


def ends_of(job: Job, logs: Path, *ends: str, workers: int = 1) -> dict[int, Event | JobFailure]:
    """The last event of each of several jobs of one cell, which come to these ends at once."""
    jobs = [job.owing((cell,)) for cell in owed_by(job)[: len(ends)]]
    script = Script(at_once=dict(zip(owed_by(job), ends, strict=False)))
    return dict(local.run(enumerate(jobs), logs=logs, workers=workers, work=script))


def reason_of(event: Event | JobFailure) -> str:
    assert isinstance(event, JobFailure)
    assert event.status == Status.FAILED
    return event.reason


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
    assert cell.cell.cell_id == planned_cells(told.jobs[0].spec)[0].cell_id
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
    job: Job, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ends_of(job, tmp_path / "logs", "SIGKILL", "leaves with a code", workers=2)
    assert "meets: SIGKILL" in (tmp_path / "logs/000-scratch.log").read_text()
    assert (tmp_path / "logs/001-scratch.log").read_text() == "scratch meets: leaves with a code\n"
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_killed_job_is_a_failure_with_the_name_of_the_signal_and_the_others_go_on(job: Job, tmp_path: Path) -> None:
    ends = ends_of(job, tmp_path, "SIGKILL", "SIGSEGV", "leaves with a code", workers=2)
    assert reason_of(ends[0]).startswith("the job was killed by SIGKILL")
    assert "; its last words: scratch meets: SIGKILL" in reason_of(ends[0])
    assert reason_of(ends[1]).startswith("the job was killed by SIGSEGV")
    assert ends[2] == A_CODE


def test_a_job_that_is_killed_while_it_hands_something_over_is_a_failure_too(job: Job, tmp_path: Path) -> None:
    ends = ends_of(job, tmp_path, "killed while speaking", "leaves with a code")
    assert "SIGKILL" in reason_of(ends[0])
    assert ends[1] == A_CODE, "the next job still runs"


def test_a_cell_that_kills_its_process_costs_itself_only(job: Job, tmp_path: Path) -> None:
    a, b, c = owed_by(job)
    first, broken, last, summary = events_of(job, Script({b: "SIGSEGV"}), tmp_path)
    assert isinstance(first, CellFinished)
    assert first.cell.cell_id == a
    assert isinstance(broken, JobFailure)
    assert (broken.status, broken.cells) == (Status.FAILED, (b,))
    assert broken.reason.startswith("the job was killed by SIGSEGV in the phase 'evaluation'")
    assert isinstance(last, CellFinished)
    assert last.cell.cell_id == c
    assert isinstance(summary, Summary)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000-scratch.2.log", "000-scratch.log"]


def test_what_kills_the_part_that_all_cells_share_ends_the_job(job: Job, tmp_path: Path) -> None:
    (broken,) = events_of(job, Script(shared={owed_by(job)[0]: "SIGABRT"}), tmp_path)
    assert reason_of(broken).startswith("the job was killed by SIGABRT in the phase 'frozen pass'")
    assert isinstance(broken, JobFailure)
    assert broken.cells == ()


def test_a_cell_that_takes_too_long_is_stopped_and_the_others_go_on(job: Job, tmp_path: Path) -> None:
    a, b, c = owed_by(job)
    first, broken, last, summary = events_of(job, Script({b: "sleeps"}), tmp_path, timeout=6.0)
    assert isinstance(broken, JobFailure)
    assert broken.cells == (b,)
    assert broken.reason == "stopped by --timeout: it took longer than 6s (in the phase 'evaluation')"
    assert [event.cell.cell_id for event in (first, last) if isinstance(event, CellFinished)] == [a, c]
    assert isinstance(summary, Summary)
    assert _children() == set()


def test_a_shared_part_that_takes_too_long_would_do_so_again(job: Job, tmp_path: Path) -> None:
    (broken,) = events_of(job, Script(shared={owed_by(job)[0]: "sleeps"}), tmp_path, timeout=4.0)
    assert isinstance(broken, JobFailure)
    assert broken.cells == ()
    assert "what all cells of this backbone share took longer than 4s (in the phase 'frozen pass')" in broken.reason


def test_a_job_that_runs_out_of_memory_is_started_again_on_fewer_images_and_the_cell_says_so(
    job: Job, tmp_path: Path
) -> None:
    (cell, *_) = owed_by(job)
    finished, summary = events_of(job.owing((cell,)), Script(shared={cell: "needs memory"}), tmp_path)
    assert isinstance(finished, CellFinished)
    assert finished.cell.row["images"] == 8
    assert finished.cell.reason == "memory ran out at first: what trains nothing ran on 8 images at a time"
    assert isinstance(summary, Summary)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_job_that_the_system_kills_for_its_memory_has_three_lives(job: Job, tmp_path: Path) -> None:
    (cell, *_) = owed_by(job)
    (broken,) = events_of(job.owing((cell,)), Script({cell: "SIGKILL"}), tmp_path)
    assert reason_of(broken).startswith("the job was killed by SIGKILL in the phase 'evaluation'")
    assert reason_of(broken).endswith("8 images at a time were still too many")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_training_that_somebody_killed_once_is_measured_with_its_own_batch(job: Job, tmp_path: Path) -> None:
    a, b, _ = owed_by(job)
    script = Script({b: f"killed once: {tmp_path / 'before'}"}, phase=Phase.FINE_TUNING)
    first, second, summary = events_of(job.owing((a, b)), script, tmp_path / "logs")
    cells = [event.cell for event in (first, second) if isinstance(event, CellFinished)]
    assert [(cell.cell_id, cell.status, cell.reason) for cell in cells] == [(a, Status.OK, ""), (b, Status.OK, "")]
    assert [cell.row["images"] for cell in cells] == [32, 32]
    assert isinstance(summary, Summary)


def test_only_a_kill_without_a_word_of_memory_is_presumed_to_be_one(job: Job, tmp_path: Path) -> None:
    attempt, log = Attempt(job), tmp_path / "job.log"
    ends = []
    for last_words in ("epoch 3", "RESOURCE_EXHAUSTED: failed to allocate"):
        log.write_text(last_words)
        ends += [local._obituary(code, attempt, log) for code in (-signal.SIGKILL, -signal.SIGSEGV)]
    assert [(end.memory, end.presumed) for end in ends] == [(True, True), (False, False), (True, False), (True, False)]


def test_a_full_disk_is_said_with_what_to_do(job: Job, tmp_path: Path) -> None:
    (broken,) = events_of(job, Script(shared={owed_by(job)[0]: "full disk"}), tmp_path)
    reason = reason_of(broken)
    assert reason.startswith("the disk is full (OSError: [Errno 28] No space left on device: 'features.npy')")
    assert "BACKBENCH_CACHE" in reason


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_jobs_do_not_outlive_a_sweep_that_was_killed(tmp_path: Path) -> None:
    code = """
import multiprocessing, sys
from pathlib import Path
from support.planned_jobs import cells_of, planned
from support.scripted_work import Script
from backbench.executors import local
(job,) = planned(limit=20, backbones="scratch")
script = Script(dict.fromkeys(cells_of(job), "sleeps"))
for _, event in local.run([(0, job)], logs=Path(sys.argv[1]), work=script):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""
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


def test_a_job_that_ends_without_a_word_is_a_failure(job: Job, tmp_path: Path) -> None:
    """Its cells would be missing from the table otherwise, with nobody told."""
    ends = ends_of(job, tmp_path, "leaves without a word")
    assert reason_of(ends[0]).startswith("the job was ended with code 0")


def test_the_next_job_is_asked_for_only_when_there_is_room(job: Job, tmp_path: Path) -> None:
    asked: list[int] = []
    finished: list[int] = []

    def jobs() -> Iterator[tuple[int, Job]]:
        for number, cell in enumerate(owed_by(job)):
            asked.append(number)
            assert len(asked) - len(finished) <= 1
            yield number, job.owing((cell,))

    script = Script(at_once=dict.fromkeys(owed_by(job), "leaves with a code"))
    for number, _ in local.run(jobs(), logs=tmp_path, work=script):
        finished.append(number)
    assert finished == [0, 1, 2]


def test_what_runs_is_heard_while_the_next_job_is_made_ready(job: Job, tmp_path: Path) -> None:
    heard: list[type] = []

    def jobs() -> Iterator[tuple[int, Job] | None]:
        yield 0, job
        while Summary not in heard:  # never, if nobody listened until the next job is ready
            yield None
        yield 1, job

    for _, event in local.run(jobs(), logs=tmp_path, workers=2, timeout=60, work=Script()):
        heard.append(type(event))
    assert heard.count(CellFinished) == 6


def test_at_the_deadline_what_runs_is_stopped_and_nothing_more_is_started(job: Job, tmp_path: Path) -> None:
    clock, asked = ManualClock(), []
    a, b, c = owed_by(job)

    def jobs() -> Iterator[tuple[int, Job]]:
        for number, cells in enumerate(((a, b), (c,), (a,))):
            asked.append(number)
            yield number, job.owing(cells)

    heard = []
    script = Script({b: "sleeps"}, shared={c: "sleeps"})
    for number, event in local.run(jobs(), logs=tmp_path, workers=2, deadline=2000.0, work=script, clock=clock):
        if isinstance(event, CellFinished):
            clock.now = 2000.0
        if not isinstance(event, Progress | CellStarted):
            heard.append((number, event))
    assert asked == [0, 1]
    (first, finished), *broken = heard
    assert first == 0
    assert isinstance(finished, CellFinished)
    assert sorted(number for number, _ in broken) == [0, 1]
    assert {event for _, event in broken} == {OUT_OF_TIME}
    assert _children() == set()


def test_after_the_deadline_no_job_is_asked_for(tmp_path: Path) -> None:
    def jobs() -> Iterator[tuple[int, Job]]:
        pytest.fail("nobody has time for another job")
        yield

    assert list(local.run(jobs(), logs=tmp_path, deadline=time.monotonic())) == []


def test_a_job_that_is_not_ready_by_the_deadline_is_waited_for_no_longer(tmp_path: Path) -> None:
    began = time.monotonic()
    assert list(local.run(iter(lambda: None, 0), logs=tmp_path, deadline=began + 0.3)) == []
    assert 0.3 <= time.monotonic() - began < 5


def test_a_job_that_is_to_start_again_is_over_at_the_deadline(job: Job, tmp_path: Path) -> None:
    clock = ManualClock()
    (first, *_) = owed_by(job)
    broken = []
    script = Script({first: "SIGSEGV"})
    for _, event in local.run([(0, job)], logs=tmp_path, deadline=2000.0, work=script, clock=clock):
        if isinstance(event, JobFailure):
            clock.now = 2000.0
            broken.append(event)
    assert [(event.status, event.cells) for event in broken] == [(Status.FAILED, (first,)), (Status.PRUNED, ())]


def test_jobs_that_still_run_are_ended_with_the_generator(job: Job, tmp_path: Path) -> None:
    a, b, _ = owed_by(job)
    script = Script(at_once={a: "leaves with a code", b: "sleeps"})
    running = local.run([(0, job.owing((a,))), (1, job.owing((b,)))], logs=tmp_path, workers=2, work=script)
    next(running)
    children = _children()
    assert len(children) == 1
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 5
    assert _children() == set()


def test_processes_that_do_not_end_have_one_time_of_grace_together() -> None:
    clock = ManualClock()

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
    local._stop(several, clock=clock)
    assert clock.now == 1000.0 + local.GRACE
    assert not any(process.alive for process in several)


def test_no_jobs_are_no_events(tmp_path: Path) -> None:
    assert list(local.run([], logs=tmp_path)) == []


def _children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid}


def test_a_job_that_hangs_as_it_leaves_does_not_hold_up_the_sweep(job: Job, tmp_path: Path) -> None:
    ends = ends_of(job, tmp_path, "hangs as it leaves", "leaves with a code")
    assert "SIGKILL" in reason_of(ends[0])
    assert ends[1] == A_CODE


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (143, "stopped by SIGTERM"),
        (3, "ended with code 3"),
    ],
)
def test_any_end_has_words(job: Job, tmp_path: Path, code: int, said: str) -> None:
    assert said in local._obituary(code, Attempt(job), tmp_path / "none.log").reason
