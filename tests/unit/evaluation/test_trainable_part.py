"""The trained part: it starts where the probe ended, shares the network's variables, and leaves batch norm alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.datasets import load_digits

from backbench.backbones import graph, parse_backbones, stages
from backbench.core.backbone import Backbone
from backbench.evaluation import fine_tuning, trainable_part
from backbench.evaluation.batches import Batches, PixelBatches, StoredActivationBatches
from backbench.evaluation.linear_probe import Head
from backbench.evaluation.trainable_part import InferenceMode, start_from
from backbench.features.activation_store import ActivationStore
from backbench.features.frozen_pass import FrozenModel, frozen_pass

TRAIN, VAL = np.arange(0, 48), np.arange(48, 80)
CLASSES = 10


def head_of(width: int, seed: int = 0) -> Head:
    rng = np.random.default_rng(seed)
    return Head(rng.normal(size=(width, CLASSES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32))


def logits_of(start: trainable_part.HeadInit, features: NDArray[np.float32]) -> NDArray[np.float32]:
    return ((features - start.mean) / start.deviation) @ start.weights + start.bias


@pytest.fixture
def features() -> NDArray[np.float32]:
    """80 items; features of very different sizes, and three that never change in train."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(80, 7)) * [1, 1e-3, 1e3, 5, 1, 1, 1] + [0, 1, -500, 20, 0, 0, 0]
    found[:, 4] = 0
    found[:, 5] = 7.3
    found[TRAIN, 6] = -2
    return found.astype(np.float32)


def test_the_start_gives_the_logits_of_the_head_in_other_units(features: NDArray[np.float32]) -> None:
    head = head_of(7)
    start = start_from(head, features, TRAIN)
    expected = features.astype(np.float64) @ head.weights.astype(np.float64) + head.bias
    size = np.abs(features).astype(np.float64) @ np.abs(head.weights).astype(np.float64)
    assert np.abs(logits_of(start, features) - expected).max() <= 1e-5 * size.max()
    assert np.ptp(expected, axis=0).min() > 100, "there is something to get wrong"
    assert {array.dtype for array in (start.mean, start.deviation, start.weights, start.bias)} == {np.dtype("float32")}


