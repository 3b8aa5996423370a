"""The frozen pass on real scans: features computed once and never believed when damaged; activations that are kept."""

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

from backbench.backbones import graph, parse_backbones, stages
from backbench.core.backbone import Backbone
from backbench.data.augmentation import view
from backbench.features import frozen_pass as frozen_pass_module
from backbench.features.activation_store import ActivationStore, scale_for
from backbench.features.engines import keras_engine
from backbench.features.frozen_pass import FrozenModel, batches

KEY = {"backbone": "MobileNetV2:alpha=0.35", "weights": "random 0", "image_size": 32}


# Values of float16 are this far apart, of the value itself; those below its normal range this far, of the scale.
ROUNDING, LEAST = 2.0**-11, 2.0**-25


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    (backbone,) = parse_backbones("MobileNetV2:alpha=0.35")
    return backbone


@pytest.fixture(scope="module")
def base(backbone: Backbone) -> keras.Model:
    """A real backbone with random weights."""
    keras.utils.set_random_seed(0)
    return graph.build(backbone, image_size=32, weights=None, cache=Path())


@pytest.fixture(scope="module")
def model(base: keras.Model, backbone: Backbone) -> keras.Model:
    """Raw pixels to features."""
    return graph.frozen_part(base, backbone)


@pytest.fixture(scope="module")
def boundaries(base: keras.Model) -> tuple[stages.Boundary, ...]:
    """Three places to cut it, the deepest first."""
    return stages.boundaries(base, [16, 8, 4])


@pytest.fixture(scope="module")
def cut(base: keras.Model, backbone: Backbone, boundaries: tuple[stages.Boundary, ...]) -> keras.Model:
    """Raw pixels to features and to what crosses the three."""
    return graph.frozen_part(base, backbone, [tensor for boundary in boundaries for tensor in boundary.tensors])


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
                seen.append(len(batch[0] if isinstance(batch, list) else batch))
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
    return frozen_pass_module.frozen_pass(FrozenModel(model), pixels, rows, **options)[0]


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
    expected = np.concatenate([features for (features,) in keras_engine.forward(model, batches(pixels, rows))])
    found, _ = frozen_pass_module.frozen_pass(FrozenModel(model, batch=size), pixels, rows, key=KEY, cache=tmp_path)
    same(found, expected)


def test_batches_are_whole_but_the_last_one(pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
    parts = list(batches(pixels, rows[::-1], size=32))
    assert [len(part) for part in parts] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(parts), pixels[::-1])
    assert list(batches(pixels, rows[:0])) == []


def test_a_smaller_last_batch_is_padded_for_the_network_and_cut_again(
    pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = keras.Input(pixels.shape[1:], dtype="uint8")
    model = keras.Model(images, keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2, 3))[:, None])
    shapes: list[int] = []
    padded = keras_engine.padded

    def recording(batch: Any, size: int) -> Any:
        inputs, count = padded(batch, size)
        shapes.append(len(inputs[0]))
        return inputs, count

    monkeypatch.setattr(keras_engine, "padded", recording)
    found = list(keras_engine.forward(model, [pixels[:4], pixels[4:8], pixels[8:9]]))
    assert shapes == [4, 4, 4], "one compiled graph serves all batches"
    assert [[len(output) for output in outputs] for outputs in found] == [[4], [4], [1]]
    means = np.concatenate([output for (output,) in found])[:, 0]
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, pixels[:9].mean(axis=(1, 2, 3)), rtol=1e-6)


