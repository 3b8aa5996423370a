"""Selection of the learning rate: how good a run is, when it ends before its schedule, and which one wins."""

from __future__ import annotations

import math

import pytest

from backbench.core import recipe
from backbench.evaluation.lr_selection import BEHIND, DivergedError, Epoch, LearningRateRun, LearningRateSelection

VAL = 50


def trial(*scores: float, rate: float = 3e-4, ended: str = "all epochs") -> LearningRateRun:
    """A run with a curve of these scores."""
    return LearningRateRun(rate, curve(*scores), ended)


def curve(*scores: float, wrong: tuple[int, ...] = ()) -> tuple[Epoch, ...]:
    """Points of these scores; of VAL images so many are wrong in each epoch, and 20 where it is not given."""
    wrong += (20,) * (len(scores) - len(wrong))
    errors = zip(scores, wrong, strict=True)
    return tuple(Epoch(n, 1.0, 1 - false / VAL, 1.0, score) for n, (score, false) in enumerate(errors, 1))


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers that the tests below count with, whatever they are tuned to."""
    for name, value in {"PATIENCE": 0.2, "LEAST_PATIENCE": 2, "LEFT_ON_VAL": 1, "RACE_FROM": 2}.items():
        monkeypatch.setattr(recipe, name, value)


def selection(*runs: LearningRateRun, epochs: int = 20, stop_after: int | None = None) -> LearningRateSelection:
    """With these runs behind it."""
    found = LearningRateSelection(epochs=epochs, stop_after=stop_after or epochs, val=VAL)
    for run in runs:
        found.take(run)
    return found


def endings(selected: LearningRateSelection, points: tuple[Epoch, ...]) -> dict[int, str]:
    """Every epoch after which the selection would end a run, and why."""
    reasons = {n: selected.ended(points[:n]) for n in range(1, len(points) + 1)}
    return {n: reason for n, reason in reasons.items() if reason}


def test_the_best_score_is_that_of_the_epochs_so_far() -> None:
    curve = trial(0.2, 0.5, 0.4, 0.6)
    assert curve.best == 0.6
    assert [curve.best_by(epoch) for epoch in (1, 2, 3, 4)] == [0.2, 0.5, 0.5, 0.6]
    assert trial(ended="diverged").best == -math.inf


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [
        ((0.3, 0.4, 0.9), 2),  # ahead after one epoch and at its end, but behind after two
        ((0.1, 0.5, 0.45, 0.55), 4),  # as good until .6 is there
        ((0.1, 0.5, 0.5, 0.6), None),  # an equal is not behind
        ((0.1,), None),  # one epoch is too few
    ],
)
def test_a_trial_is_behind_whose_best_score_is_below_the_best_of_its_rival(
    scores: tuple[float, ...], epoch: int | None
) -> None:
    leading = trial(0.2, 0.5, 0.4, 0.6)
    behind = [n for n in range(1, len(scores) + 1) if trial(*scores).behind(leading, n)]
    assert (behind[0] if behind else None) == epoch


def test_a_trial_is_not_behind_a_rival_that_diverged_at_once() -> None:
    assert not trial(0.0, 0.0).behind(trial(ended="diverged"), 2)
    assert trial(ended="diverged").behind(trial(0.0, 0.0), 2)


def test_the_trace_of_a_trial_has_its_whole_curve() -> None:
    assert trial(0.25, rate=1e-3, ended=BEHIND).trace() == {
        "rate": 1e-3,
        "curve": [{"epoch": 1, "loss": 1.0, "val_acc": 0.6, "val_nll": 1.0, "score": 0.25}],
        "ended": "behind",
    }


def test_a_training_that_diverged_at_all_rates_knows_its_trials() -> None:
    trials = [trial(ended="diverged"), trial(rate=1e-3, ended="diverged")]
    assert DivergedError(trials).trials == tuple(trials)


@pytest.mark.parametrize(
    ("epochs", "scores", "last", "reason"),
    [
        # A fifth of 20 epochs is four: the best is the second, so the sixth is the last.
        (20, (0.1, 0.5, 0.4, 0.4, 0.4, 0.4), 6, "no longer better"),
        # What gets better in time goes on; as good is not better.
        (20, (0.1, 0.5, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6), 10, "no longer better"),
        # Two at least, where a fifth is one.
        (5, (0.5, 0.4, 0.4), 3, "no longer better"),
        (5, (0.3, 0.2, 0.4, 0.2, 0.2), 5, "all epochs"),
        (4, (0.5, 0.6, 0.4, 0.4), 4, "all epochs"),  # which goes before running out of patience
    ],
)
def test_a_run_ends_with_its_schedule_or_when_val_no_longer_gets_better(
    epochs: int, scores: tuple[float, ...], last: int, reason: str
) -> None:
    assert endings(selection(epochs=epochs), curve(*scores)) == {last: reason}


def test_a_run_that_is_only_tried_ends_with_the_last_epoch_that_is_trained() -> None:
    assert endings(selection(epochs=10, stop_after=3), curve(0.1, 0.2, 0.3)) == {3: "all epochs"}


@pytest.mark.parametrize(
    ("scores", "wrong", "expected"),
    [
        # Two images are wrong, then one in an epoch that is not the best so far, then one in the best.
        ((0.5, 0.4, 0.6), (2, 1, 1), {3: "val is as good as solved"}),
        ((0.5, 0.6), (3, 0), {2: "val is as good as solved"}),
        ((0.5, 0.6), (3, 2), {}),
    ],
)
def test_a_run_ends_when_val_has_next_to_nothing_left_to_tell(
    scores: tuple[float, ...], wrong: tuple[int, ...], expected: dict[int, str]
) -> None:
    assert endings(selection(), curve(*scores, wrong=wrong)) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.1, 0.4), {2: "behind"}),  # behind .2 after one epoch, which is forgiven; behind .5 after two
        ((0.2, 0.5, 0.45), {}),  # as good as .5 by the second and the third, where .6 is still to come
        ((0.2, 0.5, 0.45, 0.55), {4: "behind"}),
        ((0.1, 0.7), {}),
    ],
)
def test_a_run_ends_when_it_is_behind_the_chosen_one(scores: tuple[float, ...], expected: dict[int, str]) -> None:
    assert endings(selection(trial(0.2, 0.5, 0.4, 0.6)), curve(*scores)) == expected


def test_the_race_is_against_the_best_so_far_whichever_it_is() -> None:
    first, second = trial(0.3, 0.4, 0.5), trial(0.2, 0.6, 0.7)
    assert endings(selection(first), curve(0.5, 0.5)) == {}
    assert endings(selection(first, second), curve(0.5, 0.5)) == {2: "behind"}


def test_a_run_that_diverged_at_once_is_no_rival() -> None:
    assert endings(selection(trial(ended="diverged")), curve(0.0, 0.1)) == {}


def test_the_best_run_is_chosen_and_of_equals_the_first() -> None:
    selected = selection()
    assert selected.chosen is None
    taken = [selected.take(run) for run in (trial(ended="diverged"), trial(0.5), trial(0.2, 0.5), trial(0.6, 0.1))]
    assert taken == [False, True, False, True]
    assert selected.chosen == 3
    assert [run.best for run in selected.runs] == [-math.inf, 0.5, 0.5, 0.6]


@pytest.mark.parametrize(("epochs", "patience"), [(1, 2), (10, 2), (12, 2), (13, 3), (50, 10)])
def test_patience_is_a_share_of_the_schedule_and_two_epochs_at_least(epochs: int, patience: int) -> None:
    assert selection(epochs=epochs).patience == patience
