"""What the trained part reads: the same activations whether they were kept or are computed anew for every batch."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from backbench.backbones import graph, parse_backbones, stages
from backbench.core.backbone import Backbone
from backbench.data.augmentation import light
from backbench.evaluation.batches import PixelBatches, RecomputedActivationBatches, StoredActivationBatches
from backbench.features.activation_store import ActivationStore
from backbench.features.frozen_pass import FrozenModel, augmented_pass, frozen_pass

# Item i of the dataset is image ROWS[i]; some of the images belong to no item.
ROWS = np.random.default_rng(0).permutation(80)[:70]
TRAIN = np.random.default_rng(1).permutation(70)[:40]
VIEWS = 3


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """80 real scans in colour, each point two pixels wide."""
    scans = load_digits().images[:80].astype(np.uint8) * 15
    return np.repeat(np.repeat(scans, 2, axis=1), 2, axis=2)[..., None].repeat(3, axis=3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    (backbone,) = parse_backbones("MobileNetV2:alpha=0.35")
    return backbone


@dataclass(frozen=True)
class Cut:
    """A small network with everything up to two places: one tensor crosses the first, two the second."""

    base: keras.Model
    boundary: stages.Boundary
    prefix: FrozenModel
    kept: dict[int, ActivationStore]

    def sources(
        self, pixels: NDArray[np.uint8], *, views: int, flips: bool
    ) -> tuple[StoredActivationBatches, RecomputedActivationBatches]:
        prefix = RecomputedActivationBatches(self.prefix, pixels, ROWS, views=views, flips=flips)
        return StoredActivationBatches(self.kept[views]), prefix


@pytest.fixture(scope="module", params=["one tensor", "two tensors"])
def cut(
    request: pytest.FixtureRequest,
    backbone: Backbone,
    pixels: NDArray[np.uint8],
    tmp_path_factory: pytest.TempPathFactory,
) -> Cut:
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    first = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(images)
    second = layers.Conv2D(5, 3, padding="same")(first)
    second = layers.BatchNormalization()(second)
    together = second if request.param == "one tensor" else layers.Concatenate()([first, second])
    base = keras.Model(images, layers.Conv2D(4, 3, strides=2, padding="same")(together))
    if request.param == "one tensor":
        (boundary,) = stages.boundaries(base, [2])
    else:
        boundary = stages.Boundary(2, "pair", (first, second), ())
    assert len(boundary.tensors) == (1 if request.param == "one tensor" else 2)
    model = graph.frozen_part(base, backbone, boundary.tensors)
    kept = {}
    for views in (1, VIEWS):
        folder = tmp_path_factory.mktemp("kept")
        shapes = [tensor.shape[1:] for tensor in boundary.tensors]
        kept[views] = ActivationStore(shapes, items=70, train=TRAIN, views=views, folder=folder)
        frozen = FrozenModel(model)
        features, _ = frozen_pass(frozen, pixels, ROWS, key={}, cache=folder, kept=[kept[views]])
    augmented_pass(
        frozen, pixels, ROWS, features=features, train=TRAIN, views=VIEWS, flips=True, folder=folder, kept=[kept[VIEWS]]
    )
    prefix = FrozenModel(graph.frozen_part(base, backbone, boundary.tensors, pooled=False), pooled=False)
    prefix.settle(pixels[ROWS[:32]])
    return Cut(base, boundary, prefix, kept)


def within_a_step(first: list[NDArray[np.float16]], second: list[NDArray[np.float16]]) -> None:
    """Equal but for one step of float16: two compiled graphs round differently in their last bits of float32."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert (one.dtype, other.dtype) == (np.float16, np.float16)
        assert one.shape == other.shape
        larger = np.maximum(np.abs(one), np.abs(other))
        assert np.all(np.abs(one.astype(np.float32) - other.astype(np.float32)) <= np.spacing(larger))


def far_apart(first: list[NDArray[np.float16]], second: list[NDArray[np.float16]]) -> bool:
    return not all(np.allclose(one, other, rtol=0.05, atol=0.5) for one, other in zip(first, second, strict=True))


