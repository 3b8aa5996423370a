"""Operations counted by hand on small graphs, and as published on two well-known networks."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from backbench.backbones import scratch_cnn
from backbench.backbones.flops import flops


def of(layer: keras.Layer, *shape: int) -> int:
    images = keras.Input(shape)
    return flops(keras.Model(images, layer(images)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # Output positions x kernel area x inputs x outputs, and twice that, on 8 x 8 x 3.
        (layers.Conv2D(5, 3, padding="same"), 2 * 64 * 9 * 3 * 5),
        (layers.Conv2D(5, 3, padding="valid"), 2 * 36 * 9 * 3 * 5),
        (layers.Conv2D(5, 3, strides=2, padding="same"), 2 * 16 * 9 * 3 * 5),
        (layers.Conv2D(5, (1, 3), padding="same", use_bias=False), 2 * 64 * 3 * 3 * 5),
        (layers.Conv2D(6, 3, padding="same", groups=3), 2 * 64 * 9 * 1 * 6),
        (layers.Conv2D(5, 3, dilation_rate=2, padding="same"), 2 * 64 * 9 * 3 * 5),
        (layers.DepthwiseConv2D(3, padding="same"), 2 * 64 * 9 * 3),
        (layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2), 2 * 16 * 9 * 3 * 2),
        (layers.SeparableConv2D(5, 3, padding="same"), 2 * 64 * (9 * 3 + 3 * 5)),
        (layers.Dense(7), 2 * 64 * 3 * 7),
        (layers.BatchNormalization(), 0),
        (layers.MaxPooling2D(), 0),
        (layers.ReLU(), 0),
    ],
)
def test_one_layer(layer: keras.Layer, expected: int) -> None:
    assert of(layer, 8, 8, 3) == expected


def test_a_dense_layer_on_a_vector() -> None:
    assert of(layers.Dense(10), 1280) == 2 * 1280 * 10


def test_nested_models_are_followed() -> None:
    inside = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same")])
    images = keras.Input((8, 8, 3))
    features = layers.GlobalAveragePooling2D()(inside(images))
    assert flops(keras.Model(images, layers.Dense(2)(features))) == 2 * 64 * 9 * 3 * 4 + 2 * 4 * 2


def test_the_hand_made_network_layer_by_layer() -> None:
    # 32 px: convolutions on 32 x 32 (3 to 16) and 16 x 16 (16 to 32); 8 x 8 x 32 to 256 to 10.
    expected = 2 * (1024 * 9 * 3 * 16 + 256 * 9 * 16 * 32 + 64 * 32 * 256 + 256 * 10)
    assert flops(scratch_cnn.build(image_size=32, classes=10)) == expected


@pytest.mark.parametrize(
    ("name", "billions", "tolerance"),
    [
        ("MobileNetV2", 0.6, 0.03),  # Sandler et al. 2018, table 4: 300 M multiply-adds
        ("VGG16", 30.7, 0.01),  # 15.35 G multiply-adds in the thirteen convolutions
    ],
)
def test_published_networks_at_224(name: str, billions: float, tolerance: float) -> None:
    build = getattr(keras.applications, name)
    model = build(include_top=False, weights=None, input_shape=(224, 224, 3))
    assert flops(model) == pytest.approx(billions * 1e9, rel=tolerance)