def test_a_model_of_several_inputs_and_outputs_is_padded_and_cut_in_all_of_them() -> None:
    first, second = keras.Input((2,)), keras.Input((3,))
    model = keras.Model([first, second], [first * 2.0, keras.ops.sum(second, axis=1, keepdims=True), second + 1.0])
    rng = np.random.default_rng(0)
    parts = [[rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32)] for n in (4, 3)]
    found = list(keras_engine.forward(model, parts))
    for (one, other), outputs in zip(parts, found, strict=True):
        doubled, summed, raised = outputs
        np.testing.assert_allclose(doubled, 2 * one, rtol=1e-6)
        np.testing.assert_allclose(summed, other.sum(axis=1, keepdims=True), rtol=1e-5)
        np.testing.assert_allclose(raised, other + 1, rtol=1e-6)


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

    _, took = frozen_pass_module.frozen_pass(FrozenModel(model), pixels, rows, key=KEY, cache=tmp_path, progress=slowly)
    assert 0.15 <= took < 60
    _, again = frozen_pass_module.frozen_pass(
        FrozenModel(model), pixels, rows, key=KEY, cache=tmp_path, progress=slowly
    )
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
    "damage",
    [
        "bit flipped",
        "no header",
        "half of it",
        "empty",
        "header only",
        "no note",
        "torn note",
        "empty note",
        "other note",
        "changed note",
    ],
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
    elif damage == "no header":
        content[content.index(b"(")] ^= 1  # on which Python's own parser gives up
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
    elif damage == "changed note":
        note.write_text(json.dumps(json.loads(note.read_text()) | {"seconds": 1e6}))
    else:
        note.write_text(json.dumps({"sha256": "0" * 64}))
    found = frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert sum(images_seen) == 70
    assert found.tobytes() == expected.tobytes()
    aside = features.with_name(f"{features.name}.damaged")
    assert aside.exists() == (damage != "no note"), "without a note it was never finished"
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


def keep(
    boundary: stages.Boundary | tuple[tuple[int, ...], ...],
    folder: Path,
    *,
    items: int = 70,
    train: NDArray[np.int64] | None = None,
    views: int = 1,
) -> ActivationStore:
    shapes = [t.shape[1:] for t in boundary.tensors] if isinstance(boundary, stages.Boundary) else boundary
    return ActivationStore(
        shapes, items=items, train=np.arange(items) if train is None else train, views=views, folder=folder
    )


def close_to_kept(found: NDArray[np.float16], scale: float, expected: NDArray[np.float32]) -> None:
    """Equal but for the rounding to float16 and, before it, that of another compiled graph."""
    assert found.dtype == np.float16
    assert found.shape == expected.shape
    back = found.astype(np.float64) * scale
    allowed = ROUNDING * np.abs(expected) + LEAST * scale + 1e-5 * np.abs(expected).max()
    assert np.all(np.abs(back - expected) <= 1.01 * allowed)


def test_room_for_activations_by_hand(tmp_path: Path) -> None:
    # 7 x 5 x 3 + 2 x 2 x 8 = 137 values of 2 bytes; 10 images, and 3 more versions of 6 of them: 28 of each.
    shapes = ((7, 5, 3), (2, 2, 8))
    assert ActivationStore.bytes_for(shapes, items=10, train=6, views=4) == 2 * 137 * 28
    assert ActivationStore.bytes_for(shapes, items=10, train=6, views=1) == 2 * 137 * 10
    for views in (1, 4):
        kept = keep(shapes, tmp_path, items=10, train=np.arange(6), views=views)
        assert sum(array.nbytes for array in kept.arrays) == ActivationStore.bytes_for(
            shapes, items=10, train=6, views=views
        )


def test_the_file_of_activations_has_no_name_that_could_outlive_the_process(tmp_path: Path) -> None:
    kept = keep(((4,),), tmp_path / "activations")
    kept.write(0, [np.ones((70, 4), np.float16)], [1.0])
    assert list((tmp_path / "activations").iterdir()) == []
    np.testing.assert_array_equal(kept.read(np.arange(70))[0], 1)


@pytest.mark.parametrize(
    ("largest", "expected"),
    # The smallest power of two that brings the largest to 128 or less.
    [(128.0, 1.0), (129.0, 2.0), (300.0, 4.0), (1.0, 2.0**-7), (1e-3, 2.0**-16), (0.0, 1.0), (np.inf, 1.0)],
)
def test_scales_are_powers_of_two_that_leave_room_on_both_sides(largest: float, expected: float) -> None:
    assert scale_for(largest) == expected


