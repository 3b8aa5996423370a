"""Searches under a budget, on made-up scores: who goes on, what is asked for next, and why the others are dropped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backbench.budget import one_epoch_baseline, successive_halving
from backbench.budget.history import as_tried
from backbench.budget.protocol import Arm, Measurement, PerItemScores, Round, Strategy
from backbench.budget.pruning import cut
from backbench.core.job import FULL, Schedule, Screening

# Items that all arms find equally hard: differences between arms are then the same everywhere, and certain.
HARDNESS = np.log(np.linspace(0.2, 0.9, 50))


def seen(score: float) -> PerItemScores:
    """Items whose selection score is this."""
    return HARDNESS - HARDNESS.mean() + np.log(score)


def arms(networks: str, freezes: tuple[str, ...] = ("all", "all-1", "all-2"), seeds: int = 2) -> list[Arm]:
    made = []
    for network in networks:
        for freeze in freezes:
            cells = tuple(f"{network}@{freeze}#{seed}" for seed in range(1 if freeze == "all" else seeds))
            made.append(Arm(network, network.lower(), freeze, cells, 0 if freeze == "all" else 9, prior=ord(network)))
    return made


def played(
    strategy: Strategy, given: list[Arm], score: Callable[[Measurement], float | None]
) -> tuple[list[Round], list[list[str]]]:
    """All rounds of a search, and the cells that each asked for; steps that score None are not taken."""
    search = strategy(given)
    rounds, asked = [next(search)], []
    while True:
        told: dict[Measurement, PerItemScores] = {}
        asked.append([step.cell for step in rounds[-1].steps])
        for step in rounds[-1].steps:
            if (value := score(step)) is not None:
                told[step] = seen(value)
        try:
            rounds.append(search.send(told))
        except StopIteration:
            return rounds, asked


def test_the_best_third_goes_on_and_who_is_surely_behind_does_not() -> None:
    found = cut({name: seen(score) for name, score in zip("abcdef", (0.1, 0.6, 0.5, 0.4, 0.3, 0.2), strict=True)})
    assert found.on == ("b", "c")
    assert found.sure == 2
    assert found.reasons["d"] == "score 0.400, the last that went on has score 0.500"
    assert set(found.reasons) == {"a", "d", "e", "f"}


def test_who_cannot_be_told_apart_from_the_last_goes_on_too() -> None:
    rng = np.random.default_rng(0)
    noisy = {name: seen(score) + rng.normal(0, 1, 50) for name, score in (("a", 0.5), ("b", 0.49), ("c", 0.05))}
    found = cut(noisy)
    assert (found.on, found.sure) == (("a", "b"), 1)
    # The interval by hand: behind by 0.05 on average over four items with a standard error of 0.05 / 2.
    four = np.array([0.0, 0.0, 0.1, 0.1])
    error = four.std(ddof=1) / 2
    assert 0.05 / error == pytest.approx(1.732, abs=1e-3)
    assert cut({"a": four, "b": np.zeros(4)}).on == ("a", "b")  # 1.73 standard errors: not beyond 1.96
    assert cut({"a": four, "b": np.zeros(4)}, level=0.9).on == ("a",)  # but beyond 1.64


def test_one_item_tells_nobody_apart() -> None:
    assert cut({"a": np.array([0.0]), "b": np.array([-9.0])}).on == ("a", "b")


def test_halving_probes_all_then_trains_less_and_less_of_it() -> None:
    given = arms("abcdef")
    worth = dict(zip("abcdef", (0.8, 0.7, 0.5, 0.4, 0.3, 0.2), strict=True))
    rounds, asked = played(
        successive_halving.rounds, given, lambda step: worth[step.arm.network] + 0.01 * len(step.arm.freeze)
    )
    assert [one.name for one in rounds] == ["probes", "trials", "first seeds", "other seeds"]
    assert asked[0] == [f"{network}@all#0" for network in "fedcba"]  # the best by the prior first
    assert asked[1] == ["a@all-1#0", "a@all-2#0", "b@all-1#0", "b@all-2#0"]  # a third of six networks
    assert [step.effort for step in rounds[1].steps] == [Schedule(epochs=2)] * 4
    assert asked[2] == ["a@all-1#0", "a@all-2#0"]  # of each depth a third of two, which is one
    assert rounds[2].steps[0].effort == FULL
    # Eight cells are done, and a third of them are three: both depths of a, and its probe, which has no other seed.
    assert asked[3] == ["a@all-1#1", "a@all-2#1"]


def test_what_is_dropped_is_said_with_its_scores() -> None:
    worth = dict(zip("abcdef", (0.8, 0.7, 0.5, 0.4, 0.3, 0.2), strict=True))
    rounds, _ = played(successive_halving.rounds, arms("abcdef"), lambda step: worth[step.arm.network])
    dropped = {arm.label: reason for one in rounds for arm, reason in one.dropped.items()}
    assert dropped["c@all-1"] == "its frozen probe: score 0.500, the last that went on has score 0.700"
    assert dropped["b@all-2"] == "a trial among all-2: score 0.700, the last that went on has score 0.800"
    assert "a@all-1" not in dropped


def test_depths_are_compared_among_themselves_until_they_are_done() -> None:
    """A deeper training that starts slower is not thrown out by a shallower one."""

    def score(step: Measurement) -> float:
        deep = step.arm.freeze == "all-2"
        return (0.9 if step.effort.complete else 0.2) if deep else 0.5

    _, asked = played(successive_halving.rounds, arms("ab"), score)
    assert "a@all-2#0" in asked[2]
    assert set(asked[3]) == {"a@all-2#1", "b@all-2#1"}  # equals go on together


def test_what_has_no_probe_comes_first_and_is_not_judged_by_one() -> None:
    scratch = Arm("scratch", "scratch", "none", ("scratch#0",), 25)
    rounds, asked = played(successive_halving.rounds, [*arms("ab"), scratch], lambda step: 0.5)
    assert asked[1][0] == "scratch#0"
    assert rounds[1].steps[0].effort == Schedule(epochs=5)  # a fifth of 25
    assert "scratch#0" in asked[2]


def test_many_networks_are_screened_and_the_best_of_each_family_stays() -> None:
    given = [
        Arm(name, family, "all", (f"{name}#0",), prior=0.0)
        for name, family in zip("abcdefghi", ("x", "x", "x", "x", "y", "y", "y", "z", "z"), strict=True)
    ]
    worth = dict(zip("abcdefghi", (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), strict=True))
    rounds, asked = played(successive_halving.rounds, given, lambda step: worth[step.arm.network])
    assert [one.name for one in rounds][:2] == ["screening", "probes"]
    assert {step.effort for step in rounds[0].steps} == {Screening(successive_halving.IMAGES)}
    assert asked[1] == ["a#0", "b#0", "c#0", "e#0", "h#0"]  # a third of nine, and the best of y and of z
    dropped = {arm.network: reason for arm, reason in rounds[1].dropped.items()}
    assert set(dropped) == set("dfgi")
    assert dropped["d"].startswith("screened: ")


def test_a_screening_is_told_in_images_that_are_right() -> None:
    right = {name: np.arange(50) < 48 - 5 * place for place, name in enumerate("abcdefghi")}
    search = successive_halving.rounds([Arm(name, "x", "all", (f"{name}#0",)) for name in "abcdefghi"])
    told = {step: right[step.arm.network].astype(float) for step in next(search).steps}
    dropped = {arm.network: reason for arm, reason in search.send(told).dropped.items()}
    assert dropped["i"] == "screened: 16.0% right, the last that went on has 76.0% right"


def test_what_could_not_be_screened_for_time_is_not_dropped() -> None:
    given = [Arm(name, "x", "all", (f"{name}#0",)) for name in "abcdefghi"]
    _, asked = played(
        successive_halving.rounds,
        given,
        lambda step: None if isinstance(step.effort, Screening) and step.arm.network == "i" else 0.5,
    )
    assert asked[1][-1] == "i#0"


def test_the_baseline_trains_all_for_one_epoch_and_finishes_the_best() -> None:
    worth = {"a": 0.5, "b": 0.8}
    rounds, asked = played(
        one_epoch_baseline.rounds, arms("ab", ("all", "all-1")), lambda step: worth[step.arm.network]
    )
    assert asked == [["a@all#0", "b@all#0"], ["a@all-1#0", "b@all-1#0"],
                     ["b@all-1#0", "b@all-1#1", "a@all-1#0", "a@all-1#1"]]  # fmt: skip
    assert {step.effort for step in rounds[1].steps} == {Schedule(epochs=1)}


def test_a_search_that_is_told_nothing_ends() -> None:
    for strategy in (successive_halving.rounds, one_epoch_baseline.rounds):
        rounds, asked = played(strategy, arms("ab"), lambda _: None)
        assert len(rounds) == {successive_halving.rounds: 4, one_epoch_baseline.rounds: 3}[strategy]
        assert not any(asked[2:])


def test_a_trial_of_what_is_finished_has_the_mean_of_its_curve() -> None:
    tried = as_tried(seen(0.8), (0.3, 0.25, 0.6), epochs=2)
    assert np.exp(tried.mean()) == pytest.approx(0.3)
    assert np.allclose(tried - tried.mean(), HARDNESS - HARDNESS.mean())
    assert np.exp(as_tried(seen(0.8), (0.3,), epochs=3).mean()) == pytest.approx(0.3)


def test_a_small_dataset_is_not_screened() -> None:
    """Its screening would be as much work as the pass itself."""
    given = [Arm(name, "x", "all", (f"{name}#0",)) for name in "abcdefghi"]
    assert (
        next(successive_halving.rounds(given, train=successive_halving.FEW * successive_halving.IMAGES - 1)).name
        == "probes"
    )
    assert (
        next(successive_halving.rounds(given, train=successive_halving.FEW * successive_halving.IMAGES)).name
        == "screening"
    )


def test_a_single_arm_needs_no_trial() -> None:
    scratch = Arm("scratch", "scratch", "none", ("scratch#0", "scratch#1"), 25)
    _, asked = played(successive_halving.rounds, [scratch], lambda step: 0.5)
    assert asked == [[], [], ["scratch#0"], ["scratch#1"]]
