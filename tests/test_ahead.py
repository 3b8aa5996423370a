"""Decoding ahead: the same pixels, in the background, and gone without a trace when it is stopped."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backbench import pixels, planning
from backbench.ahead import Ahead
from backbench.records import Job, Listing, Request


def silent(_what: str, _done: int, _total: int) -> None:
    return None


@pytest.fixture
def planned(cache: Path) -> tuple[Listing, Job]:
    """120 real digits and a job that wants them at 32 px."""
    request = Request(backbones="scratch", limit=40, image_size=32)
    listing = planning.listing_for(request, progress=silent)
    dataset, _ = planning.dataset_for(request, listing, cache=cache, progress=silent)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (job,) = planning.jobs_for(request, dataset, resolved=resolved, cache=cache)
    return listing, job


def test_the_first_other_size_is_decoded_as_it_would_be_later(planned: tuple[Listing, Job], tmp_path: Path) -> None:
    listing, job = planned
    ahead = Ahead(listing)
    ahead.start(job, [job, replace(job, image_size=48), replace(job, image_size=64)])
    ahead.wait(replace(job, image_size=48), silent)
    before = sorted(path.name for path in (job.cache / "pixels").iterdir())
    found, failures = pixels.decode(listing, size=48, resize="stretch", cache=job.cache)
    assert sorted(path.name for path in (job.cache / "pixels").iterdir()) == before  # it was there, and 64 px is not
    assert len([name for name in before if name.endswith(".npy")]) == 2
    fresh, _ = pixels.decode(listing, size=48, resize="stretch", cache=tmp_path / "fresh")
    np.testing.assert_array_equal(found.open(), fresh.open())
    assert failures == {}


def test_nothing_is_decoded_where_all_jobs_have_one_size(planned: tuple[Listing, Job]) -> None:
    listing, job = planned
    before = sorted((job.cache / "pixels").iterdir())
    ahead = Ahead(listing)
    ahead.start(job, [job, job])
    ahead.wait(job, silent)
    assert sorted((job.cache / "pixels").iterdir()) == before


def test_it_pauses_while_something_is_timed(planned: tuple[Listing, Job]) -> None:
    listing, job = planned
    ahead = Ahead(listing)
    ahead.quiet(True)
    ahead.start(job, [replace(job, image_size=48)])
    time.sleep(0.5)
    key = {path.stem for path in (job.cache / "pixels").glob("[!.]*.npy")}
    assert len(key) == 1  # 48 px is not there yet
    ahead.wait(job, silent)  # whose pixels are there: no need to go on
    assert len({path.stem for path in (job.cache / "pixels").glob("[!.]*.npy")}) == 1
    ahead.wait(replace(job, image_size=48), silent)
    assert len({path.stem for path in (job.cache / "pixels").glob("[!.]*.npy")}) == 2


def test_closing_stops_it_and_leaves_nothing_half_done(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, job = planned
    begun = threading.Event()
    real = pixels.load_square

    def slow(encoded: bytes, size: int, resize: str) -> np.ndarray:
        begun.set()
        time.sleep(0.05)
        return real(encoded, size, resize)

    monkeypatch.setattr(pixels, "load_square", slow)
    before = sorted((job.cache / "pixels").iterdir())
    ahead = Ahead(listing)
    ahead.start(job, [replace(job, image_size=48)])
    assert begun.wait(10)
    ahead.close()
    assert sorted((job.cache / "pixels").iterdir()) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding"]


def test_what_cannot_be_decoded_now_is_left_for_whoever_needs_it(
    planned: tuple[Listing, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, job = planned
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    ahead = Ahead(listing)
    ahead.start(job, [replace(job, image_size=48)])
    ahead.wait(replace(job, image_size=48), silent)  # and no traceback of a thread
    monkeypatch.undo()
    assert planning.with_pixels(replace(job, image_size=48), listing, progress=silent).images().shape[1] == 48
