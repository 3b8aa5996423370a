"""Thumbnails in a results folder: small, found again by any id, and only those that are wanted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbench.results import store, thumbnails
from backbench.results.run_record import parse

NOISE = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def photo(size: int) -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return np.asarray(Image.fromarray(load_sample_images().images[0]).resize((size, size)))


@pytest.mark.parametrize(("size", "expected"), [(32, 32), (96, 96), (224, 96)])
def test_a_photo_becomes_a_small_jpeg_of_itself(size: int, expected: int) -> None:
    jpeg = thumbnails.encode(photo(size))
    assert len(jpeg) <= 4000
    found = decoded(jpeg)
    assert found.shape == (expected, expected, 3)
    reference = np.asarray(Image.fromarray(photo(size)).resize((expected, expected), Image.Resampling.LANCZOS))
    assert np.abs(found.astype(float) - reference).mean() < 10


def test_whatever_the_image_the_bytes_are_bounded() -> None:
    assert len(thumbnails.encode(NOISE)) <= thumbnails.MOST_BYTES
    assert len(thumbnails.encode(NOISE[:96, :96])) <= thumbnails.MOST_BYTES


def test_only_what_is_wanted_stays_and_ids_are_no_paths(tmp_path: Path) -> None:
    red, blue = (np.full((32, 32, 3), colour, dtype=np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    hostile = "../../escape/<script>\N{SNOWMAN}.jpg" + "x" * 300
    thumbnails.keep(tmp_path, {"a": red, hostile: blue})
    found = thumbnails.read(tmp_path, [hostile, "a", "never seen"])
    assert list(found) == [hostile, "a"]
    assert np.abs(decoded(found[hostile])[0, 0].astype(int) - [0, 0, 200]).max() < 8
    assert all(path.parent == tmp_path / "thumbnails" for path in tmp_path.rglob("*.jpg"))
    thumbnails.keep(tmp_path, {hostile: red})
    assert list(thumbnails.read(tmp_path, [hostile, "a"])) == [hostile]
    assert np.abs(decoded(thumbnails.read(tmp_path, [hostile])[hostile])[0, 0].astype(int) - [200, 0, 0]).max() < 8
    thumbnails.keep(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_starting_over_removes_them(tmp_path: Path) -> None:
    store.write_run(tmp_path, parse({}))
    thumbnails.keep(tmp_path, {"a": NOISE})
    (tmp_path / "thumbnails" / "mine.png").write_bytes(b"")
    store.clear(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["thumbnails", "mine.png"]
