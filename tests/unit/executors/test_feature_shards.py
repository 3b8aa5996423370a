"""Frozen passes in shards: which are cut, and what is known of a job while its shards are on their way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.planned_jobs import cells_of, planned

from backbench.core.events import Message, Progress, Summary
from backbench.core.job import Job, Trial
from backbench.evaluation.workload import Workload
from backbench.executors.ray import feature_shards
from backbench.executors.ray.feature_shards import ALIGNED, Passes, cuts
from backbench.executors.ray.work_stealing import to_hand_over
from backbench.executors.retry import JobFailure


@pytest.fixture(autouse=True)
def _everything_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_shards, "FEW", 1e-9)


@pytest.fixture(scope="module")
def job() -> Job:
    """All 1,797 digits."""
    (job,) = planned(image_size=32, backbones="MobileNetV2", freeze="all,all-1")
    return replace(job, wanted=cells_of(job))


def work(frozen: float, trained: float) -> Workload:
    return Workload(frozen, 1.0, {"a": trained}, 0, 0)


def test_only_the_pass_of_a_job_that_several_will_do_is_made_first(job: Job) -> None:
    assert cuts(job, 100.0, work=work(30.0, 70.0)) == [], "that is one worker's share"
    assert cuts(job, 100.0, work=work(1.0, 100.0)) == [(0, 1797)], "short, but else all of them would make it"
    assert cuts(job, float("inf"), work=work(1e20, 1e20)) == []


def test_a_long_pass_is_cut_into_small_parts_of_a_share(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ALIGNED == 256
    monkeypatch.setattr(feature_shards, "PARTS", 4)
    # Four shards of 450 images, each up to the next multiple of a call's.
    assert cuts(job, 100.0, work=work(100.0, 1.0)) == [(0, 512), (512, 1024), (1024, 1536), (1536, 1797)]
    assert cuts(job, 100.0, work=work(26.0, 90.0)) == [(0, 1024), (1024, 1797)]
    assert len(cuts(job, 1.0, work=work(1e9, 1.0))) == 8, "no more than there are images for"


def test_a_shard_is_worth_a_process_of_its_own(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_shards, "FEW", 30.0)
    assert len(cuts(job, 1.0, work=work(100.0, 1.0))) == 3
    assert cuts(job, 1.0, work=work(29.0, 1e9)) == []


def test_what_nobody_could_share_is_not_cut(job: Job) -> None:
    asked = {"share": 1.0, "work": work(100.0, 100.0)}
    assert cuts(job, **asked)  # type: ignore[arg-type]
    assert cuts(replace(job, augment="light", views=1), **asked)  # type: ignore[arg-type]
    assert not cuts(replace(job, augment="light", views=2), **asked)  # type: ignore[arg-type]
    assert not cuts(replace(job, pretrained=False), **asked)  # type: ignore[arg-type]
    assert not cuts(replace(job, backbone=None), **asked)  # type: ignore[arg-type]
    assert not cuts(replace(job, trial=Trial(epochs=1)), **asked)  # type: ignore[arg-type]


def test_a_job_begins_when_its_last_shard_is_over(job: Job) -> None:
    book = Passes()
    one, other = book.begin(3, job, [(0, 1024), (1024, 1797)])
    assert (one.job.shard, other.job.shard) == ((0, 1024), (1024, 1797))
    assert to_hand_over(one, math.inf) == (), "nobody takes over what a shard does not do"
    assert book.end(3, other.job, {6: ["x"], 5: ["y"]}) is None
    assert book.blocks(3) == []
    assert book.end(3, one.job, {6: ["z"]}) == job
    assert book.blocks(3) == [{6: ["z"]}, {6: ["x"], 5: ["y"]}], "in the order of the images"
    assert book.blocks(4) == []
    book.forget(3)
    assert book.blocks(3) == []


def test_a_job_whose_shard_broke_makes_the_pass_itself(job: Job) -> None:
    book = Passes()
    one, other = book.begin(3, job, [(0, 1024), (1024, 1797)])
    assert book.tell(3, one, [JobFailure("failed", "killed")]) == []
    assert book.end(3, one.job, {}) is None
    assert book.end(3, other.job, {6: ["x"]}) == job
    assert book.blocks(3) == []
    assert not any(book._blocks.values()), "what others left is let go"


def test_shards_tell_how_far_all_of_the_pass_is(job: Job) -> None:
    book = Passes()
    one, other = book.begin(3, job, [(0, 1024), (1024, 1797)])
    told = [
        *book.tell(
            3, one, [Progress("building", 1, 1), Progress("frozen pass", 0, 1), Progress("frozen pass", 32, 1024)]
        ),
        *book.tell(3, other, [Progress("frozen pass", 773, 773), Message("said"), Summary("x", {}, {})]),
        *book.tell(3, one, [Progress("frozen pass", 64, 1024), Progress("frozen pass", 1, 1)]),
    ]
    assert told == [Progress("frozen pass", done, 1797) for done in (32, 805, 837)]
