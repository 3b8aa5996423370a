"""Cells that change hands: which, when it is worth it, and that a job in parts is over once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned_jobs import cells_of, planned

from backbench.executors import parts
from backbench.executors.attempts import Attempt, Broken
from backbench.executors.parts import Parts, later_half, split, worth
from backbench.records import Cell, Finished, Job, Note, Started, Summary
from backbench.workload import Work


@pytest.fixture(scope="module")
def job() -> Job:
    """Five cells of the small CNN on a few real digits."""
    (job,) = planned(limit=20, seeds=5, image_size=16, backbones="scratch")
    return replace(job, wanted=cells_of(job))


def test_the_later_half_of_what_has_not_begun_can_be_handed_over(job: Job) -> None:
    assert job.wanted
    attempt = Attempt(job)
    assert later_half(attempt) == job.wanted[3:], "of five, three stay"
    list(attempt.hear(Started(job.wanted[0])))
    assert later_half(attempt) == job.wanted[3:], "the one in work stays, and two of the four others"
    last = Attempt(replace(job, wanted=job.wanted[:2]), cell=job.wanted[0])
    assert later_half(last) == job.wanted[1:2]
    assert later_half(Attempt(replace(job, wanted=job.wanted[:1]))) == ()
    assert later_half(Attempt(job, trial_for=attempt)) == ()
    assert later_half(Attempt(job, over=True)) == ()


def test_it_is_worth_it_where_cells_are_more_work_than_what_they_share() -> None:
    assert worth(Work(2e14, 1e13, {"a": 2e14, "b": 1e14}, 0, 0))
    assert not worth(Work(2e14, 1e13, {"a": 2e14}, 0, 0))
    assert not worth(Work(0.0, 0.0, {"a": 2e13}, 0, 0)), "too little for a process of its own"


def test_the_job_with_most_to_hand_over_does(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert job.wanted
    short = Attempt(replace(job, wanted=job.wanted[:2]))
    long = Attempt(job, cell=job.wanted[0], halved=1)
    assert split([short, long]) is None
    monkeypatch.setattr(parts, "FEW", 0.0)
    found = split([short, long])
    assert found is not None
    assert found[0] is long
    assert long.job.wanted == job.wanted[:3]
    assert (found[1].job.wanted, found[1].halved, found[1].cell) == (job.wanted[3:], 1, None)
    assert short.job.wanted == job.wanted[:2]


SUMMARY = Summary("scratch", {}, {})


def test_a_job_in_parts_is_over_with_the_last_of_them(job: Job) -> None:
    one, other = Attempt(job), Attempt(job)
    book = Parts()
    book.begin(7)
    book.begin(7)
    assert book.tell(7, one, [Note("said"), SUMMARY]) == [Note("said")]
    assert book.end(7) == []
    cell = Finished(Cell("x", "ok", "", {}, {}))
    assert book.tell(7, other, [cell]) == [cell]
    assert book.end(7) == [SUMMARY], "of the part that had the time to say it"


def test_what_ends_one_part_does_not_end_the_others(job: Job) -> None:
    attempt = Attempt(replace(job, wanted=("a", "b")))
    broken = Broken("failed", "killed")
    book = Parts()
    book.begin(0)
    book.begin(0)
    assert book.tell(0, attempt, [broken]) == [replace(broken, cells=("a", "b"))]
    assert book.tell(0, Attempt(replace(job, wanted=())), [broken]) == []
    assert book.end(0) == []
    assert book.tell(0, attempt, [broken]) == [broken]
    assert book.end(0) == []
