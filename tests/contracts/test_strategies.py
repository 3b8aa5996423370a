"""What every search under a budget keeps to, whatever it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pytest

from backbench.budget.protocol import Arm, Measurement, PerItemScores, Round, Strategy
from backbench.budget.strategies import STRATEGIES

ITEMS, EPOCHS = 40, 9
FREEZES = ("all", "all-1", "none")


def arms(networks: int, *, seeds: int = 3, probes: bool = True) -> list[Arm]:
    """So many networks of three families, each at three depths, and the hand-made CNN, which has no probe."""
    made = [Arm("scratch", "scratch", "none", tuple(f"scratch#{seed}" for seed in range(seeds)), EPOCHS)]
    for number in range(networks):
        for freeze in FREEZES[not probes :]:
            cells = tuple(f"{number}@{freeze}#{seed}" for seed in range(1 if freeze == "all" else seeds))
            made.append(Arm(f"net{number}", f"family{number % 3}", freeze, cells, 0 if freeze == "all" else EPOCHS))
    return made


def measured(step: Measurement) -> PerItemScores:
    """Made-up values, the same for the same step."""
    rng = np.random.default_rng([*step.cell.encode(), step.effort.complete])
    return np.log(rng.uniform(0.05, 0.95) * rng.uniform(0.8, 1.0, ITEMS))


def search(strategy: Strategy, given: Sequence[Arm], *, measurable: int | None = None) -> Iterator[Round]:
    """The rounds of a search; of each only the first `measurable` steps are taken, as when time is over."""
    rounds = strategy(given)
    current: Round | None = next(rounds)
    while current is not None:
        yield current
        try:
            current = rounds.send({step: measured(step) for step in current.steps[:measurable]})
        except StopIteration:
            current = None


every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
every_size = pytest.mark.parametrize("networks", [0, 1, 2, 7, 12])


@every_strategy
@every_size
def test_every_arm_is_measured_or_dropped_with_a_reason(strategy: Strategy, networks: int) -> None:
    given = arms(networks)
    rounds = list(search(strategy, given))
    complete = {step.arm for one in rounds for step in one.steps if step.effort.complete}
    dropped = {arm: reason for one in rounds for arm, reason in one.dropped.items()}
    assert complete | set(dropped) == set(given)
    assert all(dropped.values())


@every_strategy
@every_size
def test_of_what_is_not_dropped_every_seed_is_measured(strategy: Strategy, networks: int) -> None:
    given = arms(networks)
    rounds = list(search(strategy, given))
    complete = {step.cell for one in rounds for step in one.steps if step.effort.complete}
    dropped = set(chain.from_iterable(one.dropped for one in rounds))
    assert {cell for arm in given if arm not in dropped for cell in arm.cells} <= complete


@every_strategy
@every_size
def test_nothing_is_measured_twice_and_only_cells_of_their_arm(strategy: Strategy, networks: int) -> None:
    steps = [step for one in search(strategy, arms(networks)) for step in one.steps]
    assert len(steps) == len(set(steps))
    assert all(step.cell in step.arm.cells for step in steps)


@every_strategy
@every_size
def test_what_is_dropped_is_not_asked_for_again(strategy: Strategy, networks: int) -> None:
    dropped: set[Arm] = set()
    for one in search(strategy, arms(networks)):
        dropped |= set(one.dropped)
        assert dropped.isdisjoint(step.arm for step in one.steps)


@every_strategy
@every_size
def test_a_round_may_spend_a_share_of_what_is_left(strategy: Strategy, networks: int) -> None:
    rounds = list(search(strategy, arms(networks)))
    assert all(0.0 < one.share <= 1.0 for one in rounds)
    assert rounds[-1].share == 1.0, "the last round leaves nothing for another"
    assert all(one.name for one in rounds)


@every_strategy
@every_size
def test_the_same_measurements_lead_to_the_same_search(strategy: Strategy, networks: int) -> None:
    first, second = (list(search(strategy, arms(networks))) for _ in range(2))
    assert first == second


@every_strategy
def test_arms_without_a_probe_are_measured_as_well(strategy: Strategy) -> None:
    given = arms(4, probes=False)
    rounds = list(search(strategy, given))
    complete = {step.arm for one in rounds for step in one.steps if step.effort.complete}
    dropped = set(chain.from_iterable(one.dropped for one in rounds))
    assert complete
    assert complete | dropped == set(given)


@every_strategy
@pytest.mark.parametrize("measurable", [0, 1, 3])
def test_a_search_ends_and_drops_nobody_unseen_when_time_is_over(strategy: Strategy, measurable: int) -> None:
    seen: set[str] = set()
    for one in search(strategy, arms(12), measurable=measurable):
        for arm in one.dropped:
            assert arm.network in seen, "only what a measurement of its network says can drop an arm"
        seen |= {step.arm.network for step in one.steps[:measurable]}
