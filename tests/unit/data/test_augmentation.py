"""Light augmentation: how far it goes, and views of an image that are the same whenever they are made."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from backbench.data.augmentation import light, view


def corner(size: int = 20) -> NDArray[np.uint8]:
    """One image whose pixels all differ: red tells the column, green the row."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def test_light_shifts_within_a_tenth_of_the_side_and_repeats_the_edge() -> None:
    original = np.repeat(corner()[None], 400, axis=0)
    found = light(original, flips=False, rng=np.random.default_rng(0))
    assert found.dtype == np.uint8
    assert found.shape == original.shape
    shifts = set()
    for image in found.astype(int):
        dx, dy = image[10, 10, 0] - 10, image[10, 10, 1] - 10
        shifts.add((dx, dy))
        steps = np.arange(20)
        np.testing.assert_array_equal(image[..., 0], np.broadcast_to(np.clip(steps + dx, 0, 19), (20, 20)))
        np.testing.assert_array_equal(image[..., 1], np.broadcast_to(np.clip(steps + dy, 0, 19)[:, None], (20, 20)))
    assert shifts == {(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)}


def test_light_shifts_small_images_by_one_pixel_at_most() -> None:
    found = light(np.repeat(corner(4)[None], 200, axis=0), flips=False, rng=np.random.default_rng(0)).astype(int)
    assert {int(image[2, 2, 0]) - 2 for image in found} == {-1, 0, 1}


def test_light_mirrors_half_of_the_images_only_where_that_is_allowed() -> None:
    original = np.repeat(corner()[None], 1000, axis=0)
    found = light(original, flips=True, rng=np.random.default_rng(1)).astype(int)
    falling = found[:, 10, 5, 0] > found[:, 10, 15, 0]
    assert 0.45 < falling.mean() < 0.55
    assert np.all(found[:, 5, 10, 1] < found[:, 15, 10, 1]), "nothing is turned upside down"
    found = light(original, flips=False, rng=np.random.default_rng(1)).astype(int)
    assert np.all(found[:, 10, 5, 0] < found[:, 10, 15, 0])


def test_light_is_decided_by_its_generator_and_leaves_its_input_alone() -> None:
    original = np.repeat(corner()[None], 50, axis=0)
    before = original.copy()
    first, again, other = (light(original, flips=True, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(original, before)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Six images of noise, no two shifts of which are alike."""
    return np.random.default_rng(5).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)


def test_view_0_is_the_image_itself_and_every_other_is_one_draw_of_light_for_that_item(
    images: NDArray[np.uint8],
) -> None:
    items, views = np.array([40, 3, 17, 3, 8, 9]), np.array([0, 1, 2, 2, 0, 5])
    before = images.copy()
    found = view(images, items, views, flips=True)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(images, before)
    for position, (item, number) in enumerate(zip(items, views, strict=True)):
        original = images[position : position + 1]
        drawn = light(original, flips=True, rng=np.random.default_rng((number, item)))
        np.testing.assert_array_equal(found[position : position + 1], original if number == 0 else drawn)


def test_a_view_is_the_same_in_whatever_company_it_is_made(images: NDArray[np.uint8]) -> None:
    items, views = np.arange(6), np.array([1, 2, 3, 1, 2, 3])
    together = view(images, items, views, flips=True)
    np.testing.assert_array_equal(view(images, items, views, flips=True), together)
    order = np.array([4, 1, 5])
    np.testing.assert_array_equal(view(images[order], items[order], views[order], flips=True), together[order])


def test_views_of_an_image_differ_from_each_other_and_from_those_of_other_items() -> None:
    """Over 40 items, so that two equal draws now and then do not matter."""
    same = np.random.default_rng(6).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8).repeat(40, axis=0)
    items = np.arange(40)
    first, second, other = (
        view(same, items + start, np.full(40, number), flips=True) for start, number in ((0, 1), (0, 2), (40, 1))
    )
    for one, another in ((first, second), (first, other), (first, same), (first, first[::-1])):
        differ = (one != another).any(axis=(1, 2, 3))
        assert differ.mean() > 0.75


def test_views_are_mirrored_only_where_that_is_allowed() -> None:
    same = np.repeat(corner()[None], 60, axis=0)
    for flips in (True, False):
        found = view(same, np.arange(60), np.ones(60, np.int64), flips=flips).astype(int)
        mirrored = found[:, 10, 5, 0] > found[:, 10, 15, 0]
        assert bool(mirrored.any()) == flips
        assert not mirrored.all()
