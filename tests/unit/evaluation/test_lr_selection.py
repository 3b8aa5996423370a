"""Learning rates that did not race come to what they would have come to, had they raced."""

from __future__ import annotations

import pytest

from backbench.evaluation.lr_selection import Epoch, LearningRateRun, from_trace, leader, run_again


def trial(rate: float, *scores: float, ended: str = "all epochs") -> LearningRateRun:
    """A curve of these scores."""
    return LearningRateRun(rate, tuple(Epoch(n, 1.0, score, 1.0, score) for n, score in enumerate(scores, 1)), ended)


def test_who_falls_behind_ends_there_and_the_first_of_equals_wins() -> None:
    first = trial(3e-4, 0.2, 0.5, 0.4, 0.6)
    slow = trial(1e-3, 0.3, 0.4, 0.9, 0.9)  # ahead after one epoch, which does not count; behind after two
    equal = trial(1e-4, 0.1, 0.5, 0.5, 0.6)
    found, chosen = run_again([first, slow, equal])
    assert found == (first, trial(1e-3, 0.3, 0.4, ended="behind"), equal)
    assert chosen == 0


def test_the_race_is_against_the_best_so_far() -> None:
    leader = trial(1e-3, 0.1, 0.6, 0.7)
    last = trial(1e-4, 0.1, 0.55, 0.9)  # better than the first one by then, not than the second
    found, chosen = run_again([trial(3e-4, 0.1, 0.5, 0.5), leader, last])
    assert chosen == 1
    assert found[2] == trial(1e-4, 0.1, 0.55, ended="behind")


def test_a_reason_of_its_own_goes_first_in_the_last_epoch() -> None:
    first = trial(3e-4, 0.5, 0.6, 0.7)
    done = trial(1e-3, 0.2, 0.3, ended="no longer better")
    assert run_again([first, done])[0][1] == done


def test_who_is_behind_does_not_get_as_far_as_to_diverge() -> None:
    first = trial(3e-4, 0.5, 0.6, 0.7)
    late = trial(1e-3, 0.2, 0.3, ended="diverged")  # in its third epoch, which a race would not have begun
    early = trial(1e-4, 0.2, ended="diverged")
    found, chosen = run_again([first, late, early])
    assert found[1] == trial(1e-3, 0.2, 0.3, ended="behind")
    assert found[2] == early
    assert chosen == 0


@pytest.mark.parametrize(("curves", "expected"), [([(), (0.1,), (0.2,)], 2), ([(), (), ()], -1), ([(0.2,), ()], 0)])
def test_who_diverges_at_once_neither_leads_nor_wins(curves: list[tuple[float, ...]], expected: int) -> None:
    trials = [trial(1e-3, *curve, ended="all epochs" if curve else "diverged") for curve in curves]
    found, chosen = run_again(trials)
    assert found == tuple(trials)
    assert chosen == expected


def test_a_trial_is_read_as_it_was_written() -> None:
    made = trial(3e-4, 0.25, 0.5)
    assert from_trace(made.trace()) == made


def test_a_rival_is_known_only_with_all_that_went_before() -> None:
    first, second = trial(3e-4, 0.2, 0.5), trial(1e-3, 0.2, 0.6)
    assert leader({}, 0) is None
    assert leader({0: first}, 1) == first
    assert leader({0: first, 1: second}, 2) == second
    assert leader({1: second}, 2) is None
    assert leader({0: trial(3e-4, ended="diverged")}, 1) is None
