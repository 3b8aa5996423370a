"""How well scores ranked the final results, worked out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from scipy.stats import weightedtau
from support.tables import cell, frame

from backbench.analysis.transferability_ranking import (
    SCORES,
    TransferabilityRanking,
    final_results,
    transferability_rankings,
)


def scored(name: str, test: float, prior: float, ridge: float, **others: Any) -> dict[str, Any]:
    """A fully frozen cell whose other scores are a constant, the same as ridge and its reverse."""
    scores = {"imagenet_top1": prior, "ridge_loo_acc": ridge, "knn_loo_acc": 0.5, "logme": ridge, "h_score": -ridge}
    return cell(name, test, test, **scores, **others)


@pytest.fixture
def table() -> pd.DataFrame:
    """Final results: D .90 (unfrozen), A .80, B .70, C .60."""
    return frame(
        scored("A", 0.80, 0.70, 0.7),
        scored("B", 0.70, 0.80, 0.9),
        scored("C", 0.60, 0.75, 0.5),
        scored("D", 0.50, 0.65, 0.8),
        cell("D", 0.95, 0.90, freeze="all-1", imagenet_top1=0.65),
        cell("D", 0.40, 0.99, freeze="none", imagenet_top1=0.65),
        cell("D", 0.30, 0.30, weights="none"),
        cell("scratch", 0.99, 0.99),
    )


def by_score(table: pd.DataFrame) -> dict[str, TransferabilityRanking]:
    return {ranking.score: ranking for ranking in transferability_rankings(final_results(table))}


def test_the_final_result_is_that_of_the_depth_that_val_prefers(table: pd.DataFrame) -> None:
    final = final_results(table)
    assert list(zip(final["label"], final["test_acc"], strict=True)) == [("D", 0.9), ("A", 0.8), ("B", 0.7), ("C", 0.6)]
    assert list(final["ridge_loo_acc"]) == [0.8, 0.7, 0.9, 0.5]
    assert list(final["imagenet_top1"]) == [0.65, 0.7, 0.8, 0.75]


def test_regret_is_what_the_first_lack_to_the_best(table: pd.DataFrame) -> None:
    rankings = by_score(table)
    # The prior says B, C, A, D: B lacks 20 points, the best of the three, A, ten.
    assert rankings["imagenet_top1"].regret_1 == pytest.approx(0.2)
    assert rankings["imagenet_top1"].regret_3 == pytest.approx(0.1)
    # Ridge says B, D, A, C.
    assert rankings["ridge_loo_acc"].regret_1 == pytest.approx(0.2)
    assert rankings["ridge_loo_acc"].regret_3 == 0
    # Who cannot tell the networks apart is given the worst first.
    assert rankings["knn_loo_acc"].regret_1 == pytest.approx(0.3)
    assert rankings["knn_loo_acc"].regret_3 == pytest.approx(0.1)


def test_tau_is_weighted_and_compared_with_the_prior(table: pd.DataFrame) -> None:
    rankings = by_score(table)
    assert list(rankings) == [name for name, _ in SCORES]
    prior = rankings["imagenet_top1"]
    # By hand: a pair weighs the sum of 1 / rank of its two, by either side. Of D, A, B, C the prior has only B and C in
    # order, which by final results weighs 1/3 + 1/4 of 3 (1 + 1/2 + 1/3 + 1/4), by the prior's own ranks 1 + 1/2.
    total = 3 * (1 + 1 / 2 + 1 / 3 + 1 / 4)
    expected = sum(2 * agreed / total - 1 for agreed in (1 / 3 + 1 / 4, 1 + 1 / 2)) / 2
    assert prior.tau == pytest.approx(expected)
    assert prior.lead == 0
    ridge = rankings["ridge_loo_acc"]
    assert ridge.tau == pytest.approx(weightedtau([0.9, 0.8, 0.7, 0.6], [0.8, 0.7, 0.9, 0.5]).statistic)
    assert ridge.lead == pytest.approx(ridge.tau - prior.tau)
    assert (rankings["knn_loo_acc"].tau, rankings["knn_loo_acc"].lead) == (None, None)


def test_a_perfect_order_has_tau_one_and_no_regret() -> None:
    rankings = by_score(
        frame(*(scored(name, 0.5 + i / 10, 0.9 - i / 10, 0.5 + i / 20) for i, name in enumerate("ABCD")))
    )
    taus = [rankings[name].tau for name in ("ridge_loo_acc", "logme", "h_score", "imagenet_top1")]
    assert taus == pytest.approx([1, 1, -1, -1])
    assert rankings["ridge_loo_acc"].lead == pytest.approx(2)
    assert (rankings["ridge_loo_acc"].regret_1, rankings["h_score"].regret_1) == (0, pytest.approx(0.3))


def test_fewer_than_four_networks_and_those_without_scores_say_nothing(table: pd.DataFrame) -> None:
    few = table[~((table["backbone"] == "C") & (table["freeze"] == "all"))]
    assert transferability_rankings(final_results(few)) == ()
    assert transferability_rankings(final_results(frame())) == ()
    unscored = table.assign(logme=None)
    assert final_results(unscored).empty
