"""Selection of the learning rate: what a run is worth, and which one wins."""

from __future__ import annotations

import math

import pytest

from backbench.evaluation.lr_selection import DivergedError, Epoch, LearningRateRun, best


def run(*scores: float, rate: float = 3e-4, diverged: bool = False) -> LearningRateRun:
    """A run with a curve of these scores."""
    curve = tuple(Epoch(epoch, 1.0, 0.6, 1.0, score) for epoch, score in enumerate(scores, 1))
    return LearningRateRun(rate, curve, diverged)


@pytest.mark.parametrize(
    ("runs", "chosen"),
    [
        ([run(0.5)], 0),
        ([run(0.1, 0.9, 0.4), run(0.1, 0.2, 0.5)], 1),  # where it ended, not where it has been
        ([run(0.5), run(0.5)], 0),
        ([run(0.9, diverged=True), run(0.1)], 1),  # its weights are gone
        ([run(diverged=True), run(0.2), run(0.3)], 2),
    ],
)
def test_the_run_that_ends_best_is_chosen_and_of_equals_the_first(runs: list[LearningRateRun], chosen: int) -> None:
    assert best(runs) == chosen


def test_a_run_that_diverged_is_worth_less_than_any_other() -> None:
    assert run(0.9, diverged=True).score == -math.inf
    assert run(0.1, 0.3).score == 0.3


def test_runs_that_all_diverged_are_an_error_that_knows_them() -> None:
    runs = [run(diverged=True), run(0.3, rate=1e-3, diverged=True)]
    with pytest.raises(DivergedError) as error:
        best(runs)
    assert error.value.trials == tuple(runs)


@pytest.mark.parametrize(("diverged", "ended"), [(False, "all epochs"), (True, "diverged")])
def test_the_trace_of_a_run_has_its_whole_curve(diverged: bool, ended: str) -> None:
    assert run(0.25, rate=1e-3, diverged=diverged).trace() == {
        "rate": 1e-3,
        "curve": [{"epoch": 1, "loss": 1.0, "val_acc": 0.6, "val_nll": 1.0, "score": 0.25}],
        "ended": ended,
    }
