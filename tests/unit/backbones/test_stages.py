"""Stages counted by hand on small graphs, and real backbones cut in two that compute what they did in one piece."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support.cut_models import Cut, check_values, check_variables, cut

from backbench.backbones import stages
from backbench.backbones.flops import flops
from backbench.backbones.registry import BACKBONES, BY_NAME, SCRATCH_CNN, STAGES_FILE
from backbench.core.backbone import Backbone, Stage


def conv(filters: int, kernel: int, name: str, *, strides: int = 1, bias: bool = True) -> keras.Layer:
    return layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=bias, name=name)


def chain(side: int, *steps: keras.Layer) -> keras.Model:
    """Layers one after the other, on a colour image."""
    images = tensor = keras.Input((side, side, 3))
    for step in steps:
        tensor = step(tensor)
    return keras.Model(images, tensor)


def end(model: keras.Model, stride: int) -> stages.Boundary:
    (boundary,) = stages.boundaries(model, [stride])
    return boundary


def inside(boundary: stages.Boundary) -> set[str]:
    """What the frozen part consists of, without the input."""
    return {op.name for op in boundary.inside if not isinstance(op, layers.InputLayer)}


def residual_block() -> keras.Model:
    images = keras.Input((8, 8, 3))
    stem = conv(4, 3, "stem")(images)
    branch = layers.ReLU(name="relu")(conv(4, 3, "branch")(stem))
    block = layers.Add(name="add")([stem, branch])
    halved = [conv(8, 3, "down", strides=2)(block), conv(8, 1, "shortcut", strides=2)(block)]
    return keras.Model(images, layers.Add(name="out")(halved))


def cells_that_read_the_two_before() -> keras.Model:
    """As in NASNet: from the second cell on, no single tensor is enough to go on."""
    images = keras.Input((8, 8, 3))
    stem = conv(4, 3, "stem")(images)
    first = layers.Add(name="first")([conv(4, 3, "a1", strides=2)(stem), conv(4, 3, "b1", strides=2)(stem)])
    adjusted = conv(4, 1, "adjusted", strides=2)(stem)
    second = layers.Add(name="second")([conv(4, 3, "a2")(first), conv(4, 1, "b2")(adjusted)])
    third = layers.Add(name="third")([conv(8, 3, "a3", strides=2)(second), conv(8, 1, "b3", strides=2)(first)])
    return keras.Model(images, third)


def test_a_residual_block_ends_at_its_sum_before_the_convolution_that_halves() -> None:
    model = residual_block()
    boundary = end(model, 1)
    assert (boundary.stride, boundary.name) == (1, "add")
    assert boundary.tensors == (model.get_layer("add").output,)
    assert inside(boundary) == {"stem", "branch", "relu", "add"}
    # Parameters with biases; twice the positions (64, then 16) times the kernels: (27 + 36) x 4, then (36 + 4) x 8.
    assert stages.find_stages(model) == (
        Stage("add", 1, ((8, 8, 4),), params=112 + 148, flops=2 * 64 * (27 + 36) * 4),
        Stage("out", 2, ((4, 4, 8),), params=296 + 40, flops=2 * 16 * (36 + 4) * 8),
    )


def test_an_activation_beside_the_shortcut_is_left_to_the_rest() -> None:
    """As in ResNetV2: after it, both it and the sum would have to be kept."""
    images = keras.Input((8, 8, 3))
    stem = conv(4, 3, "stem")(images)
    block = layers.Add(name="add")([stem, conv(4, 3, "branch")(stem)])
    active = layers.ReLU(name="active")(block)
    halved = [conv(4, 3, "down", strides=2)(active), layers.MaxPooling2D(1, 2, name="shortcut")(block)]
    assert end(keras.Model(images, layers.Add(name="out")(halved)), 1).name == "add"


@pytest.mark.parametrize(
    ("channels", "name"),
    [
        (24, "stem_bn"),  # six times as wide
        (12, "stem_bn"),  # three times is just enough
        (11, "wide_relu"),
        (8, "wide_relu"),  # twice
    ],
)
def test_an_inverted_bottleneck_stays_whole(channels: int, name: str) -> None:
    model = chain(
        8,
        conv(4, 3, "stem"),
        layers.BatchNormalization(name="stem_bn"),
        conv(channels, 1, "widened"),
        layers.BatchNormalization(name="wide_bn"),
        layers.ReLU(6, name="wide_relu"),
        layers.DepthwiseConv2D(3, strides=2, padding="same", name="halved"),
        conv(8, 1, "projected"),
    )
    assert end(model, 1).name == name


def test_what_was_widened_two_convolutions_ago_stays_wide() -> None:
    """The boundary of VGG is not the image, which is the leanest tensor of all."""
    assert end(chain(8, conv(16, 3, "a"), conv(16, 3, "b"), conv(16, 3, "c", strides=2)), 1).name == "b"


def test_padding_for_the_convolution_that_halves_is_left_to_the_rest() -> None:
    model = chain(
        8,
        conv(4, 3, "stem"),
        layers.ReLU(name="relu"),
        layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
        layers.Conv2D(8, 3, strides=2, name="down"),
        layers.ReLU(name="out"),
    )
    boundary = end(model, 1)
    assert boundary.name == "relu"
    assert inside(boundary) == {"stem", "relu"}
    assert [stage.name for stage in stages.find_stages(model)] == ["relu", "out"]


def test_two_tensors_cross_where_cells_read_the_two_before_them() -> None:
    model = cells_that_read_the_two_before()
    boundary = end(model, 2)
    assert boundary.name == "second"
    assert boundary.tensors == (model.get_layer("first").output, model.get_layer("second").output)
    assert inside(boundary) == {"stem", "a1", "b1", "first", "adjusted", "a2", "b2", "second"}
    assert stages.find_stages(model) == (
        Stage("stem", 1, ((8, 8, 4),), params=112, flops=2 * 64 * 27 * 4),
        # Two 3 x 3 and a 1 x 1, then one of each.
        Stage("second", 2, ((4, 4, 4), (4, 4, 4)), params=3 * 148 + 2 * 20, flops=2 * 16 * (3 * 36 + 2 * 4) * 4),
        Stage("third", 4, ((2, 2, 8),), params=296 + 40, flops=2 * 4 * (36 + 4) * 8),
    )


@pytest.mark.parametrize(("channels", "name"), [(15, "first"), (14, "second")])
def test_a_channel_weighs_as_much_as_the_positions_that_it_has(channels: int, name: str) -> None:
    """Values per pixel of the image: 1 + 2/4 for the stem and `first`, 2/4 + (channels + 1)/4 for it and `second`."""
    images = keras.Input((8, 8, 3))
    stem = conv(1, 3, "stem")(images)
    first = conv(2, 3, "first", strides=2)(stem)
    second = layers.Concatenate(name="second")([conv(channels, 3, "wide")(first), layers.MaxPooling2D(2)(stem)])
    third = layers.Add(name="third")([conv(8, 3, "a", strides=2)(second), conv(8, 1, "b", strides=2)(first)])
    assert end(keras.Model(images, third), 2).name == name


def test_a_model_inside_the_model_halves_as_its_layers_do() -> None:
    down = keras.Sequential([layers.LayerNormalization(), layers.Conv2D(8, 2, strides=2)], name="down")
    model = chain(8, conv(4, 3, "stem"), down, conv(8, 1, "out"))
    assert stages.find_stages(model) == (
        Stage("stem", 1, ((8, 8, 4),), params=112, flops=2 * 64 * 27 * 4),
        Stage("out", 2, ((4, 4, 8),), params=8 + 136 + 72, flops=2 * 16 * (16 * 8 + 8 * 8)),
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            # 4 of 4,804 parameters and 384 of 97,152 operations.
            lambda: chain(
                8, conv(1, 1, "a"), conv(16, 3, "b1", strides=2), conv(16, 3, "b2"), conv(16, 3, "c", strides=2)
            ),
            [("b2", 2, (4, 4, 16), 4 + 160 + 2320, 384 + 4608 + 73_728), ("c", 4, (2, 2, 16), 2320, 18_432)],
            id="a small first one into the next",
        ),
        pytest.param(
            lambda: chain(16, conv(4, 3, "a"), layers.AveragePooling2D(2, name="b"), conv(8, 3, "c", strides=2)),
            [("a", 1, (16, 16, 4), 112, 55_296), ("c", 4, (4, 4, 8), 296, 9216)],
            id="a small middle one into the next",
        ),
        pytest.param(
            lambda: chain(8, conv(4, 3, "a"), conv(8, 3, "b", strides=2), layers.MaxPooling2D(name="pool")),
            [("a", 1, (8, 8, 4), 112, 13_824), ("pool", 4, (2, 2, 8), 296, 9216)],
            id="a last one without parameters into the one before",
        ),
        pytest.param(
            # 28 of 3,260 parameters are too few, 13,824 of 116,224 operations are not.
            lambda: chain(16, conv(1, 3, "a"), conv(32, 1, "b", strides=2), conv(96, 1, "c", strides=2)),
            [
                ("a", 1, (16, 16, 1), 28, 13_824),
                ("b", 2, (8, 8, 32), 64, 4096),
                ("c", 4, (4, 4, 96), 3168, 98_304),
            ],
            id="few parameters but many operations stay",
        ),
        pytest.param(
            # 512 of 111,104 operations are too few, 72 of 296 parameters are not.
            lambda: chain(16, conv(8, 3, "a"), conv(8, 1, "b", strides=8)),
            [("a", 1, (16, 16, 8), 224, 110_592), ("b", 8, (2, 2, 8), 72, 512)],
            id="few operations but many parameters stay",
        ),
        pytest.param(
            # 99 of 13,411 parameters; 13,824 and 9,216 of 350,720 operations: 3.9 % and 2.6 %, together 6.6 %.
            lambda: chain(
                16,
                conv(1, 3, "a", bias=False),
                conv(8, 3, "b", strides=2, bias=False),
                conv(128, 3, "c", strides=2, bias=False),
                conv(32, 1, "d", strides=2, bias=False),
            ),
            [
                ("b", 2, (8, 8, 8), 27 + 72, 13_824 + 9216),
                ("c", 4, (4, 4, 128), 9216, 294_912),
                ("d", 8, (2, 2, 32), 4096, 32_768),
            ],
            id="two small ones are together enough",
        ),
        pytest.param(
            lambda: chain(8, conv(4, 3, "a"), conv(4, 3, "b")),
            [("b", 1, (8, 8, 4), 112 + 148, 13_824 + 18_432)],
            id="nothing halves",
        ),
    ],
)
def test_small_stages_are_merged(model: Any, expected: Sequence[tuple[Any, ...]]) -> None:
    built = model()
    found = stages.find_stages(built)
    assert [(s.name, s.stride, *s.shapes, s.params, s.flops) for s in found] == expected
    assert sum(stage.params for stage in found) == built.count_params()
    assert sum(stage.flops for stage in found) == flops(built)


def named(name: str) -> Backbone:
    return next(backbone for backbone in BACKBONES if backbone.name == name)


NASNET = ("NASNetMobile", 32)


def told(param: tuple[str, int]) -> str:
    return f"{param[0]} at {param[1]} px"


@pytest.fixture(
    scope="module", params=[("MobileNetV2:alpha=0.35", 64), ("MobileNetV2:alpha=0.35", 96), NASNET], ids=told
)
def real(request: pytest.FixtureRequest) -> Cut:
    name, size = request.param
    return cut(named(name), size, images=4)


def test_prefix_then_rest_is_the_whole(real: Cut) -> None:
    check_values(real)


def test_rest_shares_the_variables_that_are_not_frozen(real: Cut) -> None:
    check_variables(real)


def test_boundaries_at_another_size_are_those_of_the_table(real: Cut) -> None:
    rows = real.backbone.stages[:-1]
    assert [(found.name, found.stride) for found in real.boundaries] == [(row.name, row.stride) for row in rows]
    for found, row in zip(real.boundaries, rows, strict=True):
        assert [tensor.shape[-1] for tensor in found.tensors] == [shape[-1] for shape in row.shapes]


def test_stages_at_another_size_share_out_all_parameters_and_operations(real: Cut) -> None:
    found, rows = stages.find_stages(real.base), real.backbone.stages
    assert [stage.params for stage in found] == [row.params for row in rows]
    assert sum(stage.flops for stage in found) == flops(real.base)


@pytest.mark.parametrize("real", [NASNET], ids=told, indirect=True)
def test_each_of_the_tensors_that_cross_counts(real: Cut) -> None:
    """Two tensors of one shape: the rest computes something else when they change places."""
    for after, tensors in zip(real.rests, real.tensors, strict=True):
        assert len(tensors) == 2
        changed = np.asarray(after(tensors[::-1], training=False))
        assert np.abs(changed - real.output).max() > 0.05 * np.abs(real.output).max()


def test_what_is_trained_in_the_rest_is_trained_in_the_whole() -> None:
    model = residual_block()
    images = np.ones((1, 8, 8, 3), dtype=np.float32)
    before = np.asarray(model(images))
    after = stages.rest(model, end(model, 1))
    (weight,) = [weight for weight in after.weights if weight is model.get_layer("shortcut").bias]
    weight.assign(np.full(8, 2.0))
    np.testing.assert_allclose(np.asarray(model(images)), before + 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.name)
def test_the_table_has_the_stages_of_every_backbone(backbone: Backbone) -> None:
    rows = backbone.stages
    assert 3 <= len(rows) <= 6
    assert sum(row.params for row in rows) == backbone.params
    strides = [row.stride for row in rows]
    assert strides == sorted(set(strides))
    assert strides[-1] == 32
    assert all(row.params >= 0 and row.flops > 0 and row.shapes for row in rows)
    expected = 1 if backbone.family != "nasnet" else 2
    assert [len(row.shapes) for row in rows] == [*[expected] * (len(rows) - 1), 1]


def test_the_table_has_no_other_rows() -> None:
    assert list(json.loads(STAGES_FILE.read_text(encoding="utf-8"))) == [*(row.name for row in BACKBONES), "scratch"]


def test_the_hand_made_network_is_one_stage_which_holds_all_of_it() -> None:
    assert SCRATCH_CNN.stages == (stages.scratch_stage(),)
    assert SCRATCH_CNN.params == stages.scratch_stage().params


@pytest.mark.parametrize("name", ["MobileNetV9", "Scratch", "mobilenetv2", ""])
def test_an_unknown_backbone_has_no_row(name: str) -> None:
    assert name not in BY_NAME


def test_the_table_needs_no_framework() -> None:
    code = (
        "import sys; from backbench.backbones.registry import BY_NAME; assert BY_NAME['VGG16'].stages;"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
