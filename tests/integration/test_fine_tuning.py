"""Gradient training: whole schedules, the learning rates tried, divergence, the same numbers for the same seed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.datasets import load_digits

from backbench.analysis import metrics
from backbench.core import recipe
from backbench.evaluation import fine_tuning
from backbench.evaluation.fine_tuning import schedule
from backbench.evaluation.lr_selection import DivergedError

# Positions of items in no particular order; some are neither.
ORDER = np.random.default_rng(0).permutation(200)
TRAIN, VAL = ORDER[:112], ORDER[112:162]
BATCH = 16
STEPS = 7  # an epoch
RATE = 1e-2
ABSURD = 1e38

Arrays = list[NDArray[Any]]


class Given:
    """Features of items as they are; what was asked for is written down."""

    kind, note, engine = "features", "", None

    def __init__(self, features: NDArray[np.float32], *, threaded: bool = True, parts: int = 1) -> None:
        self.features, self.threaded, self.parts = features, threaded, parts
        self.trained_on: list[NDArray[np.int64]] = []

    def training(self, items: NDArray[np.int64], rng: np.random.Generator) -> Arrays:
        self.trained_on.append(items)
        return self.clean(items)

    def clean(self, items: NDArray[np.int64]) -> Arrays:
        return np.split(self.features[items], self.parts, axis=1)


class Shaken(Given):
    """Features with noise in training, which is drawn at its own pace."""

    def training(self, items: NDArray[np.int64], rng: np.random.Generator) -> Arrays:
        if self.threaded:
            time.sleep(float(np.random.default_rng(len(self.trained_on)).uniform(0, 0.004)))
        self.trained_on.append(items)
        return [self.features[items] + rng.normal(0, 0.1, (len(items), 64)).astype(np.float32)]


class Ruined(Given):
    """Features that are not numbers any more from some training batch on."""

    def __init__(self, features: NDArray[np.float32], *, batches: range) -> None:
        super().__init__(features, threaded=False)
        self.batches = batches

    def training(self, items: NDArray[np.int64], rng: np.random.Generator) -> Arrays:
        (found,) = super().training(items, rng)
        return [np.full_like(found, np.nan)] if len(self.trained_on) - 1 in self.batches else [found]


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    """Pixels of 200 real scans in 0..1."""
    return (load_digits().data[:200] / 16).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return load_digits().target[:200].astype(np.int64)


def network(*, dropout: float = 0.0) -> keras.Model:
    """Always the same: 64 features to the logits of ten classes."""
    inputs = keras.Input((64,))
    left = layers.Dropout(dropout, seed=3)(inputs) if dropout else inputs
    return keras.Model(inputs, layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(1))(left))


@pytest.fixture(scope="module")
def fit(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Callable[..., tuple[keras.Model, Any]]:
    def fit(
        *,
        model: keras.Model | None = None,
        source: Given | None = None,
        rates: tuple[float, ...] = (RATE,),
        epochs: int = 3,
        seed: int = 0,
        batch_size: int = BATCH,
        goal: float = math.inf,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[keras.Model, fine_tuning.Trained]:
        model = model or network()
        trained = fine_tuning.train(
            model,
            source or Given(features),
            labels,
            train=TRAIN,
            val=VAL,
            plan=fine_tuning.TrainingPlan(epochs, batch_size, rates, seed, goal),
            progress=progress,
        )
        return model, trained

    return fit


Fit = Callable[..., tuple[keras.Model, fine_tuning.Trained]]


@pytest.fixture(scope="module")
def alone(fit: Fit) -> tuple[keras.Model, fine_tuning.Trained]:
    """The one sound rate and no other, with the default seed."""
    return fit()


class Scripted:
    """Scores to come, whatever the network says: that of the start, then epoch by epoch, trial by trial."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def __call__(self, *_: Any) -> float:
        return next(self.scores)


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of steps that the tests below count with, whatever it is tuned to."""
    monkeypatch.setattr(recipe, "WARM_UP", 0.1)


def same_weights(first: list[NDArray[Any]], second: list[NDArray[Any]]) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(first, second, strict=True))


def test_schedule_by_hand(rules: None) -> None:
    # 40 steps: four of warm-up, then 36 of half a cosine.
    expected = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 13: 0.5 + 0.5 * 0.5**0.5, 22: 0.5, 28: 0.25, 34: 0.0669873}
    for step, share in expected.items():
        assert schedule(3e-4, step, 40) == pytest.approx(3e-4 * share, rel=1e-6)
    assert 0 < schedule(1.0, 39, 40) < 0.01
    rates = [schedule(1.0, step, 40) for step in range(40)]
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_schedule_of_very_few_steps_begins_with_the_whole_rate_and_stays_positive(rules: None, steps: int) -> None:
    rates = [schedule(0.5, step, steps) for step in range(steps)]
    assert rates[0] == 0.5
    assert all(0 < rate <= 0.5 for rate in rates)


def test_every_step_of_all_epochs_follows_the_schedule(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int, int]] = []

    def told(rate: float, step: int, steps: int) -> float:
        asked.append((rate, step, steps))
        return schedule(rate, step, steps)

    monkeypatch.setattr(fine_tuning, "schedule", told)
    fit(epochs=3, rates=(RATE,))
    assert asked == [(RATE, step, 3 * STEPS) for step in range(3 * STEPS)]


def test_a_learning_rate_of_nought_changes_nothing(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule's rate is the one that the optimiser uses, weight decay included."""
    monkeypatch.setattr(fine_tuning, "schedule", lambda *_: 0.0)
    model, trained = fit()
    assert same_weights(model.get_weights(), network().get_weights())
    assert {point.score for point in trained.runs[0].curve} == {trained.start.score}


