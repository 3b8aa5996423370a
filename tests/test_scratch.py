"""The hand-made CNN and its training: augmentation, determinism, the best epoch, and an honest score on real scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from backbench import finetune, metrics, store, sweep
from backbench.augment import light
from backbench.backbones import scratch
from backbench.records import Request

TRAIN, VAL = np.arange(0, 120), np.arange(120, 180)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """180 real scans in colour, each point two pixels wide."""
    scans = (load_digits().images[:180] * (255 / 16)).astype(np.uint8)
    return np.repeat(np.repeat(scans, 2, axis=1), 2, axis=2)[..., None].repeat(3, axis=3)


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return load_digits().target[:180].astype(np.int64)


class Spoiling(finetune.Shuffled):
    """Training batches that ruin the network at the end of the given epochs."""

    def __init__(self, *args: Any, model: keras.Model, after: int, value: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.model, self.after, self.value, self.epochs = model, after, value, 0

    def on_epoch_begin(self) -> None:
        self.epochs += 1

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        if self.epochs >= self.after:
            spoil(self.model, self.value)


def spoil(model: keras.Model, value: float) -> None:
    model.set_weights([np.full_like(weights, value) for weights in model.get_weights()])


def batches(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], *, seed: int = 0, flips: bool = False
) -> finetune.Shuffled:
    return finetune.Shuffled(
        pixels, TRAIN, labels[TRAIN], batch_size=32, augment="light", flips=flips, rng=np.random.default_rng(seed)
    )


def fit(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], *, seed: int = 0, epochs: int = 4, **options: Any
) -> tuple[keras.Model, finetune.Trained]:
    keras.utils.set_random_seed(seed)
    model = scratch.build(image_size=16, classes=10)
    trained = finetune.train(
        model,
        batches(pixels, labels, seed=seed),
        pixels=pixels,
        val_rows=VAL,
        val_labels=labels[VAL],
        epochs=epochs,
        **options,
    )
    return model, trained


@pytest.fixture(scope="module")
def trained(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[keras.Model, finetune.Trained]:
    return fit(pixels, labels)


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


def test_every_image_is_trained_on_once_an_epoch_in_a_new_order_with_its_own_label() -> None:
    numbered = np.arange(120, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    training = batches(numbered, np.arange(120))
    assert len(training) == 4
    orders = []
    for _ in range(2):
        seen = []
        for index in range(len(training)):
            images, found = training[index]
            np.testing.assert_array_equal(images[:, 0, 0, 0], found)
            seen += found.tolist()
        assert sorted(seen) == list(range(120))
        orders.append(seen)
        training.on_epoch_end()
    assert orders[0] != orders[1]


def test_without_augmentation_images_are_trained_on_as_they_are(labels: NDArray[np.int64]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (180, 16, 16, 3), dtype=np.uint8)
    for augment, unchanged in (("none", True), ("light", False)):
        training = finetune.Shuffled(
            images,
            TRAIN,
            labels[TRAIN],
            batch_size=120,
            augment=augment,
            flips=True,
            rng=np.random.default_rng(0),
        )
        assert np.array_equal(training[0][0], images[TRAIN[training.order]]) == unchanged


def test_the_network_halves_its_map_until_it_is_at_most_eight_wide() -> None:
    for size, stages in ((16, 2), (32, 2), (96, 4), (128, 4), (224, 5)):
        model = scratch.build(image_size=size, classes=3)
        pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
        assert len(pools) == stages
        assert pools[-1].output.shape[1] <= 8
        assert model.output_shape == (None, 3)
    assert model.input_shape == (None, 224, 224, 3)


def test_training_is_the_same_for_the_same_seed(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], trained: tuple[keras.Model, finetune.Trained]
) -> None:
    model, first = trained
    again, second = fit(pixels, labels)
    assert second == first
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    other_model, _ = fit(pixels, labels, seed=1)
    assert not np.array_equal(other_model.get_weights()[0], model.get_weights()[0])


def test_training_teaches_something(trained: tuple[keras.Model, finetune.Trained]) -> None:
    _, told = trained
    assert [epoch.epoch for epoch in told.curve] == [1, 2, 3, 4]
    assert told.curve[-1].loss < told.curve[0].loss
    assert told.curve[told.best_epoch - 1].val_acc > 0.2


def test_the_model_ends_with_the_weights_of_its_best_epoch(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], trained: tuple[keras.Model, finetune.Trained]
) -> None:
    model, told = trained
    best = told.curve[told.best_epoch - 1]
    assert best.score == max(epoch.score for epoch in told.curve)
    found = finetune.predict(model, pixels, VAL)
    assert metrics.selection_score(found, labels[VAL]) == best.score
    assert (metrics.accuracy(found, labels[VAL]), metrics.nll(found, labels[VAL])) == (best.val_acc, best.val_nll)
    assert told.trace()["best_epoch"] == told.best_epoch
    assert told.trace()["curve"][0]["loss"] == told.curve[0].loss


class Scripted:
    """Scores for the epochs to come, whatever the network says."""

    def __init__(self, scores: list[float]) -> None:
        self.scores: Iterator[float] = iter(scores)

    def __call__(self, *_: Any) -> float:
        return next(self.scores)


def test_an_earlier_best_epoch_is_restored_and_of_equals_the_first(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[NDArray[np.float32]] = []
    keras.utils.set_random_seed(0)
    model = scratch.build(image_size=16, classes=10)
    monkeypatch.setattr(metrics, "selection_score", Scripted([0.1, 0.5, 0.5, 0.4]))
    told = finetune.train(
        model,
        batches(pixels, labels),
        pixels=pixels,
        val_rows=VAL,
        val_labels=labels[VAL],
        epochs=4,
        progress=lambda _: weights.append(model.get_weights()[0]),
    )
    assert told.best_epoch == 2
    assert [epoch.score for epoch in told.curve] == [0.1, 0.5, 0.5, 0.4]
    np.testing.assert_array_equal(model.get_weights()[0], weights[1])
    assert not np.array_equal(weights[1], weights[3])


def test_training_stops_when_val_no_longer_improves(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patience is a fifth of 20 epochs: the best is the second, so the sixth is the last.
    monkeypatch.setattr(metrics, "selection_score", Scripted([0.1, 0.5, *[0.4] * 18]))
    _, told = fit(pixels, labels, epochs=20)
    assert len(told.curve) == 6
    assert told.best_epoch == 2


def test_a_loss_that_diverges_at_once_raises(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    model = scratch.build(image_size=16, classes=10)
    spoil(model, np.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        finetune.train(model, batches(pixels, labels), pixels=pixels, val_rows=VAL, val_labels=labels[VAL], epochs=2)


def test_a_learning_rate_that_blows_up_raises(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "LEARNING_RATE", 1e30)
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(pixels, labels, epochs=2)


@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_are_ruined_by_the_last_step_of_an_epoch_are_never_kept(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], epoch: int
) -> None:
    """The loss of such an epoch is still finite: only val shows what has become of the network."""
    keras.utils.set_random_seed(0)
    model = scratch.build(image_size=16, classes=10)
    training = Spoiling(
        pixels,
        TRAIN,
        labels[TRAIN],
        batch_size=32,
        augment="light",
        flips=False,
        rng=np.random.default_rng(0),
        model=model,
        after=epoch,
        value=np.nan,
    )
    options = {"pixels": pixels, "val_rows": VAL, "val_labels": labels[VAL], "epochs": 6}
    if epoch == 1:
        with pytest.raises(FloatingPointError, match="diverged"):
            finetune.train(model, training, **options)
        return
    told = finetune.train(model, training, **options)
    assert [point.epoch for point in told.curve] == [1]
    assert np.isfinite(told.curve[0].score), "what is stored must be numbers"
    found = finetune.predict(model, pixels, VAL)
    assert metrics.selection_score(found, labels[VAL]) == told.curve[0].score


def test_predictions_are_made_without_dropout(
    pixels: NDArray[np.uint8], trained: tuple[keras.Model, finetune.Trained]
) -> None:
    model, _ = trained
    first, again = finetune.predict(model, pixels, VAL), finetune.predict(model, pixels, VAL)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(finetune.predict(model, pixels, VAL[::-1]), first[::-1], atol=1e-5)


@pytest.mark.slow
def test_the_hand_made_network_reads_digits(cache: Path, tmp_path: Path) -> None:
    """An honest baseline: at least 97 % of the test scans right, with every option at its default."""
    outcome = sweep.run(Request(backbones="scratch", out=tmp_path / "digits"))
    assert outcome.counts == {"ok": 1}
    (row,) = store.read_table(tmp_path / "digits").to_dict("records")
    assert row["image_size"] == 96
    assert row["test_acc"] >= 0.97
    assert row["val_acc"] >= 0.97
