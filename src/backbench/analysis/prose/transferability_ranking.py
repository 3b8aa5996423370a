"""What a choice by transferability scores alone would have cost, in one sentence."""

from __future__ import annotations

import math

from backbench.analysis.transferability_ranking import TransferabilityRanking
from backbench.core import formatting

# With fewer networks the sentence says that they are few.
FEW_NETWORKS = 10


def sentence(rankings: tuple[TransferabilityRanking, ...], networks: int) -> str:
    """What the scores would have been worth as a choice of one of so many networks; `rankings` has the prior first."""
    prior, *scores = rankings
    best = min(scores, key=lambda score: (score.regret_1, math.inf if score.tau is None else -score.tau))
    cost, cost_of_prior = (_cost(score.regret_1) for score in (best, prior))
    if best.regret_1 < prior.regret_1:
        text = (
            f"To keep only the network that {_inside(best.name)} puts first, the best of the {len(scores)} scores here,"
            f" would have cost {cost}; the one with the highest published ImageNet accuracy, {cost_of_prior}."
        )
    else:
        text = (
            "To keep only the network with the highest published ImageNet accuracy would have cost"
            f" {cost_of_prior}; none of the {len(scores)} scores of the features would have chosen better."
        )
    few = " So few networks say little: to swap two of them changes these numbers a lot."
    return text + (few if networks < FEW_NETWORKS else "")


def _inside(name: str) -> str:
    """A name inside a sentence."""
    return name if name == "LogME" else name[0].lower() + name[1:]


def _cost(regret: float) -> str:
    points = formatting.points(regret)
    return "nothing" if points == "0.0" else f"{points} points of test accuracy"