def test_training_teaches_something(fit: Fit, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    _, trained = fit(rates=(3e-2,), epochs=8)
    (trial,) = trained.runs
    assert [point.epoch for point in trial.curve] == list(range(1, len(trial.curve) + 1))
    assert trial.curve[-1].loss < trial.curve[0].loss
    assert trained.last.val_acc > 0.5 > 0.2 > trained.start.val_acc
    assert trained.last.score > trained.start.score


def test_an_epoch_is_whole_batches_of_a_new_order_without_repeats(fit: Fit, features: NDArray[np.float32]) -> None:
    source = Given(features)
    fit(source=source, epochs=8, batch_size=30)  # of 112 items: three batches, 22 are left for another epoch
    assert [len(items) for items in source.trained_on] == [30, 30, 30] * 8
    epochs = [np.concatenate(source.trained_on[start : start + 3]) for start in range(0, 24, 3)]
    for order in epochs:
        assert len(np.unique(order)) == 90
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(np.unique(epochs), np.sort(TRAIN))


def test_fewer_items_than_a_batch_are_one_batch(fit: Fit, features: NDArray[np.float32]) -> None:
    source = Given(features)
    fit(source=source, epochs=2, batch_size=500)
    assert [len(items) for items in source.trained_on] == [len(TRAIN)] * 2


def test_items_are_trained_on_with_their_own_labels(fit: Fit, labels: NDArray[np.int64]) -> None:
    """Features that say the class outright, in an order that only the positions tell."""
    outright = np.zeros((200, 64), np.float32)
    outright[np.arange(200), labels] = 4
    _, trained = fit(source=Given(outright), rates=(3e-2,), epochs=12)
    assert trained.last.val_acc == 1.0


def test_all_rates_start_at_the_same_weights_and_see_the_same_batches(fit: Fit, features: NDArray[np.float32]) -> None:
    source = Shaken(features)
    _, trained = fit(source=source, rates=(RATE, RATE, RATE), epochs=2)
    first, second, third = trained.runs
    assert first == second == third, "neither weights nor the optimiser remember the trial before"
    assert trained.chosen == 0
    orders = [np.concatenate(source.trained_on[start : start + 2 * STEPS]) for start in (0, 14, 28)]
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])


def test_a_rate_trained_alone_gives_what_it_gives_as_the_second(
    fit: Fit, alone: tuple[keras.Model, fine_tuning.Trained]
) -> None:
    model, both = fit(rates=(1e-4, RATE))
    assert both.runs[1] == alone[1].runs[0]
    assert both.chosen == 1
    assert same_weights(model.get_weights(), alone[0].get_weights())


def test_training_is_the_same_to_the_bit_for_the_same_seed_and_differs_for_another(
    fit: Fit, features: NDArray[np.float32]
) -> None:
    (first, one), (again, same), (other, different) = (fit(source=Shaken(features), seed=seed) for seed in (0, 0, 1))
    assert same == one
    assert same_weights(first.get_weights(), again.get_weights())
    assert different.start == one.start
    assert different.runs != one.runs
    assert not same_weights(first.get_weights(), other.get_weights())


