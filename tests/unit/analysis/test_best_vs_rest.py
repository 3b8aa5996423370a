"""The best against the others on test: verdicts, the set of the possibly best, and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tables import cell, frame, right

from backbench.analysis import Advantage, BestVersusOther, PerItem, Recommendation, recommend

A, B, C, D = (f"{name}-all-imagenet-0" for name in "ABCD")


def possibly_best(facts: Recommendation) -> list[str]:
    return [candidate.label for candidate in facts.possibly_best]


def verdicts(facts: Recommendation) -> dict[str, str]:
    return {pair.other.label: pair.verdict for pair in facts.best_vs_rest}


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_verdicts_with_their_evidence() -> None:
    of = 400
    table = frame(cell("A", 0.9, 0.75), cell("B", 0.8, 0.74), cell("C", 0.7, 0.4))
    per_item = {
        A: right(np.arange(300), of),
        B: right(np.r_[np.arange(8, 300), 300:302], of),  # 8 wins, 2 losses: p = 0.109375
        C: right(np.arange(160), of),  # 140 wins, no losses
    }
    facts = recommend(table, per_item)
    first, second = facts.best_vs_rest
    assert (first.wins, first.losses, first.test) == (8, 2, "exact McNemar")
    assert first.p_value == pytest.approx(0.109375)
    assert first.p_holm == pytest.approx(0.109375)  # the larger of two p-values is multiplied by one
    assert second.p_holm == pytest.approx(2 * 2 * 0.5**140)
    assert verdicts(facts) == {"B": "tied", "C": "better"}
    assert possibly_best(facts) == ["A", "B"]
    # 8 wins and 2 losses of 400: a lead of 1.5 points with a standard error of sqrt(.025 - .015^2) / 20 = .78
    assert (first.lead.mean, first.lead.low, first.lead.high) == pytest.approx((0.015, 0.0, 0.03), abs=0.003)
    assert second.lead.mean == pytest.approx(0.35)


def test_many_candidates() -> None:
    of, letters = 400, "ABCDEFGHIJ"
    table = frame(*(cell(name, 0.9 - place / 100, 0.7) for place, name in enumerate(letters)))
    per_item = {f"{name}-all-imagenet-0": right(np.r_[:280, 290 + place], of) for place, name in enumerate(letters[:4])}
    per_item |= {f"{name}-all-imagenet-0": right(np.arange(150 + place), of) for place, name in enumerate(letters[4:])}
    facts = recommend(table, per_item)
    assert possibly_best(facts) == list("ABCD")
    assert verdicts(facts) == dict.fromkeys("BCD", "tied") | dict.fromkeys("EFGHIJ", "better")


def test_pair_that_may_both_be_the_best_is_tied_whatever_the_test() -> None:
    best, other = recommend(frame(cell("A", 0.9, 0.7), cell("B", 0.8, 0.6))).ranking
    lead = Advantage(0.1, 0.02, 0.18)
    assert BestVersusOther(other, 20, 5, 0.004, 0.012, lead).verdict == "better"
    pair = BestVersusOther(other, 20, 5, 0.004, 0.012, lead, both_possibly_best=True)
    facts = Recommendation(best=best, possibly_best=(best, other), best_vs_rest=(pair,))
    assert (pair.verdict, facts.verdict_on(other), facts.tied(other)) == ("tied", "tied", True)


def test_only_one_may_be_the_best() -> None:
    table = frame(cell("A", 0.9, 0.9), cell("B", 0.8, 0.6), cell("C", 0.7, 0.5))
    facts = recommend(table, {A: right(range(180), 200), B: right(range(120), 200), C: right(range(100), 200)})
    assert possibly_best(facts) == ["A"]
    assert verdicts(facts) == {"B": "better", "C": "better"}


def test_candidate_outside_the_set_is_not_beaten_without_proof() -> None:
    # D has the highest test accuracy and beats C (10 wins, 1 loss: p = .012); A, chosen on val, may be the best, but
    # does not beat C itself (7 wins, 1 loss: p = .07, of two that are left multiplied by two).
    of = 300
    per_item = {
        A: right(np.r_[:207, 210:217], of),
        B: right(np.r_[:100], of),
        C: right(np.r_[:207, 217], of),
        D: right(np.r_[:207, 210:217, 218:221], of),
    }
    table = frame(cell("A", 0.9, 0.7), cell("B", 0.8, 0.3), cell("C", 0.7, 0.6), cell("D", 0.6, 0.7))
    facts = recommend(table, per_item)
    assert possibly_best(facts) == ["A", "D"]
    assert verdicts(facts) == {"B": "better", "C": "tied", "D": "tied"}
    of_c = facts.versus(facts.ranking[2])
    assert of_c is not None
    assert (of_c.both_possibly_best, of_c.p_holm) == (False, pytest.approx(0.140625))
    assert [facts.tied(candidate) for candidate in facts.ranking] == [False, False, False, True]


def test_equal_predictions_are_tied() -> None:
    table = frame(*(cell(name, 0.9, 0.8) for name in "ABC"))
    facts = recommend(table, {cell_id: right(range(320), 400) for cell_id in (A, B, C)})
    assert possibly_best(facts) == ["A", "B", "C"]
    assert [pair.p_value for pair in facts.best_vs_rest] == [1.0, 1.0]


def test_candidates_without_predictions_are_compared_by_intervals() -> None:
    table = frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9), cell("C", 0.7, 0.53))
    facts = recommend(table, {A: right([0], 4)})
    assert facts.best_vs_rest == ()
    assert [facts.verdict_on(other) for other in facts.ranking[1:]] == ["worse", "tied"]
    assert [facts.tied(candidate) for candidate in facts.ranking] == [False, False, True]


# --- val and test disagree --------------------------------------------------------------------------------------------


def test_candidate_that_is_better_on_test_than_the_best_on_val() -> None:
    facts = recommend(
        frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9)), {A: right(np.arange(50), 100), B: right(np.arange(90), 100)}
    )
    assert facts.best is not None
    assert facts.best.label == "A"
    assert (possibly_best(facts), verdicts(facts)) == (["B"], {"B": "worse"})
    assert facts.best_vs_rest[0].lead.mean == pytest.approx(-0.4)


def test_several_that_are_better_on_test() -> None:
    table = frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9), cell("C", 0.7, 0.9), cell("D", 0.6, 0.1))
    per_item = {
        A: right(range(50), 100), B: right(range(90), 100), C: right(range(1, 92), 100), D: right(range(9), 100)
    }  # fmt: skip
    facts = recommend(table, per_item)
    assert possibly_best(facts) == ["B", "C"]
    assert verdicts(facts) == {"B": "worse", "C": "worse", "D": "better"}


def test_nothing_is_marked_as_tied_with_a_best_that_is_not_possibly_best_on_test() -> None:
    # A, the first on val, loses to B and is level with C: neither of these may be the best together with A
    per_item = {A: right(range(50), 100), B: right(range(90), 100), C: right(range(1, 51), 100)}
    facts = recommend(frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9), cell("C", 0.7, 0.5)), per_item)
    assert facts.verdict_on(facts.ranking[2]) == "tied"
    assert [facts.tied(candidate) for candidate in facts.ranking] == [False, False, False]


# --- few images -------------------------------------------------------------------------------------------------------


def test_twenty_test_images_prove_little() -> None:
    # 5 wins without a loss: the bootstrap alone excludes chance (2.6 standard errors), not the exact test (2 / 2^5)
    table = frame(cell("A", 0.9, 0.85), cell("B", 0.8, 0.6))
    facts = recommend(table, {A: right(range(17), 20), B: right(range(12), 20)})
    assert possibly_best(facts) == ["A", "B"]
    assert (facts.best_vs_rest[0].p_holm, facts.best_vs_rest[0].verdict) == (pytest.approx(0.0625), "tied")


def test_one_test_image() -> None:
    table = frame(cell("A", 0.9, 1.0), cell("B", 0.8, 0.0))
    facts = recommend(table, {A: right([0], 1), B: right([], 1)})
    assert verdicts(facts) == {"B": "tied"}
    assert possibly_best(facts) == ["A", "B"]


# --- seeds ------------------------------------------------------------------------------------------------------------


def seeds(name: str, *correct: int, of: int, score: float = 0.9) -> tuple[list[dict[str, Any]], dict[str, PerItem]]:
    """Rows and per-item results of one trained candidate; each seed has the first so many items right."""
    rows = [cell(name, score, count / of, freeze="all-1", seed=seed) for seed, count in enumerate(correct)]
    return rows, {row["cell_id"]: right(range(count), of) for row, count in zip(rows, correct, strict=True)}


def test_two_seeds_are_averaged_and_tested_by_welch() -> None:
    rows, per_item = seeds("A", 160, 180, of=200)
    facts = recommend(frame(*rows, cell("B", 0.5, 0.25)), per_item | {B: right(range(50), 200)})
    (pair,) = facts.best_vs_rest
    assert (pair.test, pair.wins, pair.losses) == ("Welch", pytest.approx(120), pytest.approx(0))
    assert (pair.lead.mean, pair.lead.over_seeds) == (pytest.approx(0.6), False)
    assert pair.verdict == "better"


def test_six_seeds_widen_the_interval() -> None:
    rows, per_item = seeds("A", 150, 154, 158, 162, 166, 170, of=200)
    facts = recommend(frame(*rows, cell("B", 0.5, 0.25)), per_item | {B: right(range(50), 200)})
    best = facts.best
    assert best is not None
    assert best.over_seeds
    # Items alone: nothing is drawn twice in sqrt(.8 * .2 / 200) = .028; seeds add sqrt(.00140 / 6), widened.
    assert best.test_acc_lo == pytest.approx(0.8 - 0.067, abs=0.01)
    assert best.test_acc_hi == pytest.approx(0.8 + 0.067, abs=0.01)
    (pair,) = facts.best_vs_rest
    assert (pair.lead.over_seeds, pair.verdict) == (True, "better")


def test_interval_of_seeds_depends_on_no_other_candidate() -> None:
    rows, per_item = seeds("A", 150, 154, 158, 162, 166, of=200)
    alone = recommend(frame(*rows), per_item).best
    beside = recommend(frame(*rows, cell("B", 0.5, 0.25)), per_item | {B: right(range(50), 200)}).best
    assert alone is not None
    assert beside is not None
    assert (alone.test_acc_lo, alone.test_acc_hi) == (beside.test_acc_lo, beside.test_acc_hi)


def test_seeds_that_differ_much_are_not_a_win() -> None:
    rows, per_item = seeds("A", 120, 180, of=200)
    other_rows, of_other = seeds("B", 100, 130, of=200, score=0.5)
    facts = recommend(frame(*rows, *other_rows), per_item | of_other)
    (pair,) = facts.best_vs_rest
    # 17.5 points ahead over 200 images, which the images alone would prove
    assert pair.lead.low > 0.1
    assert pair.verdict == "tied"
    assert pair.p_value > 0.2
