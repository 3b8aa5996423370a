"""How many images fit, by hand."""

from __future__ import annotations

import keras
import pytest

from backbench.features.engines.batch_size import ALIVE, SHARE, batch_for, largest_tensor


@pytest.fixture(scope="module")
def nested() -> keras.Model:
    """A network in a network: its largest tensor of one image has 8 x 8 x 16 values of four bytes, 4,096 in all."""
    inner = keras.Input((8, 8, 3))
    wide = keras.layers.Conv2D(16, 3, padding="same")(inner)
    body = keras.Model(inner, keras.layers.Conv2D(4, 3, strides=2, padding="same")(wide))
    images = keras.Input((8, 8, 3))
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(body(images)))


def test_the_largest_tensor_is_found_wherever_it_is(nested: keras.Model) -> None:
    assert largest_tensor(nested) == 4096


@pytest.mark.parametrize(("images", "batch"), [(1000, 32), (32, 32), (31.9, 16), (10, 8), (1.5, 1), (0.1, 1)])
def test_a_batch_is_halved_until_it_fits(nested: keras.Model, images: float, batch: int) -> None:
    assert batch_for(nested, most=32, free=images * ALIVE * 4096 / SHARE) == batch


def test_without_knowing_what_is_free_it_is_what_is_usual(nested: keras.Model) -> None:
    assert batch_for(nested, most=32, free=None) == 32
