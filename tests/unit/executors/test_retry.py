"""What becomes of a job that ended before its time: with less memory, without one cell, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planned_jobs import cells_of, planned

from backbench.core.cells import Cell, planned_cells
from backbench.core.events import CellFinished, CellStarted, Progress, Summary
from backbench.core.job import Job
from backbench.executors.retry import FITS, OUT_OF_TIME, Attempt, JobFailure, after, after_loss, overrun

NO_ROOM = JobFailure("failed", "MemoryError: no room", memory=True)
KILLED = JobFailure("failed", "the job was killed by SIGKILL", memory=True, presumed=True)
CRASH = JobFailure("failed", "the job was killed by SIGSEGV")


@pytest.fixture(scope="module")
def job() -> Job:
    """MobileNetV2 with random weights at three depths, on a few real digits."""
    (job,) = planned(limit=20, freeze="all,all-1,all-2", weights="none", image_size=32, backbones="MobileNetV2")
    return job.owing(cells_of(job))


def in_work(job: Job, cell: str | None, phase: str) -> Attempt:
    attempt = Attempt(job)
    if cell:
        list(attempt.hear(CellStarted(cell)))
    list(attempt.hear(Progress(phase, 0, 1)))
    return attempt


def test_memory_that_runs_out_is_met_with_half_of_the_images_then_a_quarter_and_then_no_more(job: Job) -> None:
    told, second = after(in_work(job, None, "frozen pass"), NO_ROOM)
    assert told == []
    assert second is not None
    assert (second.job, second.number) == (job.with_resources(inference_batch=16), 2)
    told, third = after(second, NO_ROOM)
    assert told == []
    assert third is not None
    assert (third.job, third.number) == (job.with_resources(inference_batch=8), 3)
    told, none = after(third, NO_ROOM)
    assert told == [replace(NO_ROOM, reason="MemoryError: no room; 8 images at a time were still too many")]
    assert none is None


def test_no_identity_depends_on_the_inference_batch(job: Job) -> None:
    assert planned_cells(job.with_resources(inference_batch=8).spec) == planned_cells(job.spec)


def test_cells_measured_after_memory_ran_out_say_so_beside_what_they_say_anyway(job: Job) -> None:
    assert job.cells
    _, second = after(in_work(job, None, "probe"), NO_ROOM)
    assert second is not None
    (told,) = second.hear(CellFinished(Cell(job.cells[0], "ok", "bfloat16 is too coarse", {}, {})))
    assert isinstance(told, CellFinished)
    assert told.cell.reason == (
        "bfloat16 is too coarse; memory ran out at first: what trains nothing ran on 16 images at a time"
    )
    assert second.job.cells == job.cells[1:], "it is not asked for again"


def test_a_training_step_that_does_not_fit_fails_with_the_batch_that_does(job: Job) -> None:
    assert job.cells
    first, cell, last = job.cells
    stopped = in_work(job, cell, "fine-tuning")
    told, trial = after(stopped, NO_ROOM)
    assert told == []
    assert trial is not None
    assert trial.job.spec.batch_size == 16
    smaller = planned_cells(job.with_spec(batch_size=16).spec)
    assert trial.job.cells == (smaller[1].cell_id,)
    assert trial.job.resources.drafts is None, "nothing is kept of a trial"
    told, trial = after(trial, NO_ROOM)
    assert trial is not None
    assert (told, trial.job.spec.batch_size) == ([], 8)
    assert not trial.fits(Progress("fine-tuning", 0, 30))
    assert not trial.fits(Progress("frozen pass", 1, 2))
    assert trial.fits(Progress("fine-tuning", 1, 30))
    assert list(trial.hear(CellFinished(Cell("x", "ok", "", {}, {})))) == [], "a trial is no result"
    told, following = after(trial, FITS)
    assert [broken.cells for broken in told] == [(cell,)]
    assert told[0].reason == (
        "a training step of 32 images does not fit into memory, one of 8 does: --batch-size 8 is another recipe, for a"
        " folder of its own (--out); MemoryError: no room"
    )
    assert following is not None
    assert following.job == job.owing((first, last))
    assert following.trial_for is None


def test_a_training_step_that_never_fits_says_so(job: Job) -> None:
    assert job.cells
    alone = job.owing(job.cells[2:])
    attempt: Attempt | None = in_work(alone, job.cells[2], "fine-tuning")
    sizes = []
    while attempt is not None:
        told, attempt = after(attempt, NO_ROOM)
        sizes += [attempt.job.spec.batch_size] if attempt else []
    assert sizes == [16, 8, 4, 2, 1]
    assert told == [
        JobFailure(
            "failed",
            "a training step of 32 images does not fit into memory, nor does one of a single image: ask for a smaller"
            " --image-size, or freeze more; MemoryError: no room",
        )
    ]


def test_a_trial_that_fails_otherwise_names_no_batch(job: Job) -> None:
    assert job.cells
    _, trial = after(in_work(job, job.cells[1], "training"), NO_ROOM)
    assert trial is not None
    told, following = after(trial, CRASH)
    assert told == [
        JobFailure(
            "failed",
            "a training step of 32 images does not fit into memory (whether one of 16 does is not known: the job was"
            " killed by SIGSEGV); MemoryError: no room",
            (job.cells[1],),
        )
    ]
    assert following is not None


def test_a_training_that_was_killed_runs_once_more_before_memory_is_blamed(job: Job) -> None:
    assert job.cells
    first, cell, last = job.cells
    told, again = after(in_work(job, cell, "fine-tuning"), KILLED)
    assert told == []
    assert again is not None
    assert (again.job, again.number, again.trial_for) == (job, 2, None)
    list(again.hear(CellFinished(Cell(first, "ok", "", {}, {}))))
    list(again.hear(CellStarted(cell)))
    list(again.hear(Progress("fine-tuning", 0, 1)))
    told, trial = after(again, KILLED)
    assert told == []
    assert trial is not None
    assert trial.job.spec.batch_size == 16
    (told,), following = after(trial, FITS)
    assert told == JobFailure(
        "failed",
        "a training step of 32 images does not fit into memory, one of 16 does: --batch-size 16 is another recipe, for"
        " a folder of its own (--out); twice, the job was killed by SIGKILL",
        (cell,),
    )
    assert following is not None
    assert following.job.cells == (last,)


def test_another_cell_that_is_killed_has_its_own_second_life(job: Job) -> None:
    assert job.cells
    _, again = after(in_work(job, job.cells[1], "training"), KILLED)
    assert again is not None
    list(again.hear(CellFinished(Cell(job.cells[1], "ok", "", {}, {}))))
    list(again.hear(CellStarted(job.cells[2])))
    list(again.hear(Progress("training", 0, 1)))
    told, third = after(again, KILLED)
    assert told == []
    assert third is not None
    assert (third.job.spec.batch_size, third.trial_for) == (32, None)


def test_the_cell_in_work_is_at_fault_and_the_others_go_on(job: Job) -> None:
    assert job.cells
    told, following = after(in_work(job, job.cells[1], "evaluation"), CRASH)
    assert told == [replace(CRASH, cells=(job.cells[1],))]
    assert following is not None
    assert following.job == job.owing((job.cells[0], job.cells[2]))


def test_without_a_cell_in_work_or_without_others_the_job_is_over(job: Job) -> None:
    assert job.cells
    assert after(in_work(job, None, "probe"), CRASH) == ([CRASH], None)
    alone = job.owing(job.cells[:1])
    assert after(in_work(alone, job.cells[0], "probe"), CRASH) == ([CRASH], None)


def test_what_cannot_run_here_is_not_tried_again(job: Job) -> None:
    assert job.cells
    skipped = JobFailure("skipped", "no weights")
    assert after(in_work(job, job.cells[0], "building"), skipped) == ([skipped], None)


def test_what_runs_when_time_is_over_is_not_tried_again_and_blames_no_cell(job: Job) -> None:
    assert job.cells
    assert after(in_work(job, job.cells[0], "fine-tuning"), OUT_OF_TIME) == ([OUT_OF_TIME], None)
    _, trial = after(in_work(job, job.cells[0], "fine-tuning"), NO_ROOM)
    assert trial is not None
    assert after(trial, OUT_OF_TIME) == ([OUT_OF_TIME], None)


def test_the_time_of_a_cell_begins_with_it(job: Job) -> None:
    assert job.cells
    attempt = Attempt(job, since=0.0)
    assert list(attempt.hear(CellStarted(job.cells[0]))) == [CellStarted(job.cells[0])]
    assert attempt.since > 0.0
    assert overrun(attempt, 1800.0).reason == "stopped by --timeout: it took longer than 30m"
    list(attempt.hear(CellFinished(Cell(job.cells[0], "ok", "", {}, {}))))
    list(attempt.hear(Progress("memory", 0, 1)))
    assert overrun(attempt, 90.0).reason == (
        "stopped by --timeout: what all cells of this backbone share took longer than 90s (in the phase 'memory')"
    )


def test_memory_that_ran_out_in_a_training_step_of_one_image_is_that_cells_failure(job: Job) -> None:
    assert job.cells
    one = job.with_spec(batch_size=1)
    told, following = after(in_work(one, job.cells[1], "fine-tuning"), NO_ROOM)
    assert told == [replace(NO_ROOM, cells=(job.cells[1],))]
    assert following is not None
    assert following.job.cells == (job.cells[0], job.cells[2])


def test_a_summary_is_the_last_word(job: Job) -> None:
    attempt = Attempt(job)
    summary = Summary("MobileNetV2", {}, {})
    assert list(attempt.hear(summary)) == [summary]
    assert attempt.over


def test_a_lost_node_is_not_the_jobs_fault_until_it_happens_again_and_again(job: Job) -> None:
    assert job.cells
    attempt = in_work(job, job.cells[0], "probe")
    gone = JobFailure("failed", "the node that it ran on died")
    for losses in (1, 2):
        told, following = after_loss(attempt, gone)
        assert told == []
        assert following is not None
        assert (following.losses, following.job) == (losses, job)
        attempt = following
        list(attempt.hear(CellStarted(job.cells[0])))
    told, following = after_loss(attempt, gone)
    reason = "given up after 3 attempts: the node that it ran on died"
    assert told == [JobFailure("failed", reason, cells=(job.cells[0],))]
    assert following is not None
    assert (following.losses, following.job.cells) == (0, job.cells[1:])


def test_a_finished_cell_begins_the_count_of_losses_anew(job: Job) -> None:
    assert job.cells
    attempt = Attempt(job, losses=2)
    list(attempt.hear(CellFinished(Cell(job.cells[0], "ok", "", {}, {}))))
    assert (attempt.losses, attempt.job.cells) == (0, job.cells[1:])


def test_cells_that_broke_where_the_job_goes_on_are_not_owed_any_more(job: Job) -> None:
    assert job.cells
    attempt = Attempt(job, losses=1)
    attempt.settle(JobFailure("failed", "killed", cells=job.cells[:1]))
    assert (attempt.job.cells, attempt.losses, attempt.over) == (job.cells[1:], 0, False)
    attempt.settle(JobFailure("failed", "killed"))
    assert attempt.over