def shifted(*factors: float) -> keras.Model:
    """Pixels less 100 without pooling, times each factor: what a boundary of so many tensors would give."""
    images = keras.Input((1, 4, 3), dtype="uint8")
    values = keras.ops.cast(images, "float32") - 100.0
    return keras.Model(images, [values * factor for factor in factors])


def scans(*rows: list[int]) -> NDArray[np.uint8]:
    """Images of one line of four points, grey."""
    return np.array(rows, np.uint8)[:, None, :, None].repeat(3, axis=3)


def test_activations_come_back_but_for_rounding() -> None:
    images = np.random.default_rng(0).integers(0, 200, (20, 1, 4, 3), dtype=np.uint8)
    images[0, 0, 0] = 0  # the largest, and of both tensors in the first batch
    factors = (1 / 3, 1e-6 / 7)
    frozen = FrozenModel(shifted(*factors), pooled=False)
    found = [np.concatenate(parts) for parts in zip(*frozen.forward([images[:12], images[12:]]), strict=True)]
    assert frozen.scales == tuple(scale_for(100 * factor) for factor in factors), "one for each tensor"
    for rounded, scale, factor in zip(found, frozen.scales, factors, strict=True):
        expected = (images.astype(np.float64) - 100) * factor
        error = np.abs(rounded.astype(np.float64) * scale - expected)
        assert np.all(error <= 1.01 * ROUNDING * np.abs(expected) + LEAST * scale)
        assert error.max() > 0, "or nothing was rounded at all"


def test_what_float16_can_hold_comes_back_to_the_bit() -> None:
    frozen = FrozenModel(shifted(20.0), pooled=False)
    ((found,),) = frozen.forward([scans([0, 100, 101, 200])])
    assert frozen.scales == (16.0,), "2000 comes to 125"
    np.testing.assert_array_equal(found.astype(np.float32)[0, 0, :, 0] * 16, [-2000, 0, 20, 2000])


def test_values_beyond_the_range_of_the_first_batch_are_refused_and_not_cut_off() -> None:
    frozen = FrozenModel(shifted(655.04), pooled=False)
    frozen.settle(scans([100, 100, 100, 100]))
    assert frozen.scales == (1.0,), "nothing to go by"
    ((found,),) = frozen.forward([scans([200, 0, 100, 100])])  # the largest that float16 knows
    np.testing.assert_array_equal(found[0, 0, :, 0], np.float16([65504, -65504, 0, 0]))
    for beyond in (scans([202, 100, 100, 100]), scans([0, 100, 203, 100])):
        with pytest.raises(FloatingPointError, match="float16"):
            list(frozen.forward([beyond]))
    ((small,),) = FrozenModel(shifted(1e-9), pooled=False).forward([scans([200, 0, 100, 101])])
    np.testing.assert_allclose(small[0, 0, :, 0] / small[0, 0, 0, 0], [1, -1, 0, 0.01], rtol=1e-3)


def test_tensors_that_hold_nan_are_refused_though_the_largest_may_not_show_it() -> None:
    images = keras.Input((1, 4, 3), dtype="uint8")
    values = keras.ops.cast(images, "float32")
    frozen = FrozenModel(keras.Model(images, [values * 1.0, values * (values - 7.0) / (values - 7.0)]), pooled=False)
    assert len(next(frozen.forward([scans([1, 2, 3, 4])]))) == 2
    with pytest.raises(FloatingPointError, match="NaN"):
        list(frozen.forward([scans([1, 2, 7, 4])]))


def test_no_images_give_nothing() -> None:
    assert list(FrozenModel(shifted(1.0), pooled=False).forward([])) == []


