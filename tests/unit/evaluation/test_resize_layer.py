"""The resize in the graph against Pillow's, on real photos of many sizes."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from backbench.data import decoding
from backbench.evaluation.resize_layer import resized

# Width and height: larger and smaller than the result, much and hardly, along one side or both; odd and even.
SIZES = ((640, 427), (427, 640), (224, 299), (97, 640), (640, 31), (48, 48), (49, 47), (20, 30), (1, 5), (1500, 1100))


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Two real photos, one after the other at each of the sizes."""
    china, flower = (Image.fromarray(image) for image in load_sample_images().images)
    return [(china, flower)[number % 2].resize(size, Image.Resampling.LANCZOS) for number, size in enumerate(SIZES)]


def in_graph(size: int, resize: str) -> keras.Model:
    images = keras.Input((None, None, 3), dtype="uint8")
    return keras.Model(images, resized(images, size=size, resize=resize))


def along_the_width_first(photo: Image.Image, size: int, resize: str) -> NDArray[np.uint8]:
    """As Pillow does it unless, from version 13 on, an image loses more than twice as much height as width."""
    width, height = photo.size
    side = min(photo.size)
    left, top = ((width - side) / 2, (height - side) / 2) if resize == "crop" else (0, 0)
    narrow = photo.resize((size, height), Image.Resampling.BILINEAR, box=(left, 0, width - left, height))
    return np.asarray(narrow.resize((size, size), Image.Resampling.BILINEAR, box=(0, top, size, height - top)))


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("size", [48, 99])
def test_it_is_pillows_to_the_bit(photos: list[Image.Image], size: int, resize: str) -> None:
    model = in_graph(size, resize)
    for photo in photos:
        (found,) = np.asarray(model(np.asarray(photo)[None]))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, along_the_width_first(photo, size, resize))


@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_the_pipeline_gives_the_same_but_for_one_level_where_it_goes_down_first(
    photos: list[Image.Image], resize: str
) -> None:
    model = in_graph(48, resize)
    same = 0
    for photo in photos:
        encoded = io.BytesIO()
        photo.save(encoded, "PNG")
        (found,) = np.asarray(model(np.asarray(photo)[None])).astype(int)
        expected = decoding.load_square(encoded.getvalue(), 48, resize)
        assert np.abs(found - expected).max() <= 1
        assert np.mean(found != expected) < 0.3
        same += np.array_equal(found, expected)
    assert same >= 6


def test_a_square_of_the_right_size_passes_unchanged(photos: list[Image.Image]) -> None:
    for resize in ("stretch", "crop"):
        images = np.stack([np.asarray(photo.resize((48, 48))) for photo in photos])
        np.testing.assert_array_equal(in_graph(48, resize)(images), images)


def test_by_hand() -> None:
    """Three pixels to two: centres at 0.75 and 2.25, triangles of 1.5 pixels to each side; and the middle one alone."""
    line = np.array([10, 40, 250], np.uint8)[None, None, :, None].repeat(3, axis=3)
    weights = np.array([[5 / 6, 1 / 2, 0], [0, 1 / 2, 5 / 6]])
    expected = np.floor(weights @ [10, 40, 250] / weights.sum(axis=1) + 0.5)
    assert expected.tolist() == [21, 171]
    found = np.asarray(in_graph(2, "stretch")(line.repeat(3, axis=1)))[0, :, :, 0]
    np.testing.assert_array_equal(found, [expected, expected])
    assert np.asarray(in_graph(1, "crop")(line))[0, 0, 0].tolist() == [40, 40, 40]


def test_it_is_made_of_what_keras_alone_can_load(photos: list[Image.Image], tmp_path: Path) -> None:
    model = in_graph(48, "crop")
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
    image = np.asarray(photos[0])[None]
    np.testing.assert_array_equal(loaded.predict_on_batch(image), model.predict_on_batch(image))
    assert loaded.get_layer("crop").output.shape == (None, 48, 48, 3)
    assert all(type(operation).__module__.startswith("keras.") for operation in loaded.operations)
