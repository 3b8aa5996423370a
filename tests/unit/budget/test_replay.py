"""A search on what an exhaustive sweep measured: costs, choices and regret, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backbench.budget import one_epoch_baseline, successive_halving
from backbench.budget.history import Curve, SweepHistory
from backbench.budget.protocol import Arm, Measurement, PerItemScores
from backbench.budget.replay import best, play, replay
from backbench.core.job import Schedule, Screening

HARDNESS = np.log(np.linspace(0.2, 0.9, 50))


def seen(score: float) -> PerItemScores:
    return HARDNESS - HARDNESS.mean() + np.log(score)


def made(scores: dict[str, float], *, seconds: float = 10.0, shared: float = 2.0) -> SweepHistory:
    """Networks with a probe (a second) and one trained depth of two seeds, ten epochs each; test is the score."""
    arms, final, curves, spent = [], {}, {}, {}
    test = {}
    for network, score in scores.items():
        probe = Arm(network, network, "all", (f"{network}#p",), 0)
        trained = Arm(network, network, "all-1", (f"{network}#0", f"{network}#1"), 10)
        for arm, bonus in ((probe, 0.0), (trained, 0.05)):
            arms.append(arm)
            test[arm] = score + bonus
            for cell in arm.cells:
                final[cell] = seen(score + bonus)
                spent[cell] = seconds if arm.epochs else 1.0
                if arm.epochs:
                    curves[cell] = Curve(tuple(score * (0.5 + epoch / 20) for epoch in range(1, 11)), seconds / 10)
    return SweepHistory(tuple(arms), final, curves, spent, dict.fromkeys(scores, shared), test)


def test_the_seconds_of_an_exhaustive_sweep_are_those_of_all_cells_and_what_they_share() -> None:
    assert made({"a": 0.5, "b": 0.6}).total == 2 * (2 + 1 + 10 + 10)


def test_a_trial_costs_its_epochs_and_at_most_those_that_there_were() -> None:
    known = made({"a": 0.5, "b": 0.6})
    trained = known.arms[1]
    assert known.cost(Measurement(trained, "a#0", Schedule(epochs=3))) == 3
    assert known.cost(Measurement(trained, "a#0", Schedule(epochs=99))) == 10
    assert known.cost(Measurement(trained, "a#0")) == 10
    assert np.exp(known.seen(Measurement(trained, "a#0", Schedule(epochs=2))).mean()) == pytest.approx(0.5 * 0.6)


def test_what_a_network_shares_is_paid_once() -> None:
    known = made({"a": 0.5, "b": 0.6})
    # Both probes 2 x (2 + 1); the network that is ahead has one arm, which needs no trial, with two seeds.
    found = play(known, successive_halving.rounds, budget=1e9)
    assert found.seconds == 6 + 10 + 10
    assert (found.chosen.label if found.chosen else None) == "b@all-1"
    assert found.cells == {"a#p", "b#p", "b#0", "b#1"}


def test_a_budget_is_never_exceeded_and_used_as_far_as_something_fits() -> None:
    known = made({"a": 0.5, "b": 0.6, "c": 0.4})
    for budget in np.arange(0.0, 60.0, 1.7):
        for strategy in (successive_halving.rounds, one_epoch_baseline.rounds):
            assert play(known, strategy, budget=budget).seconds <= budget
    assert play(known, successive_halving.rounds, budget=2.9).chosen is None
    assert play(known, successive_halving.rounds, budget=3.0).measured == 1
    # All probes 9, an epoch 1, a seed 10: with 20 seconds the second seed has no room.
    assert play(known, successive_halving.rounds, budget=20.0).cells == {"a#p", "b#p", "c#p", "b#0"}


def test_many_networks_are_screened_by_what_their_probes_came_to() -> None:
    known = made({name: 0.1 + 0.05 * place for place, name in enumerate("abcdefghi")})
    found = play(known, successive_halving.rounds, budget=1e9)
    assert found.chosen is not None
    assert found.chosen.label == "i@all-1"
    # Each is the best of its own family, so that all probes follow: 9 x (2 + 1). A third is tried for two epochs, and
    # one is finished.
    assert found.seconds == 27 + 3 * 2 + 20
    probe = known.arms[0]
    assert known.cost(Measurement(probe, "a#p", Screening(1000))) == 0


def test_the_choice_is_the_arm_with_the_best_mean_over_the_seeds_that_are_there() -> None:
    two, one = Arm("a", "a", "all-1", ("a#0", "a#1"), 10), Arm("b", "b", "all-1", ("b#0", "b#1"), 10)
    done = {"a#0": seen(0.6), "a#1": seen(0.4), "b#0": seen(0.52)}
    assert best([two, one], done) is one
    assert best([two, one], {"a#0": seen(0.6)}) is two
    assert best([two, one], {}) is None


def test_regret_is_to_the_choice_of_the_whole_sweep_and_to_the_best_on_test() -> None:
    known = made({"a": 0.5, "b": 0.6})
    frame = replay(known, shares=(0.07, 1.0), draws=3)
    assert len(frame) == 2 * 2 * 3
    whole = frame[(frame["budget"] == 1.0) & (frame["strategy"] == "halving")]
    assert list(whole["regret"]) == [0.0] * 3
    assert list(whole["chosen"]) == ["b@all-1"] * 3
    assert whole["survived"].all()
    # 7 % of 46 seconds is one probe: that of b, whose prior is no better, comes second.
    poor = frame[(frame["budget"] == 0.07) & (frame["strategy"] == "halving")]
    assert list(poor["chosen"]) == ["a@all"] * 3
    assert list(poor["regret"]) == pytest.approx([0.65 - 0.5] * 3)
    assert list(poor["regret_best"]) == pytest.approx([0.65 - 0.5] * 3)
    assert not poor["survived"].any()
    assert list(poor["spent"]) == pytest.approx([3 / 46] * 3)


def test_the_same_seed_gives_the_same_draws() -> None:
    known = made({"a": 0.5, "b": 0.6, "c": 0.55})
    assert replay(known, draws=2).equals(replay(known, draws=2))
