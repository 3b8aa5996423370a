"""The frozen pass on real scans: computed once, kept, and never believed when damaged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from backbench import activations
from backbench.activations import batches
from backbench.backbones import graph, parse_backbones
from backbench.engines import keras_engine

KEY = {"backbone": "MobileNetV2:alpha=0.35", "weights": "random 0", "image_size": 32}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A real backbone with random weights, raw pixels to features."""
    (backbone,) = parse_backbones("MobileNetV2:alpha=0.35")
    assert backbone is not None
    keras.utils.set_random_seed(0)
    return graph.features_model(backbone, image_size=32, weights=None, cache=Path())


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """70 real scans in colour, each point four pixels wide: two whole batches and a smaller one."""
    scans = load_digits().images[:70].astype(np.uint8) * 15
    return np.repeat(np.repeat(scans, 4, axis=1), 4, axis=2)[..., None].repeat(3, axis=3)


@pytest.fixture
def images_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through the network."""
    seen: list[int] = []
    forward = keras_engine.forward

    def counted(model: keras.Model, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        def told() -> Iterator[NDArray[Any]]:
            for batch in batches:
                seen.append(len(batch))
                yield batch

        return forward(model, told())

    monkeypatch.setattr(keras_engine, "forward", counted)
    return seen


@pytest.fixture
def rows() -> NDArray[np.int64]:
    return np.arange(70)


def frozen_pass(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], **options: Any
) -> NDArray[np.float32]:
    """The features alone, without the seconds that they took."""
    return activations.frozen_pass(model, pixels, rows, **options)[0]


def files(cache: Path) -> tuple[Path, Path]:
    """The features and the note beside them; there is one of each, and no temporary file."""
    first, second = sorted((cache / "features").iterdir())
    assert (first.suffix, second.suffix) == (".json", ".npy")
    return second, first


def same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Equal but for rounding; a random network's features are tiny, so it is the largest that sets the scale."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_features_are_those_of_the_whole_batch_at_once(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    found = frozen_pass(
        model, pixels, rows, key=KEY, cache=tmp_path, progress=lambda done, total: told.append((done, total))
    )
    assert found.dtype == np.float32
    expected = np.asarray(model(pixels, training=False))
    assert np.ptp(expected, axis=0).max() > 0.1 * expected.max(), "the features tell the images apart"
    same(found, expected)
    assert told == [(32, 70), (64, 70), (70, 70)]


def test_rows_choose_the_images_and_their_order(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    chosen = np.array([69, 3, 40])
    whole = frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path / "a")
    found = frozen_pass(model, pixels, chosen, key=KEY, cache=tmp_path / "b")
    same(found, whole[chosen])


@pytest.mark.parametrize("size", [1, 7, 70, 100])
def test_the_batch_size_does_not_change_features(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    expected = np.concatenate(list(keras_engine.forward(model, batches(pixels, rows))))
    monkeypatch.setattr(activations, "batches", lambda pixels, rows: batches(pixels, rows, size=size))
    found = frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    same(found, expected)


def test_batches_are_whole_but_the_last_one(pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
    parts = list(batches(pixels, rows[::-1], size=32))
    assert [len(part) for part in parts] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(parts), pixels[::-1])
    assert list(batches(pixels, rows[:0])) == []


def test_a_smaller_last_batch_is_padded_for_the_network_and_cut_again(pixels: NDArray[np.uint8]) -> None:
    class Recording:
        def __init__(self) -> None:
            self.shapes: list[int] = []

        def predict_on_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
            self.shapes.append(len(images))
            return images.reshape(len(images), -1).mean(axis=1, keepdims=True)

    recording = Recording()
    found = list(keras_engine.forward(recording, [pixels[:4], pixels[4:8], pixels[8:9]]))
    assert recording.shapes == [4, 4, 4], "one compiled graph serves all batches"
    assert [len(part) for part in found] == [4, 4, 1]
    np.testing.assert_allclose(np.concatenate(found)[:, 0], pixels[:9].mean(axis=(1, 2, 3)), rtol=1e-6)


def test_features_are_computed_once_per_key(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path, images_seen: list[int]
) -> None:
    first = np.array(frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path))
    assert images_seen == [32, 32, 6]
    images_seen.clear()
    again = frozen_pass(model, pixels, rows, key=dict(reversed(KEY.items())), cache=tmp_path)
    assert images_seen == []
    assert isinstance(again, np.memmap)
    assert again.tobytes() == first.tobytes()


def test_features_from_the_cache_come_with_the_seconds_that_they_took_once(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    def slowly(done: int, total: int) -> None:
        time.sleep(0.05)

    _, took = activations.frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path, progress=slowly)
    assert 0.15 <= took < 60
    _, again = activations.frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path, progress=slowly)
    assert again == took


@pytest.mark.parametrize("changed", [*KEY, "something new"])
def test_any_change_of_the_key_computes_them_again(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    tmp_path: Path,
    images_seen: list[int],
    changed: str,
) -> None:
    frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    images_seen.clear()
    frozen_pass(model, pixels, rows, key=KEY | {changed: "other"}, cache=tmp_path)
    assert sum(images_seen) == 70
    images_seen.clear()
    frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert images_seen == [], "the first ones are still there"


@pytest.mark.parametrize(
    "damage", ["bit flipped", "half of it", "empty", "header only", "no note", "torn note", "empty note", "other note"]
)
def test_damaged_files_are_not_used(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    tmp_path: Path,
    images_seen: list[int],
    damage: str,
) -> None:
    expected = np.array(frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path))
    images_seen.clear()
    features, note = files(tmp_path)
    content = bytearray(features.read_bytes())
    if damage == "bit flipped":
        content[-1000] ^= 1
        features.write_bytes(content)
    elif damage == "half of it":
        features.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        features.write_bytes(b"")
    elif damage == "header only":
        features.write_bytes(content[:128])
    elif damage == "no note":
        note.unlink()
    elif damage == "torn note":
        note.write_text(note.read_text()[:20])
    elif damage == "empty note":
        note.write_text("{}")
    else:
        note.write_text(json.dumps({"sha256": "0" * 64}))
    found = frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert sum(images_seen) == 70
    assert found.tobytes() == expected.tobytes()
    images_seen.clear()
    frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert images_seen == [], "the repaired ones are used"


def test_features_of_another_number_of_items_are_not_used(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert len(frozen_pass(model, pixels, rows[:5], key=KEY, cache=tmp_path)) == 5


def test_a_pass_that_is_cut_off_leaves_nothing_behind(
    model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done > 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path, progress=stop)
    assert list((tmp_path / "features").iterdir()) == []
