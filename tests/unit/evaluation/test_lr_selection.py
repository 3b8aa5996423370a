"""Learning rates in a race: how good a trial is, and when it is behind."""

from __future__ import annotations

import math

import pytest

from backbench.evaluation.lr_selection import BEHIND, DivergedError, Epoch, LearningRateRun


def trial(*scores: float, rate: float = 3e-4, ended: str = "all epochs") -> LearningRateRun:
    """A curve of these scores."""
    return LearningRateRun(rate, tuple(Epoch(n, 1.0, score, 1.0, score) for n, score in enumerate(scores, 1)), ended)


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
        "curve": [{"epoch": 1, "loss": 1.0, "val_acc": 0.25, "val_nll": 1.0, "score": 0.25}],
        "ended": "behind",
    }


def test_a_training_that_diverged_at_all_rates_knows_its_trials() -> None:
    trials = [trial(ended="diverged"), trial(rate=1e-3, ended="diverged")]
    assert DivergedError(trials).trials == tuple(trials)
