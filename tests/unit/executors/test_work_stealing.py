"""Cells that change hands: which, when it is worth it, and that a job in parts is over once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.planned_jobs import cells_of, planned

from backbench.core.cells import Cell
from backbench.core.events import CellFinished, CellStarted, Message, Progress, Summary
from backbench.core.job import Job, Schedule
from backbench.evaluation.workload import Workload, workload_of
from backbench.executors.ray.work_stealing import Parts, longest_first, split, to_hand_over, worth
from backbench.executors.retry import Attempt, JobFailure


@pytest.fixture(scope="module")
def job() -> Job:
    """Five cells of the small CNN on a few real digits."""
    (job,) = planned(limit=20, seeds=5, image_size=16, backbones="scratch")
    return job.owing(cells_of(job))


def test_cells_are_measured_longest_first() -> None:
    (mobile,) = planned(limit=20, seeds=1, image_size=96, backbones="MobileNetV2", freeze="all,all-1,all-2")
    frozen, short, long = cells_of(mobile)
    training = workload_of(mobile, cells_of(mobile)).training
    assert training[short] < training[long]
    assert longest_first(mobile) == (frozen, long, short), "what is not trained precedes all"
    assert longest_first(mobile.owing((short, long))) == (long, short)
    assert longest_first(mobile.with_effort(Schedule(epochs=1))) == (frozen, long, short)
    (scratch,) = planned(limit=20, seeds=2, image_size=16, backbones="scratch")
    assert longest_first(scratch) == cells_of(scratch), "equals stay in their order"


def test_every_other_of_what_has_not_begun_can_be_handed_over(job: Job) -> None:
    assert job.cells
    first, second, third, fourth, fifth = job.cells
    attempt = Attempt(job)
    assert to_hand_over(attempt, math.inf) == (second, fourth), "the longest stays for who has all of them"
    list(attempt.hear(CellStarted(first)))
    assert to_hand_over(attempt, math.inf) == (second, fourth), "the longest of those that wait goes"
    list(attempt.hear(CellFinished(Cell(first, "ok", "", {}, {}))))
    list(attempt.hear(CellStarted(second)))
    assert to_hand_over(attempt, math.inf) == (third, fifth)
    last = Attempt(job.owing(job.cells[:2]), cell=first)
    assert to_hand_over(last, math.inf) == (second,)
    assert to_hand_over(Attempt(job.owing((first,))), math.inf) == ()
    assert to_hand_over(Attempt(job, trial_for=attempt), math.inf) == ()
    assert to_hand_over(Attempt(job, over=True), math.inf) == ()


def test_no_more_is_handed_over_than_is_enough(job: Job) -> None:
    assert job.cells
    one = sum(workload_of(job, job.cells[:1]).training.values())
    attempt = Attempt(job, cell=job.cells[0])
    assert to_hand_over(attempt, 0.5 * one) == job.cells[1:2], "one cell at least"
    assert to_hand_over(attempt, 1.5 * one) == job.cells[1::2]
    assert to_hand_over(Attempt(job), 0.5 * one) == job.cells[1:2]


def test_it_is_worth_it_where_cells_are_more_work_than_what_they_share() -> None:
    assert worth(Workload(2e14, 1e13, {"a": 2e14, "b": 1e14}, 0, 0))
    assert not worth(Workload(2e14, 1e13, {"a": 2e14}, 0, 0))
    assert not worth(Workload(0.0, 0.0, {"a": 2e13}, 0, 0)), "too little for a process of its own"


def attempts(job: Job, *, epochs: int) -> tuple[Attempt, Attempt]:
    """One of five cells, and one that runs on less memory, of three cells that are trained twice as long."""
    short, long = job.with_spec(epochs=epochs), job.with_spec(epochs=2 * epochs)
    return Attempt(short.owing(cells_of(short))), Attempt(long.owing(cells_of(long)[:3]), halved=1)


def test_the_job_with_the_longest_cell_to_hand_over_does(job: Job) -> None:
    short, long = attempts(job, epochs=10**6)
    kept, given, last = long.job.cells or ()
    cells = cells_of(short.job)
    found = split([long, short], share=0.0)
    assert found is not None
    assert found[0] is long
    assert long.job.cells == (kept, last)
    assert (found[1].job.cells, found[1].halved, found[1].cell) == ((given,), 1, None)
    assert short.job.cells == cells
    assert split([short]) is not None
    assert short.job.cells == cells[::2], "without knowing how much all is, every other cell"


def test_little_work_stays_where_it_is(job: Job) -> None:
    assert split(attempts(job, epochs=10)) is None


SUMMARY = Summary("scratch", {}, {})


def test_cells_that_broke_are_told_at_once_and_the_others_go_on(job: Job) -> None:
    book = Parts()
    book.begin(0)
    broken = JobFailure("failed", "killed", cells=("a",))
    cell = CellFinished(Cell("b", "ok", "", {}, {}))
    assert book.tell(0, Attempt(job.owing(("b",))), [broken, Progress("training", 1, 3), cell]) == [
        broken,
        Progress("training", 1, 3),
        cell,
    ]
    assert book.end(0, job) == [SUMMARY]


def test_a_job_in_parts_is_over_with_the_last_of_them(job: Job) -> None:
    one, other = Attempt(job), Attempt(job)
    book = Parts()
    book.begin(7)
    book.begin(7)
    assert book.tell(7, one, [Message("said"), SUMMARY]) == [Message("said")]
    assert book.end(7, job) == []
    cell = CellFinished(Cell("x", "ok", "", {}, {}))
    assert book.tell(7, other, [cell]) == [cell]
    assert book.end(7, job) == [SUMMARY], "of the part that had the time to say it"


def test_the_seconds_of_a_job_are_those_of_all_its_parts(job: Job) -> None:
    book = Parts()
    book.begin(0)
    book.begin(0)
    assert book.tell(0, Attempt(job), [Summary("x", {"probe": 1.0, "fine-tuning": 2.0}, {"keras": "3"})]) == []
    assert book.end(0, job) == []
    assert book.tell(0, Attempt(job), [Summary("x", {"fine-tuning": 3.0}, {"keras": "3"})]) == []
    assert book.end(0, job) == [Summary("x", {"probe": 1.0, "fine-tuning": 5.0}, {"keras": "3"})]


def test_a_job_is_over_even_if_no_part_had_a_last_word(job: Job) -> None:
    book = Parts()
    book.begin(0)
    assert book.end(0, job) == [Summary("scratch", {}, {})]


def test_what_ends_one_part_does_not_end_the_others(job: Job) -> None:
    attempt = Attempt(job.owing(("a", "b")))
    broken = JobFailure("failed", "killed")
    book = Parts()
    book.begin(0)
    book.begin(0)
    assert book.tell(0, attempt, [broken]) == [replace(broken, cells=("a", "b"))]
    assert book.tell(0, Attempt(job.owing(())), [broken]) == []
    assert book.end(0, job) == []
    assert book.tell(0, attempt, [broken]) == [broken]
    assert book.end(0, job) == []
