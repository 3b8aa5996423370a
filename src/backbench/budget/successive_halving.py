"""Synchronous successive halving: a little of everything, then more and more of less and less.

Jamieson and Talwalkar (2016), arXiv 1502.07943, with a third going on each time. The rungs are some images without
training, the probe, which is a result in itself, a short schedule, one seed, and all of them. Trials are compared
within equal depth, because deeper training starts slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backbench.analysis.ranking import depth_order
from backbench.budget.protocol import Arm, Measurement, PerItemScores, Round, Rounds
from backbench.budget.pruning import cut, right
from backbench.core.job import Schedule, Screening

# Of at least so many networks, images of train show which ones are worth a whole pass; so many images, where train has
# several times as many, or they were as much work as the pass itself.
SCREENED, IMAGES, FEW = 9, 1000, 4

# How long the schedule of a trial is, as a share of the recipe's epochs. It is a whole one, with a warm-up and an end:
# in the first epochs of a long one every network is worse than at its start. What goes on starts anew.
TRIAL = 0.2

# What of the budget that is left a round may spend: the rest is for what comes after it.
FOR_SCREENING, FOR_PROBES, FOR_TRIALS, FOR_FIRST_SEEDS = 1 / 4, 1 / 2, 1 / 3, 9 / 10


def rounds(arms: Sequence[Arm], *, train: int = FEW * IMAGES) -> Rounds:
    """Ask for probes, for trials of the best networks, for one seed of the best arms, and for the others of theirs."""
    probes = sorted((arm for arm in arms if not arm.epochs), key=lambda arm: -arm.prior)
    out: dict[str, str] = {}
    if len(probes) >= SCREENED and train >= FEW * IMAGES:
        told = yield Round(
            "screening", [Measurement(arm, arm.cells[0], Screening(IMAGES)) for arm in probes], FOR_SCREENING
        )
        probes, out = _screened({step.arm: seen for step, seen in told.items()}, probes)
    dropped = {arm: out[arm.network] for arm in arms if arm.network in out}
    told = yield Round("probes", [Measurement(arm, arm.cells[0]) for arm in probes], FOR_PROBES, dropped)
    done = {step.arm: seen for step, seen in told.items()}
    networks = cut({arm.network: seen for arm, seen in done.items()})
    out |= {network: f"its frozen probe: {reason}" for network, reason in networks.reasons.items()}
    place = {network: position for position, network in enumerate(networks.on)}
    probed = {arm.network for arm in arms if not arm.epochs}
    # What has no probe comes first: the hand-made CNN answers a question of its own.
    alive = [arm for arm in arms if arm.epochs and (arm.network in place or arm.network not in probed)]
    alive.sort(key=lambda arm: (place.get(arm.network, -1), depth_order(arm.freeze)))
    dropped = {arm: out[arm.network] for arm in arms if arm.epochs and arm.network in out}
    tried = alive if len(alive) > 1 else []  # a single one has nobody to be compared with
    trials = [Measurement(arm, arm.cells[0], Schedule(epochs=max(1, round(TRIAL * arm.epochs)))) for arm in tried]
    told = yield Round("trials", trials, FOR_TRIALS, dropped)
    if tried:
        alive, dropped = _within_depths({step.arm: seen for step, seen in told.items()})
    told = yield Round("first seeds", [Measurement(arm, arm.cells[0]) for arm in alive], FOR_FIRST_SEEDS, dropped)
    done |= {step.arm: seen for step, seen in told.items()}
    last = cut(done)
    dropped = {arm: f"its first seed: {reason}" for arm, reason in last.reasons.items()}
    yield Round("other seeds", [Measurement(arm, cell) for arm in last.on for cell in arm.cells[1:]], dropped=dropped)


def _screened(seen: Mapping[Arm, PerItemScores], probes: Sequence[Arm]) -> tuple[list[Arm], dict[str, str]]:
    """The probes that go on, the best of each family among them, and why the networks of the others do not."""
    found = cut(seen, said=right)
    ranked = sorted(seen, key=lambda arm: -float(seen[arm].mean()))
    champions = {arm.family: arm for arm in reversed(ranked)}.values()
    on = set(found.on) | set(champions)
    unseen = [arm for arm in probes if arm not in seen]
    out = {arm.network: f"screened: {reason}" for arm, reason in found.reasons.items() if arm not in on}
    return [arm for arm in ranked if arm in on] + unseen, out


def _within_depths(seen: Mapping[Arm, PerItemScores]) -> tuple[list[Arm], dict[Arm, str]]:
    """The arms that go on, those first that need no interval for it; and why the others do not."""
    sure: list[Arm] = []
    unsure: list[Arm] = []
    dropped: dict[Arm, str] = {}
    for freeze in dict.fromkeys(arm.freeze for arm in seen):
        found = cut({arm: values for arm, values in seen.items() if arm.freeze == freeze})
        sure += found.on[: found.sure]
        unsure += found.on[found.sure :]
        dropped |= {arm: f"a trial among {freeze}: {reason}" for arm, reason in found.reasons.items()}

    def worth(arm: Arm) -> float:
        return -float(seen[arm].mean())

    return sorted(sure, key=worth) + sorted(unsure, key=worth), dropped