def test_every_view_of_a_train_item_has_its_own_place(tmp_path: Path) -> None:
    # Six items, of which 5, 0 and 3 are trained on, in this order: rows 6 to 8 are their view 1, 9 to 11 their view 2.
    kept = keep(((1,),), tmp_path, items=6, train=np.array([5, 0, 3]), views=3)
    kept.write(0, [np.arange(12, dtype=np.float16)[:, None]], [1.0])

    def rows_of(items: list[int], views: list[int] | None = None) -> list[int]:
        (found,) = kept.read(np.array(items), None if views is None else np.array(views))
        return found[:, 0].astype(int).tolist()

    assert rows_of([0, 1, 2, 3, 4, 5]) == [0, 1, 2, 3, 4, 5]
    assert rows_of([4, 1, 4]) == [4, 1, 4]
    assert rows_of([5, 0, 3], [1, 1, 1]) == [6, 7, 8]
    assert rows_of([5, 0, 3], [2, 2, 2]) == [9, 10, 11]
    assert rows_of([0, 3, 5, 0, 3], [1, 2, 0, 2, 0]) == [7, 11, 5, 10, 3]


def test_one_pass_keeps_what_passes_of_their_own_would_give(
    base: keras.Model,
    backbone: Backbone,
    model: keras.Model,
    cut: keras.Model,
    boundaries: tuple[stages.Boundary, ...],
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    tmp_path: Path,
) -> None:
    kept = [keep(boundary, tmp_path) for boundary in boundaries]
    told: list[tuple[int, int]] = []
    found = frozen_pass(
        cut, pixels, rows, key=KEY, cache=tmp_path, kept=kept, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(32, 70), (64, 70), (70, 70)]
    same(found, frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path / "alone"))
    sizes = set()
    for boundary, activation in zip(boundaries, kept, strict=True):
        alone = graph.frozen_part(base, backbone, boundary.tensors, pooled=False)
        expected = np.asarray(alone(pixels, training=False))
        (read,) = activation.read(np.arange(70))
        close_to_kept(read, activation.scales[0], expected)
        assert np.ptp(expected, axis=0).max() > 0.1 * np.abs(expected).max(), "it tells the images apart"
        sizes.add(read.shape[1:])
    assert len(sizes) == 3


def test_boundaries_of_several_tensors_are_told_apart(
    base: keras.Model, backbone: Backbone, pixels: NDArray[np.uint8], rows: NDArray[np.int64], tmp_path: Path
) -> None:
    """As in NASNet, whose cells read the two before them."""
    names = ("block_5_add", "block_4_add", "block_2_add")
    tensors = [base.get_layer(name).output for name in names]
    several = graph.frozen_part(base, backbone, tensors)
    shapes = [tensor.shape[1:] for tensor in tensors]
    pair, single = keep(tuple(shapes[:2]), tmp_path), keep((shapes[2],), tmp_path)
    frozen_pass(several, pixels, rows, key=KEY, cache=tmp_path, kept=[pair, single])
    found = [*pair.read(np.arange(70)), *single.read(np.arange(70))]
    expected = [np.asarray(output) for output in several(pixels, training=False)[1:]]
    for read, scale, output in zip(found, [*pair.scales, *single.scales], expected, strict=True):
        close_to_kept(read, scale, output)
    assert not np.allclose(expected[0], expected[1], rtol=0.1), "the two differ, though they are alike in shape"


def test_activations_are_computed_anew_though_the_features_are_in_the_cache(
    model: keras.Model,
    cut: keras.Model,
    boundaries: tuple[stages.Boundary, ...],
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    tmp_path: Path,
    images_seen: list[int],
) -> None:
    before = np.array(frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path))
    images_seen.clear()
    kept = [keep(boundary, tmp_path) for boundary in boundaries]
    found = np.array(frozen_pass(cut, pixels, rows, key=KEY, cache=tmp_path, kept=kept))
    assert images_seen == [32, 32, 32, 6], "the first batch once more, to find the scales"
    same(found, before)
    assert all(np.abs(activation.read(np.arange(70))[0]).max() > 0 for activation in kept)
    images_seen.clear()
    again = frozen_pass(model, pixels, rows, key=KEY, cache=tmp_path)
    assert images_seen == [], "without any to be kept the features are still recalled"
    np.testing.assert_array_equal(again, found)
    files(tmp_path)