def test_the_units_are_the_spread_of_each_feature_on_train_and_one_where_there_is_none(
    features: NDArray[np.float32],
) -> None:
    start = start_from(head_of(7), features, TRAIN)
    np.testing.assert_allclose(start.mean, features[TRAIN].mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(start.deviation[:4], features[TRAIN, :4].std(axis=0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(start.deviation[4:], 1)
    standard = (features[TRAIN] - start.mean) / start.deviation
    np.testing.assert_allclose(standard[:, :4].std(axis=0), 1, rtol=1e-3)
    np.testing.assert_allclose(standard[:, 4:], 0, atol=1e-6)


def test_the_raw_head_of_a_start_is_the_head_it_came_from(features: NDArray[np.float32]) -> None:
    head = head_of(7)
    start = start_from(head, features, TRAIN)
    found = trainable_part.raw_head(start, start.weights, start.bias)
    np.testing.assert_allclose(found.weights, head.weights, rtol=1e-6)
    np.testing.assert_allclose(found.bias, head.bias, atol=1e-3)  # a mean of 500 against a bias of one
    trained = head_of(7, seed=1)
    expected = logits_of(trainable_part.HeadInit(start.mean, start.deviation, trained.weights, trained.bias), features)
    raw = trainable_part.raw_head(start, trained.weights, trained.bias)
    np.testing.assert_allclose(features @ raw.weights + raw.bias, expected, rtol=1e-4, atol=1e-3)


def test_what_is_not_train_has_no_say_in_the_units(features: NDArray[np.float32]) -> None:
    damaged = features.copy()
    damaged[VAL] = np.nan
    one, other = (start_from(head_of(7), data, TRAIN) for data in (features, damaged))
    for name in ("mean", "deviation", "weights", "bias"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_reading_train_in_blocks_from_a_mapped_file_changes_nothing_but_rounding(
    features: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = start_from(head_of(7), features, TRAIN[::-1])
    np.save(tmp_path / "features.npy", features)
    monkeypatch.setattr(trainable_part, "BLOCK_ROWS", 7)
    found = start_from(head_of(7), np.load(tmp_path / "features.npy", mmap_mode="r"), TRAIN[::-1])
    for name in ("mean", "deviation", "weights", "bias"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """80 real scans in colour, each point two pixels wide."""
    scans = load_digits().images[:80].astype(np.uint8) * 15
    return np.repeat(np.repeat(scans, 2, axis=1), 2, axis=2)[..., None].repeat(3, axis=3)


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return load_digits().target[:80].astype(np.int64)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    (backbone,) = parse_backbones("MobileNetV2:alpha=0.35")
    return backbone


@dataclass(frozen=True)
class Network:
    """A small network with batch norm and dropout before and after its boundary, and a head for its features."""

    base: keras.Model
    boundary: stages.Boundary
    kept: ActivationStore
    features: NDArray[np.float32]
    head: Head
    start: trainable_part.HeadInit

    def tail(self, *, pretrained: bool = True) -> keras.Model:
        return trainable_part.trainable_tail(
            self.base, self.boundary, self.kept.scales, self.start, pretrained=pretrained
        )

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """A copy of every variable by layer and name."""
        return {
            f"{layer.name}/{variable.name}": np.array(keras.ops.convert_to_numpy(variable))
            for layer in self.base.layers
            for variable in layer.weights
        }


BEFORE = {"conv_a", "norm_a"}  # the layers with variables up to the boundary
AFTER = {"conv_b", "norm_b"}
STATISTICS = {"moving_mean", "moving_variance"}


@pytest.fixture
def network(backbone: Backbone, pixels: NDArray[np.uint8], tmp_path: Path) -> Network:
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="conv_a")(images)
    x = layers.BatchNormalization(name="norm_a")(x)
    x = layers.ReLU(name="relu_a")(x)
    x = layers.Dropout(0.5, name="dropout_a")(x)
    y = layers.Conv2D(12, 3, strides=2, padding="same", name="conv_b")(x)
    y = layers.BatchNormalization(name="norm_b")(y)
    y = layers.ReLU(name="relu_b")(y)
    base = keras.Model(images, layers.Dropout(0.5, name="dropout_b")(y), name="small")
    rng = np.random.default_rng(0)
    for name in ("norm_a", "norm_b"):  # as after training on images unlike these
        norm = base.get_layer(name)
        width = norm.gamma.shape[0]
        norm.set_weights([*(rng.uniform(0.5, 2, width) for _ in range(2)), *(rng.uniform(0.1, 1, width),) * 2])
    (boundary,) = stages.boundaries(base, [2])
    kept = ActivationStore([t.shape[1:] for t in boundary.tensors], items=80, train=TRAIN, views=1, folder=tmp_path)
    frozen = FrozenModel(graph.frozen_part(base, backbone, boundary.tensors))
    features, _ = frozen_pass(frozen, pixels, np.arange(80), key={}, cache=tmp_path, kept=[kept])
    head = head_of(12)
    return Network(base, boundary, kept, np.array(features), head, start_from(head, features, TRAIN))


def fit(model: keras.Model, source: Batches, labels: NDArray[np.int64], *, epochs: int = 2) -> fine_tuning.Trained:
    plan = fine_tuning.TrainingPlan(epochs, batch_size=16, learning_rates=(1e-2,), seed=0)
    return fine_tuning.train(model, source, labels, train=TRAIN, val=VAL, plan=plan)


def changed(before: dict[str, NDArray[np.float32]], after: dict[str, NDArray[np.float32]]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def names(network: Network, layer_names: set[str]) -> set[str]:
    return {name for name in network.weights() if name.split("/")[0] in layer_names}


def statistics(of: set[str]) -> set[str]:
    return {name for name in of if name.split("/")[1] in STATISTICS}


def test_a_tail_on_kept_activations_starts_with_the_probabilities_of_the_head(network: Network) -> None:
    expected = network.head(network.features)
    assert (expected.max(axis=1) < 0.99).mean() > 0.5, "not all of it is certain"
    for pretrained in (True, False):
        found = fine_tuning.predict(
            network.tail(pretrained=pretrained), StoredActivationBatches(network.kept), np.arange(80)
        )
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_whole_network_on_pixels_starts_with_the_probabilities_of_the_head(
    network: Network, backbone: Backbone, pixels: NDArray[np.uint8]
) -> None:
    source = PixelBatches(pixels, np.arange(80), augment=False, flips=False)
    for pretrained in (True, False):
        model = trainable_part.trainable_model(network.base, backbone, network.start, pretrained=pretrained)
        found = fine_tuning.predict(model, source, np.arange(80))
        np.testing.assert_allclose(found, network.head(network.features), atol=1e-4)


def test_a_tail_gives_logits_of_tensors_that_were_divided_by_their_scales() -> None:
    """By hand: two tensors cross; the sum of their squares is averaged over positions, standardised and weighed."""
    images = keras.Input((4, 4, 1))
    first, second = images * 2.0, images + 1.0
    base = keras.Model(images, first * first + second * second)
    boundary = stages.Boundary(1, "pair", (first, second), ())
    start = trainable_part.HeadInit(
        mean=np.array([3.0], np.float32),
        deviation=np.array([0.5], np.float32),
        weights=np.array([[1.0, -2.0]], np.float32),
        bias=np.array([0.25, 0.0], np.float32),
    )
    model = trainable_part.trainable_tail(base, boundary, [4.0, 0.5], start, pretrained=True)
    assert [tensor.dtype for tensor in model.inputs] == ["float16", "float16"]
    one, other = (np.random.default_rng(seed).normal(size=(5, 4, 4, 1)).astype(np.float16) for seed in (0, 1))
    pooled = ((one.astype(float) * 4) ** 2 + (other.astype(float) * 0.5) ** 2).mean(axis=(1, 2, 3))
    standard = (pooled - 3) / 0.5
    expected = np.stack([standard + 0.25, -2 * standard], axis=1)
    np.testing.assert_allclose(model.predict_on_batch([one, other]), expected, rtol=1e-4)


def test_only_what_comes_after_the_boundary_is_trained(network: Network) -> None:
    model = network.tail()
    found = {id(variable) for variable in model.trainable_variables}
    expected = {id(variable) for name in AFTER for variable in network.base.get_layer(name).trainable_variables}
    expected |= {id(variable) for variable in model.get_layer("head").variables}
    assert found == expected
    # Kernel and bias, gamma and beta, and the head, by hand.
    trained = 9 * 6 * 12 + 12 + 2 * 12 + 12 * 10 + 10
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == trained
    anywhere = {id(variable) for variable in model.variables}
    assert not anywhere & {id(variable) for name in BEFORE for variable in network.base.get_layer(name).variables}


def test_of_a_whole_network_everything_is_trained(network: Network, backbone: Backbone) -> None:
    model = trainable_part.trainable_model(network.base, backbone, network.start, pretrained=True)
    found = {id(variable) for variable in model.trainable_variables}
    expected = {id(variable) for variable in network.base.trainable_variables}
    assert found == expected | {id(variable) for variable in model.get_layer("head").variables}


def test_training_a_pretrained_tail_leaves_moving_statistics_alone_to_the_bit(
    network: Network, labels: NDArray[np.int64]
) -> None:
    before = network.weights()
    fit(network.tail(), StoredActivationBatches(network.kept), labels)
    after = names(network, AFTER)
    assert changed(before, network.weights()) == after - statistics(after)


def test_training_a_tail_of_random_weights_updates_them(network: Network, labels: NDArray[np.int64]) -> None:
    before = network.weights()
    fit(network.tail(pretrained=False), StoredActivationBatches(network.kept), labels)
    after = names(network, AFTER)
    assert statistics(after) == {"norm_b/moving_mean", "norm_b/moving_variance"}
    assert changed(before, network.weights()) == after


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_same_of_a_whole_network(
    network: Network, backbone: Backbone, pixels: NDArray[np.uint8], labels: NDArray[np.int64], pretrained: bool
) -> None:
    before = network.weights()
    model = trainable_part.trainable_model(network.base, backbone, network.start, pretrained=pretrained)
    fit(model, PixelBatches(pixels, np.arange(80), augment=True, flips=False), labels)
    everything = names(network, BEFORE | AFTER)
    assert len(statistics(everything)) == 4
    expected = everything - statistics(everything) if pretrained else everything
    assert changed(before, network.weights()) == expected


def test_a_trained_tail_and_the_network_that_it_is_a_part_of_say_the_same(
    network: Network, backbone: Backbone, pixels: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    before = network.base.get_weights()
    model = network.tail()
    fit(model, StoredActivationBatches(network.kept), labels)
    found = fine_tuning.predict(model, StoredActivationBatches(network.kept), np.arange(80))
    assert np.abs(found - network.head(network.features)).max() > 0.05, "training has moved it"
    weights, bias = model.get_layer("head").get_weights()
    trained = trainable_part.HeadInit(network.start.mean, network.start.deviation, weights, bias)
    features = graph.frozen_part(network.base, backbone).predict_on_batch(pixels)
    np.testing.assert_allclose(found, softmax(logits_of(trained, features), axis=1), atol=5e-3)
    network.base.set_weights(before)
    features = graph.frozen_part(network.base, backbone).predict_on_batch(pixels)
    np.testing.assert_allclose(features, network.features, rtol=1e-4, atol=1e-5)


def test_dropout_is_inactive_in_training_where_the_weights_are_pretrained(network: Network) -> None:
    (inputs,) = StoredActivationBatches(network.kept).clean(TRAIN)
    still = network.tail()
    evaluated = np.asarray(still([inputs], training=False))
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(still([inputs], training=True)), evaluated)
    shaken = network.tail(pretrained=False)
    np.testing.assert_array_equal(np.asarray(shaken([inputs], training=False)), evaluated)
    first, second = (np.asarray(shaken([inputs], training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 0.1


def test_inference_mode_holds_in_a_training_step_where_the_keyword_of_a_functional_call_does_not() -> None:
    """What the layer is for, on a network of nothing but batch norm."""
    changes = {}
    for wrapped in (True, False):
        inputs = keras.Input((3,))
        inner = keras.Model(inputs, layers.BatchNormalization(momentum=0.5, name="norm")(inputs))
        values = keras.Input((3,))
        outer = keras.Model(values, InferenceMode(inner)(values) if wrapped else inner(values, training=False))
        outer.compile(optimizer="sgd", loss="mse")
        rng = np.random.default_rng(0)
        before = [np.array(weights) for weights in inner.get_weights()]
        outer.train_on_batch(rng.normal(5, 1, (16, 3)).astype(np.float32), rng.normal(size=(16, 3)).astype(np.float32))
        gamma, beta, mean, variance = (
            not np.array_equal(one, other) for one, other in zip(before, inner.get_weights(), strict=True)
        )
        assert gamma
        assert beta
        changes[wrapped] = (mean, variance)
    assert changes[True] == (False, False)
    assert changes[False] == (True, True), "Keras holds the keyword by now: the layer is no longer needed"