def test_kept_and_recomputed_activations_of_images_as_they_are_are_the_same(
    cut: Cut, pixels: NDArray[np.uint8]
) -> None:
    from_kept, from_prefix = cut.sources(pixels, views=1, flips=True)
    for items in (np.array([69, 0, 3, 3]), np.arange(70), np.array([7])):
        kept = from_kept.clean(items)
        assert [len(array) for array in kept] == [len(items)] * len(cut.boundary.tensors)
        within_a_step(kept, from_prefix.clean(items))
    assert far_apart(from_kept.clean(np.array([3, 4])), from_prefix.clean(np.array([4, 3])))


def test_they_are_what_the_network_gives_at_the_boundary(
    cut: Cut, backbone: Backbone, pixels: NDArray[np.uint8]
) -> None:
    items = np.array([5, 60, 12])
    exact = graph.frozen_part(cut.base, backbone, cut.boundary.tensors, pooled=False)
    expected = exact(pixels[ROWS[items]], training=False)
    for found, scale, tensor in zip(
        cut.sources(pixels, views=1, flips=True)[0].clean(items),
        cut.kept[1].scales,
        expected if isinstance(expected, list) else [expected],
        strict=True,
    ):
        values = np.asarray(tensor)
        np.testing.assert_allclose(found.astype(np.float32) * scale, values, rtol=2**-10, atol=2**-24 * scale)


@pytest.mark.parametrize("views", [1, VIEWS])
def test_kept_and_recomputed_activations_of_training_batches_are_the_same(
    cut: Cut, pixels: NDArray[np.uint8], views: int
) -> None:
    from_kept, from_prefix = cut.sources(pixels, views=views, flips=True)
    one, other = (np.random.default_rng(3) for _ in range(2))
    differ = []
    for start in (0, 8, 4):
        items = TRAIN[start : start + 32]
        kept = from_kept.training(items, one)
        within_a_step(kept, from_prefix.training(items, other))
        differ.append(far_apart(kept, from_kept.clean(items)))
    assert differ == [views > 1] * 3, "augmented if and only if there are several views"
    assert one.bit_generator.state == other.bit_generator.state, "the two draw as often"


def test_each_training_batch_draws_its_views_anew(cut: Cut, pixels: NDArray[np.uint8]) -> None:
    from_kept, _ = cut.sources(pixels, views=VIEWS, flips=True)
    rng = np.random.default_rng(3)
    first, second = from_kept.training(TRAIN, rng), from_kept.training(TRAIN, rng)
    assert far_apart(first, second)
    again = from_kept.training(TRAIN, np.random.default_rng(3))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_view_of_an_item_is_drawn_about_equally_often(cut: Cut) -> None:
    kept = cut.kept[VIEWS]
    item = TRAIN[:1]
    of_item = [kept.read(item, np.array([number]))[0][0] for number in range(VIEWS)]
    drawn = StoredActivationBatches(kept).training(np.repeat(item, 600), np.random.default_rng(0))[0]
    counts = [int(np.sum((drawn == view).all(axis=(1, 2, 3)))) for view in of_item]
    assert sum(counts) == 600
    assert all(150 < count < 250 for count in counts)  # 200 each, standard deviation 12


def test_what_is_evaluated_is_never_augmented(cut: Cut, pixels: NDArray[np.uint8]) -> None:
    plain, several = (cut.sources(pixels, views=views, flips=True) for views in (1, VIEWS))
    for one, other in zip(plain, several, strict=True):
        within_a_step(one.clean(TRAIN), other.clean(TRAIN))


@pytest.mark.parametrize("flips", [True, False])
def test_pixels_are_augmented_only_for_training_and_anew_every_time(pixels: NDArray[np.uint8], flips: bool) -> None:
    source = PixelBatches(pixels, ROWS, augment=True, flips=flips)
    items = np.array([5, 0, 69, 5])
    originals = pixels[ROWS[items]]
    (clean,) = source.clean(items)
    np.testing.assert_array_equal(clean, originals)
    rng, same = np.random.default_rng(2), np.random.default_rng(2)
    batches = [source.training(items, rng)[0] for _ in range(3)]
    for batch in batches:
        np.testing.assert_array_equal(batch, light(originals, flips=flips, rng=same))
    assert not np.array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], originals)


def test_pixels_without_augmentation_are_trained_on_as_they_are(pixels: NDArray[np.uint8]) -> None:
    source = PixelBatches(pixels, ROWS, augment=False, flips=True)
    items = np.array([5, 0, 69, 5])
    (found,) = source.training(items, np.random.default_rng(2))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels[ROWS[items]])