def cubes() -> keras.Model:
    """Features, and at a boundary the third power of every pixel."""
    images = keras.Input((4, 4, 3), dtype="uint8")
    values = keras.ops.cast(images, "float32")
    return keras.Model(images, [keras.layers.GlobalAveragePooling2D()(values), values * values * values])


def test_activations_that_do_not_fit_end_the_pass_and_leave_nothing_behind(tmp_path: Path) -> None:
    images = np.ones((70, 4, 4, 3), np.uint8)
    images[50] = 255  # 16 million, where the first batch has ones
    kept = keep(((4, 4, 3),), tmp_path)
    with pytest.raises(FloatingPointError):
        frozen_pass(cubes(), images, np.arange(70), key=KEY, cache=tmp_path, kept=[kept])
    assert list((tmp_path / "features").iterdir()) == []
    images[50] = 6  # 216: within 256 times the first batch
    frozen_pass(cubes(), images, np.arange(70), key=KEY, cache=tmp_path, kept=[keep(((4, 4, 3),), tmp_path)])


@pytest.mark.parametrize("flips", [True, False])
def test_augmented_views_are_those_of_the_images_and_the_same_whenever_they_are_made(
    base: keras.Model,
    backbone: Backbone,
    cut: keras.Model,
    boundaries: tuple[stages.Boundary, ...],
    pixels: NDArray[np.uint8],
    tmp_path: Path,
    flips: bool,
) -> None:
    rows = np.arange(70)[::-1][:40].copy()  # item i is image 69 - i
    train = np.array([30, 2, 17, 5, 39])
    made = []
    for _ in range(2):
        kept = [keep(boundary, tmp_path, items=40, train=train, views=3) for boundary in boundaries]
        frozen = FrozenModel(cut)
        features, _ = frozen_pass_module.frozen_pass(frozen, pixels, rows, key=KEY, cache=tmp_path, kept=kept)
        with_views = frozen_pass_module.augmented_pass(
            frozen, pixels, rows, features=features, train=train, views=3, flips=flips, folder=tmp_path, kept=kept
        )
        made.append(kept)
    whole = graph.frozen_part(base, backbone)
    expected = [features]
    for number in (1, 2):
        images = view(pixels[rows[train]], train, np.full(5, number), flips=flips)
        expected.append(np.asarray(whole(images, training=False)))
    np.testing.assert_allclose(with_views, np.concatenate(expected), rtol=1e-4, atol=1e-5)
    for boundary, first, second in zip(boundaries, *made, strict=True):
        alone = graph.frozen_part(base, backbone, boundary.tensors, pooled=False)
        clean = np.asarray(alone(pixels[rows[train]], training=False))
        for number in (0, 1, 2):
            (found,), (again,) = (each.read(train, np.full(5, number)) for each in (first, second))
            assert found.tobytes() == again.tobytes()
            images = view(pixels[rows[train]], train, np.full(5, number), flips=flips)
            expected = np.asarray(alone(images, training=False))
            close_to_kept(found, first.scales[0], expected)
            assert np.allclose(expected, clean) == (number == 0)
        (every,) = first.read(np.arange(40))
        (part,) = first.read(train)
        np.testing.assert_array_equal(every[train], part)


def test_the_pass_over_views_tells_how_far_it_is(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 20, (30, 4, 4, 3), dtype=np.uint8)
    kept = keep(((4, 4, 3),), tmp_path, items=30, train=np.arange(20), views=3)
    frozen = FrozenModel(cubes())
    features, _ = frozen_pass_module.frozen_pass(frozen, images, np.arange(30), key=KEY, cache=tmp_path, kept=[kept])
    told: list[tuple[int, int]] = []
    frozen_pass_module.augmented_pass(
        frozen,
        images,
        np.arange(30),
        features=features,
        train=np.arange(20),
        views=3,
        flips=False,
        folder=tmp_path,
        kept=[kept],
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(32, 40), (40, 40)]
