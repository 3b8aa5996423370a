"""Could it have been known beforehand? How well cheap scores of the features ranked the final results."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import weightedtau

from backbench.analysis import numbers
from backbench.analysis.frames import SERIES, grouped, labels

# Columns with the names that people know; the first is the baseline, which knows nothing of the data.
PRIOR = "imagenet_top1"
SCORES = (
    (PRIOR, "Published ImageNet accuracy"),
    ("ridge_loo_acc", "Ridge regression"),
    ("knn_loo_acc", "A vote of the neighbours"),
    ("logme", "LogME"),
    ("h_score", "The H-score"),
)

# Of fewer networks an order says next to nothing.
LEAST_NETWORKS = 4

# Of fewer than this it is said that they are few.
FEW = 10


@dataclass(frozen=True)
class Foresight:
    """How one score ranked the networks, against their final results.

    `tau` is the weighted Kendall tau, None where it is not defined, `lead` that less the prior's. `regret_1` and
    `regret_3` are what the best of the first one and the first three by this score lacks to the best of all, as shares
    of test accuracy.
    """

    score: str
    name: str
    tau: float | None
    lead: float | None
    regret_1: float
    regret_3: float


def final_results(table: pd.DataFrame) -> pd.DataFrame:
    """One row per pretrained network with all scores, best first: `label`, `test_acc`, and the columns of SCORES.

    The final result of a network is the test accuracy of its depth that val prefers; its scores are those of its fully
    frozen candidate.
    """
    rows = grouped(table)
    rows = rows[rows["weights"] == "imagenet"]
    names = [name for name, _ in SCORES]
    frozen = rows.loc[rows["freeze"] == "all", [*SERIES, *names]].dropna(subset=names)
    final = rows.drop_duplicates(list(SERIES))[[*SERIES, "freeze", "test_acc"]].dropna(subset=["test_acc"])
    found = final.merge(frozen, on=list(SERIES)).sort_values("test_acc", ascending=False, kind="stable")
    found["label"] = labels(found.assign(freeze="all"))
    return found[["label", "test_acc", *names]].reset_index(drop=True)


def foresight(final: pd.DataFrame) -> tuple[Foresight, ...]:
    """How each score ranked the networks of `final_results`, the prior first; empty for fewer than LEAST_NETWORKS."""
    if len(final) < LEAST_NETWORKS:
        return ()
    reached = final["test_acc"].to_numpy("float64")
    columns = {name: final[name].to_numpy("float64") for name, _ in SCORES}
    taus = {name: _tau(reached, values) for name, values in columns.items()}
    prior = taus[PRIOR]

    def judged(name: str, said: str) -> Foresight:
        tau = taus[name]
        lead = None if tau is None or prior is None else tau - prior
        return Foresight(name, said, tau, lead, *(_regret(reached, columns[name], first) for first in (1, 3)))

    return tuple(judged(name, said) for name, said in SCORES)


def sentence(judged: tuple[Foresight, ...], networks: int) -> str:
    """What the scores would have been worth as a choice of one of so many networks."""
    prior, *others = judged
    best = min(others, key=lambda score: (score.regret_1, math.inf if score.tau is None else -score.tau))
    cost, cost_of_prior = (_cost(score.regret_1) for score in (best, prior))
    if best.regret_1 < prior.regret_1:
        text = (
            f"To keep only the network that {_inside(best.name)} puts first, the best of the {len(others)} scores here,"
            f" would have cost {cost}; the one with the highest published ImageNet accuracy, {cost_of_prior}."
        )
    else:
        text = (
            "To keep only the network with the highest published ImageNet accuracy would have cost"
            f" {cost_of_prior}; none of the {len(others)} scores of the features would have chosen better."
        )
    few = " So few networks say little: to swap two of them changes these numbers a lot." if networks < FEW else ""
    return text + few


def _inside(name: str) -> str:
    """A name inside a sentence."""
    return name if name == "LogME" else name[0].lower() + name[1:]


def _cost(regret: float) -> str:
    points = numbers.points(regret)
    return "nothing" if points == "0.0" else f"{points} points of test accuracy"


def _tau(reached: NDArray[np.float64], scores: NDArray[np.float64]) -> float | None:
    """Kendall's tau with hyperbolic weights, the mean of both rankings (Vigna 2015, arXiv 1404.3325)."""
    tau = float(weightedtau(reached, scores).statistic)
    return tau if math.isfinite(tau) else None


def _regret(reached: NDArray[np.float64], scores: NDArray[np.float64], first: int) -> float:
    """Of equal scores the worse network counts first: who picks by the score cannot tell them apart."""
    chosen = np.lexsort((reached, -scores))[:first]
    return float(reached.max() - reached[chosen].max())
