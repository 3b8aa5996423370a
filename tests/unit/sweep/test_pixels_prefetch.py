"""Decoding ahead: the same pixels, in the background, and gone without a trace when it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.data import decoding
from backbench.sweep import pixels_prefetch as ahead_of_time
from backbench.sweep import plan
from backbench.sweep.pixels_prefetch import PixelsPrefetcher


def silent(_what: str, _done: int, _total: int) -> None:
    return None


def finish(making: Generator[None, None, Job]) -> Job:
    """What it returns, once it does."""
    while True:
        try:
            next(making)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        time.sleep(0.01)


def sizes(job: Job) -> int:
    return len(list((job.resources.cache / "pixels").glob("[!.]*.npy")))


@pytest.fixture
def planned(cache: Path) -> tuple[Listing, Job]:
    """120 real digits and a job that wants them at 32 px."""
    request = Request(backbones="scratch", limit=40, image_size=32)
    listing = plan.listing_for(request, progress=silent)
    dataset, _ = plan.dataset_for(request, listing, cache=cache, progress=silent)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (job,) = plan.jobs_for(request, dataset, resolved=resolved, cache=cache)
    return listing, job


def test_the_first_other_size_is_decoded_as_it_would_be_later(planned: tuple[Listing, Job], tmp_path: Path) -> None:
    listing, job = planned
    ahead = PixelsPrefetcher(listing)
    ahead.start(job, [job, job.with_spec(image_size=48), job.with_spec(image_size=64)])
    found = finish(ahead.decoded(job.with_spec(image_size=48), silent))
    assert sizes(job) == 2  # and 64 px is not there
    fresh, failures = decoding.decode(listing, size=48, resize="stretch", cache=tmp_path / "fresh")
    np.testing.assert_array_equal(found.resources.images(), fresh.open())
    assert failures == {}


def test_nothing_is_decoded_where_all_jobs_have_one_size(planned: tuple[Listing, Job]) -> None:
    listing, job = planned
    ahead = PixelsPrefetcher(listing)
    ahead.start(job, [job, job])
    finish(ahead.decoded(job, silent))
    assert sizes(job) == 1


def test_it_pauses_while_something_is_timed_unless_somebody_waits_for_it(planned: tuple[Listing, Job]) -> None:
    listing, job = planned
    ahead = PixelsPrefetcher(listing)
    ahead.quiet(True)
    ahead.start(job, [job.with_spec(image_size=48)])
    time.sleep(0.5)
    assert sizes(job) == 1
    finish(ahead.decoded(job, silent))  # whose pixels are there: no need for the others to go on
    assert sizes(job) == 1
    assert finish(ahead.decoded(job.with_spec(image_size=48), silent)).resources.images().shape[1] == 48


def test_who_needs_another_size_than_the_one_in_the_making_need_not_wait_for_that(planned: tuple[Listing, Job]) -> None:
    listing, job = planned
    ahead = PixelsPrefetcher(listing)
    ahead.quiet(True)
    ahead.start(job, [job.with_spec(image_size=48)])
    assert finish(ahead.decoded(job.with_spec(image_size=64), silent)).resources.images().shape[1] == 64
    assert sizes(job) == 2
    ahead.close()


def test_who_waits_can_do_other_things_meanwhile_and_knows_how_far_it_is(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, job = planned
    real, may_go = decoding.load_square, threading.Event()

    def slow(encoded: bytes, size: int, resize: str) -> np.ndarray:
        assert may_go.wait(60)
        return real(encoded, size, resize)

    monkeypatch.setattr(decoding, "load_square", slow)
    told: list[tuple[str, int, int]] = []
    making = PixelsPrefetcher(listing).decoded(job.with_spec(image_size=48), lambda *said: told.append(said))
    next(making)
    next(making)
    assert told == [("decoding", 0, 0)] * 2
    may_go.set()
    assert finish(making).resources.images().shape[1] == 48


def test_closing_stops_it_and_leaves_nothing_half_done(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, job = planned
    begun = threading.Event()
    real = decoding.load_square

    def slow(encoded: bytes, size: int, resize: str) -> np.ndarray:
        begun.set()
        time.sleep(0.05)
        return real(encoded, size, resize)

    monkeypatch.setattr(decoding, "load_square", slow)
    before = sorted((job.resources.cache / "pixels").iterdir())
    ahead = PixelsPrefetcher(listing)
    ahead.start(job, [job.with_spec(image_size=48)])
    assert begun.wait(10)
    ahead.close()
    assert sorted((job.resources.cache / "pixels").iterdir()) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding"]


def test_what_cannot_be_decoded_ahead_of_time_is_tried_again_when_it_is_needed(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, job = planned
    monkeypatch.setattr(ahead_of_time, "MARGIN", -1_000_000)
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    ahead = PixelsPrefetcher(listing)
    ahead.start(job, [job.with_spec(image_size=48)])
    ahead._works[48].thread.join()  # and no traceback of a thread
    with pytest.raises(RequestError, match="no disk space for 120 images at 48 px"):
        finish(ahead.decoded(job.with_spec(image_size=48), silent))
    monkeypatch.undo()
    assert finish(ahead.decoded(job.with_spec(image_size=48), silent)).resources.images().shape[1] == 48


@pytest.mark.parametrize(("free", "begun"), [(2_000_000_000 + 120 * 48 * 48 * 3, True), (2_000_000_000, False)])
def test_what_nobody_needs_yet_leaves_room_on_the_disk(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch, free: int, begun: bool
) -> None:
    listing, job = planned
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})())
    ahead = PixelsPrefetcher(listing)
    ahead.start(job, [job.with_spec(image_size=48)])
    assert (48 in ahead._works) == begun
    assert finish(ahead.decoded(job.with_spec(image_size=48), silent)).resources.images().shape[1] == 48