def test_batches_made_ahead_change_nothing(fit: Fit, features: NDArray[np.float32]) -> None:
    (ahead, one), (in_step, other) = (fit(source=Shaken(features, threaded=threaded)) for threaded in (True, False))
    assert one == other
    assert same_weights(ahead.get_weights(), in_step.get_weights())


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize("items", [1, 16, 100])
def test_batches_come_in_order_with_their_own_inputs(features: NDArray[np.float32], threaded: bool, items: int) -> None:
    order = TRAIN[:items]
    source = Given(features, threaded=threaded)
    found = []
    for part, (inputs,) in fine_tuning._batches(source, order, BATCH, np.random.default_rng(0)):
        np.testing.assert_array_equal(inputs, features[part])
        found.append(part)
        assert len(source.trained_on) <= len(found) + (fine_tuning.AHEAD if threaded else 0), "only a few are held"
    np.testing.assert_array_equal(np.concatenate(found), order)
    np.testing.assert_array_equal(np.concatenate(source.trained_on), order)


@pytest.mark.parametrize("threaded", [True, False])
def test_what_goes_wrong_while_a_batch_is_made_ends_the_training(
    fit: Fit, features: NDArray[np.float32], threaded: bool
) -> None:
    class Broken(Given):
        def training(self, items: NDArray[np.int64], rng: np.random.Generator) -> Arrays:
            if len(self.trained_on) == 3:
                raise OSError(5, "the disk is gone")
            return super().training(items, rng)

    with pytest.raises(OSError, match="the disk is gone"):
        fit(source=Broken(features, threaded=threaded))


def test_a_network_of_two_inputs_is_trained_as_well(fit: Fit, features: NDArray[np.float32]) -> None:
    left, right = keras.Input((32,)), keras.Input((32,))
    model = keras.Model([left, right], layers.Dense(10)(layers.Concatenate()([left, right])))
    _, trained = fit(model=model, source=Given(features, parts=2), rates=(3e-2,), epochs=4)
    assert trained.last.val_acc > 0.4


def test_the_model_ends_with_the_last_weights_of_the_best_rate(
    fit: Fit, features: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    model, trained = fit(rates=(1e-3, RATE), epochs=3)
    assert [len(run.curve) for run in trained.runs] == [3, 3]
    assert trained.last == trained.runs[trained.chosen].curve[-1]
    assert trained.last.score == max(run.curve[-1].score for run in trained.runs)
    found = fine_tuning.predict(model, Given(features), VAL)
    assert metrics.selection_score(found, labels[VAL]) == trained.last.score
    assert metrics.accuracy(found, labels[VAL]) == trained.last.val_acc
    assert metrics.nll(found, labels[VAL]) == trained.last.val_nll


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        # The start counts for nothing: a cell is what training led to. Nor does what was better on the way.
        ((0.9, *(0.1, 0.5, 0.8, 0.4), *(0.2, 0.5, 0.4, 0.4)), 0),  # of equals the first
        ((0.0, *(0.1, 0.5, 0.9, 0.4), *(0.2, 0.1, 0.1, 0.5)), 1),
        ((0.0, *(0.7, 0.5, 0.6, 0.8), *(0.8, 0.9, 0.9, 0.7)), 0),
    ],
)
def test_the_rate_that_ends_best_is_restored(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...], chosen: int
) -> None:
    monkeypatch.setattr(metrics, "selection_score", Scripted(*scores))
    after: dict[int, list[NDArray[Any]]] = {}
    model = network()
    _, trained = fit(
        model=model,
        rates=(RATE, RATE / 2),
        epochs=4,
        progress=lambda done, _total: after.__setitem__(done, model.get_weights()),
    )
    assert trained.start.score == scores[0]
    assert [[point.score for point in run.curve] for run in trained.runs] == [list(scores[1:5]), list(scores[5:])]
    assert (trained.chosen, trained.last.epoch) == (chosen, 4)
    assert same_weights(model.get_weights(), after[4 * chosen + 4])
    assert not any(same_weights(model.get_weights(), kept) for at, kept in after.items() if at != 4 * chosen + 4)


@pytest.mark.parametrize(
    ("ends", "rates"),
    [
        ((0.5,), 1),  # as good as the goal is enough
        ((0.4, 0.7), 2),
        ((0.4, 0.4, 0.3), 3),
        ((0.4, 0.2, 0.9), 3),
    ],
)
def test_another_rate_is_tried_until_one_ends_with_the_accuracy_asked_for(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, ends: tuple[float, ...], rates: int
) -> None:
    scores = [score for end in ends for score in (0.9, end)]  # above it on the way, which counts for nothing
    monkeypatch.setattr(metrics, "accuracy", Scripted(0.1, *scores))
    told: list[tuple[int, int]] = []
    _, trained = fit(
        rates=(RATE, 1e-3, 1e-4), epochs=2, goal=0.5, progress=lambda done, total: told.append((done, total))
    )
    assert [run.rate for run in trained.runs] == [RATE, 1e-3, 1e-4][:rates]
    assert told == [(2 * run + epoch, 2 * run + 2) for run in range(rates) for epoch in (1, 2)]


