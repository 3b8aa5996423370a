"""How well transferability scores, which need no training, ranked the networks by their final results."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import weightedtau

from backbench.analysis.ranking import SERIES, grouped, labels

# Columns of scores and their names for people; the first is the baseline, which knows nothing of the data.
PRIOR = "imagenet_top1"
SCORES = (
    (PRIOR, "Published ImageNet accuracy"),
    ("ridge_loo_acc", "Ridge regression"),
    ("knn_loo_acc", "A vote of the neighbours"),
    ("logme", "LogME"),
    ("h_score", "The H-score"),
)

# An order of fewer networks says next to nothing.
LEAST_NETWORKS = 4


@dataclass(frozen=True)
class TransferabilityRanking:
    """How one score ranked the networks, against their final results.

    `tau` is the weighted Kendall tau, None where it is not defined; `lead` is `tau` minus that of the prior.
    `regret_1` and `regret_3` are the test accuracy (share) that is lost when only the first network, or the best of the
    first three, by this score is kept instead of the best of all.
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
    merged = final.merge(frozen, on=list(SERIES)).sort_values("test_acc", ascending=False, kind="stable")
    merged["label"] = labels(merged.assign(freeze="all"))
    return merged[["label", "test_acc", *names]].reset_index(drop=True)


def transferability_rankings(final: pd.DataFrame) -> tuple[TransferabilityRanking, ...]:
    """How each score ranked the networks of `final_results`, the prior first; empty for fewer than LEAST_NETWORKS."""
    if len(final) < LEAST_NETWORKS:
        return ()
    test_acc = final["test_acc"].to_numpy("float64")
    columns = {name: final[name].to_numpy("float64") for name, _ in SCORES}
    taus = {name: _tau(test_acc, values) for name, values in columns.items()}
    prior = taus[PRIOR]

    def ranking(score: str, name: str) -> TransferabilityRanking:
        tau = taus[score]
        lead = None if tau is None or prior is None else tau - prior
        regrets = (_regret(test_acc, columns[score], first) for first in (1, 3))
        return TransferabilityRanking(score, name, tau, lead, *regrets)

    return tuple(ranking(score, name) for score, name in SCORES)


def _tau(test_acc: NDArray[np.float64], scores: NDArray[np.float64]) -> float | None:
    """Kendall's tau with hyperbolic weights, the mean of both rankings (Vigna 2015, arXiv 1404.3325)."""
    tau = float(weightedtau(test_acc, scores).statistic)
    return tau if math.isfinite(tau) else None


def _regret(test_acc: NDArray[np.float64], scores: NDArray[np.float64], first: int) -> float:
    """Of equal scores the worse network counts first: who picks by the score cannot tell them apart."""
    picked = np.lexsort((test_acc, -scores))[:first]
    return float(test_acc.max() - test_acc[picked].max())
