"""The baseline: train everything for one epoch, then finish the best for as long as the budget lasts.

Its like was found hard to beat (arXiv 2307.15422).
"""

from __future__ import annotations

from collections.abc import Sequence

from backbench.budget.protocol import Arm, Measurement, Round, Rounds
from backbench.core.job import Schedule


def rounds(arms: Sequence[Arm], *, train: int = 0) -> Rounds:  # noqa: ARG001  as all searches
    """Ask for all probes, for one epoch of every other arm, and then for whole arms, the best first."""
    probes = [arm for arm in arms if not arm.epochs]
    yield Round("probes", [Measurement(arm, arm.cells[0]) for arm in probes])
    tried = [Measurement(arm, arm.cells[0], Schedule(epochs=1)) for arm in arms if arm.epochs]
    told = yield Round("one epoch", tried)
    ranked = sorted(told, key=lambda step: -float(told[step].mean()))
    yield Round("all of it", [Measurement(step.arm, cell) for step in ranked for cell in step.arm.cells])