@pytest.mark.parametrize("rates", [(ABSURD, RATE), (RATE, ABSURD)])
def test_one_rate_that_diverges_ends_itself_and_no_other(
    fit: Fit, alone: tuple[keras.Model, fine_tuning.Trained], rates: tuple[float, float]
) -> None:
    model, trained = fit(rates=rates)
    absurd, sound = rates.index(ABSURD), rates.index(RATE)
    assert (trained.runs[absurd].diverged, trained.runs[absurd].curve) == (True, ())
    assert trained.chosen == sound
    assert trained.runs[sound] == alone[1].runs[0]
    assert same_weights(model.get_weights(), alone[0].get_weights())


def test_training_that_diverges_at_every_rate_raises(fit: Fit) -> None:
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(rates=(ABSURD, ABSURD))


def test_inputs_that_are_not_numbers_raise(fit: Fit, features: NDArray[np.float32]) -> None:
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(source=Ruined(features, batches=range(10**6)), rates=(RATE, 1e-3))


def test_a_rate_that_diverges_late_is_no_result_and_the_next_one_is(
    fit: Fit, alone: tuple[keras.Model, fine_tuning.Trained], features: NDArray[np.float32]
) -> None:
    source = Ruined(features, batches=range(STEPS + 3, STEPS + 4))  # one batch of the second epoch
    model, trained = fit(source=source, rates=(3e-2, RATE))
    assert [(run.diverged, len(run.curve)) for run in trained.runs] == [(True, 1), (False, 3)]
    assert np.isfinite(trained.runs[0].curve[0].score), "what is stored must be numbers"
    assert trained.chosen == 1
    assert same_weights(model.get_weights(), alone[0].get_weights())


@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_are_ruined_by_the_last_step_of_an_epoch_are_never_kept(
    fit: Fit, features: NDArray[np.float32], labels: NDArray[np.int64], epoch: int
) -> None:
    """The loss of such an epoch is still finite: only val shows what has become of the network."""
    model = network()
    step, taken = model.train_on_batch, iter(range(1, 1000))

    def spoiling(*batch: Any, **options: Any) -> Any:
        loss = step(*batch, **options)
        if next(taken) >= epoch * STEPS:
            model.set_weights([np.full_like(weights, np.nan) for weights in model.get_weights()])
        return loss

    model.train_on_batch = spoiling
    with pytest.raises(DivergedError) as error:
        fit(model=model, epochs=6)
    assert [len(run.curve) for run in error.value.trials] == [epoch - 1]


def test_the_trace_is_what_stands_behind_the_numbers_and_json(fit: Fit) -> None:
    _, trained = fit(rates=(ABSURD, RATE), epochs=2)
    trace = json.loads(json.dumps(trained.trace(), allow_nan=False))
    assert set(trace) == {"start", "trials", "chosen", "epoch"}
    assert (trace["chosen"], trace["epoch"]) == (1, 2)
    assert (trace["start"]["epoch"], trace["start"]["loss"]) == (0, None)
    assert trace["trials"][0] == {"rate": ABSURD, "curve": [], "ended": "diverged"}
    assert [point["score"] for point in trace["trials"][1]["curve"]] == [p.score for p in trained.runs[1].curve]


def test_predictions_are_the_softmax_of_the_logits() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, inputs * 1.0)
    logits = np.random.default_rng(0).normal(0, 30, (70, 3)).astype(np.float32)
    logits[0] = [0, np.log(2), np.log(5)]
    order = np.random.default_rng(1).permutation(70)  # two whole batches and one of six
    found = fine_tuning.predict(model, Given(logits), order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(logits[order], axis=1), atol=1e-6)
    np.testing.assert_allclose(
        fine_tuning.predict(model, Given(logits), np.array([0])), [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-5
    )


def test_predictions_are_made_without_dropout(features: NDArray[np.float32]) -> None:
    model = network(dropout=0.9)
    first, again = (fine_tuning.predict(model, Given(features), VAL) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, fine_tuning.predict(network(), Given(features), VAL))
    np.testing.assert_allclose(fine_tuning.predict(model, Given(features), VAL[::-1]), first[::-1], atol=1e-6)
