"""The best against the others on test, and what is said of it, also where the case is awkward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis import Advantage, Answers, Recommendation, Rival, recommendation
from backbench.analysis.comparisons import comparisons

A, B, C, D = (f"{name}-all-imagenet-0" for name in "ABCD")
SCRATCH = "scratch-none-none-0"
IN_THE_SET = "95% model confidence set"


def said(facts: Recommendation) -> str:
    return "\n".join(facts.sentences).replace("\N{NO-BREAK SPACE}", " ")


def names(facts: Recommendation) -> list[str]:
    return [candidate.label for candidate in facts.possibly_best]


def paired(facts: Recommendation, rival: int = 0, *, turned: bool = False) -> str:
    """The paired interval of a rival as it is written."""
    lead = facts.rivals[rival].lead
    low, high = (-lead.high, -lead.low) if turned else (lead.low, lead.high)
    return f"paired 95% interval {100 * low:.1f} to {100 * high:.1f} points".replace("-", "−")


# --- together and apart -----------------------------------------------------------------------------------------------


def test_what_cannot_be_told_apart_and_what_is_beaten() -> None:
    of = 400
    table = frame(cell("A", 0.9, 0.75), cell("B", 0.8, 0.74), cell("C", 0.7, 0.4))
    answers = {
        A: right(np.arange(300), of),
        B: right(np.r_[np.arange(8, 300), 300:302], of),  # 8 wins, 2 losses: p = 0.109375
        C: right(np.arange(160), of),  # 140 wins, no losses
    }
    facts = recommendation(table, answers)
    first, second = facts.rivals
    assert (first.wins, first.losses, first.test) == (8, 2, "exact McNemar")
    assert first.p_value == pytest.approx(0.109375)
    assert first.p_holm == pytest.approx(0.109375)  # the larger of two p-values is multiplied by one
    assert second.p_holm == pytest.approx(2 * 2 * 0.5**140)
    assert [rival.verdict for rival in facts.rivals] == ["tied", "better"]
    assert names(facts) == ["A", "B"]
    # 8 wins and 2 losses of 400: a lead of 1.5 points with a standard error of sqrt(.025 - .015^2) / 20 = .78
    assert (first.lead.mean, first.lead.low, first.lead.high) == pytest.approx((0.015, 0.0, 0.03), abs=0.003)
    assert (
        f"On test it cannot be told apart from B (1.5 points ahead, {paired(facts)}): either may be the best "
        f"({IN_THE_SET}; exact McNemar test, Holm-corrected, p = 0.11)."
    ) in said(facts)
    assert f"It beats C by 35.0 points ({paired(facts, 1)}; exact McNemar test, Holm-corrected, p < 0.001)." in said(
        facts
    )


def test_several_are_named_and_many_are_counted() -> None:
    of, letters = 400, "ABCDEFGHIJ"
    table = frame(*(cell(name, 0.9 - place / 100, 0.7) for place, name in enumerate(letters)))
    answers = {f"{name}-all-imagenet-0": right(np.r_[:280, 290 + place], of) for place, name in enumerate(letters[:4])}
    answers |= {f"{name}-all-imagenet-0": right(np.arange(150 + place), of) for place, name in enumerate(letters[4:])}
    facts = recommendation(table, answers)
    assert names(facts) == list("ABCD")
    assert (
        f"On test it cannot be told apart from B, C and D: any of the 4 may be the best ({IN_THE_SET}; exact McNemar "
        "test, Holm-corrected, p > 0.99)."
    ) in said(facts)
    assert "It beats the other 6 candidates (exact McNemar test, Holm-corrected, p < 0.001)." in said(facts)


def test_the_set_has_the_last_word_over_a_pair() -> None:
    best, other = recommendation(frame(cell("A", 0.9, 0.7), cell("B", 0.8, 0.6))).ranking
    pair = Rival(other, 20, 5, 0.004, 0.012, Advantage(0.1, 0.02, 0.18))
    assert pair.verdict == "better"
    facts = Recommendation(best=best, possibly_best=(best, other), rivals=(replace(pair, together=True),))
    assert facts.verdict_on(other) == "tied"
    # a p-value that says otherwise is not quoted against it
    assert list(comparisons(facts, best)) == [
        "On test it cannot be told apart from B (10.0 points ahead, paired 95% interval 2.0 to 18.0 points, taken by "
        f"itself): either may be the best ({IN_THE_SET})."
    ]


def test_the_only_one_that_may_be_the_best() -> None:
    table = frame(cell("A", 0.9, 0.9), cell("B", 0.8, 0.6), cell("C", 0.7, 0.5))
    facts = recommendation(table, {A: right(range(180), 200), B: right(range(120), 200), C: right(range(100), 200)})
    assert names(facts) == ["A"]
    assert "On test it beats B and C (exact McNemar test, Holm-corrected, p < 0.001)." in said(facts)
    assert "cannot be told apart" not in said(facts)


def test_one_that_is_ruled_out_is_not_said_to_be_beaten_without_proof() -> None:
    # D has the highest test accuracy and beats C (10 wins, 1 loss: p = .012); A, chosen on val, may be the best, but
    # does not beat C itself (7 wins, 1 loss: p = .07).
    of = 300
    answers = {
        A: right(np.r_[:207, 210:217], of),
        B: right(np.r_[:100], of),
        C: right(np.r_[:207, 217], of),
        D: right(np.r_[:207, 210:217, 218:221], of),
    }
    table = frame(cell("A", 0.9, 0.7), cell("B", 0.8, 0.3), cell("C", 0.7, 0.6), cell("D", 0.6, 0.7))
    facts = recommendation(table, answers)
    assert names(facts) == ["A", "D"]
    assert (
        f"C is hardly the best on test (outside the {IN_THE_SET}), though A itself is not shown to beat it (exact "
        "McNemar test, Holm-corrected, p = 0.14)."
    ) in said(facts)
    assert [facts.tied(one) for one in facts.ranking] == [False, False, False, True]
    assert "It beats B by 38.0 points" in said(facts)


# --- val and test disagree --------------------------------------------------------------------------------------------


def test_a_rival_that_is_better_on_test_is_not_kept_quiet() -> None:
    facts = recommendation(
        frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9)), {A: right(np.arange(50), 100), B: right(np.arange(90), 100)}
    )
    assert facts.best is not None
    assert facts.best.label == "A"
    assert facts.rivals[0].verdict == "worse"
    assert (
        f"Val ranked it first, but on test the best is B ({IN_THE_SET}); B beats it by 40.0 points "
        f"({paired(facts, turned=True)}; exact McNemar test, Holm-corrected, p < 0.001). A choice made on test would "
        "make its own test accuracy too good to be true."
    ) in said(facts)


def test_several_that_are_better_on_test() -> None:
    table = frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9), cell("C", 0.7, 0.9), cell("D", 0.6, 0.1))
    answers = {A: right(range(50), 100), B: right(range(90), 100), C: right(range(1, 92), 100), D: right(range(9), 100)}
    facts = recommendation(table, answers)
    assert names(facts) == ["B", "C"]
    text = said(facts)
    assert (
        f"on test the best is one of B and C ({IN_THE_SET}); B and C beat it (exact McNemar test, Holm-corrected, "
        "p < 0.001)."
    ) in text
    assert "It beats D by 41.0 points" in text


# --- awkward cases ----------------------------------------------------------------------------------------------------


def test_all_answer_alike() -> None:
    table = frame(*(cell(name, 0.9, 0.8) for name in "ABC"))
    facts = recommendation(table, {one: right(range(320), 400) for one in (A, B, C)})
    assert names(facts) == ["A", "B", "C"]
    assert [rival.p_value for rival in facts.rivals] == [1.0, 1.0]
    assert (
        f"On test it cannot be told apart from B and C: any of the 3 may be the best ({IN_THE_SET}; exact McNemar "
        "test, Holm-corrected, p > 0.99)."
    ) in said(facts)


def test_scratch_wins_with_its_evidence() -> None:
    table = frame(cell("scratch", 0.95, 0.96), cell("A", 0.90, 0.80))
    facts = recommendation(table, {SCRATCH: right(range(288), 300), A: right(range(240), 300)})
    assert facts.need_for_pretraining == "no"
    text = said(facts)
    assert text.startswith("Use scratch, the small hand-made CNN: it classifies 96.0%")
    assert f"On test it beats A by 16.0 points ({paired(facts)}; exact McNemar test" in text
    assert "A pretrained network is not needed here: scratch reaches 96.0% on test, 16.0 points above A (paired" in text


def test_an_interval_that_excludes_zero_is_not_said_to_include_it() -> None:
    # scratch: 5 wins over A without a loss, of 400, p = 2 / 2^5, corrected for two comparisons .125
    table = frame(cell("A", 0.9, 0.75), cell("B", 0.8, 0.7), cell("scratch", 0.5, 0.7625))
    answers = {A: right(range(300), 400), B: right(range(270), 400), SCRATCH: right(range(305), 400)}
    facts = recommendation(table, answers)
    assert facts.over_scratch is not None
    assert facts.over_scratch.high < 0
    interval = f"{-100 * facts.over_scratch.high:.1f} to {-100 * facts.over_scratch.low:.1f} points"
    assert (
        "A pretrained network is not shown to be needed: scratch reaches 76.2% on test, 1.2 points above A (paired 95% "
        f"interval {interval}, taken by itself), but the stricter test of all 2 comparisons together leaves open "
        "whether that is chance (exact McNemar test, Holm-corrected, p = 0.062)."
    ) in said(facts)


def test_nobody_is_tied_with_a_first_that_is_not_among_the_best() -> None:
    # A, the first on val, loses to B and is level with C: neither of these may be the best together with A
    answers = {A: right(range(50), 100), B: right(range(90), 100), C: right(range(1, 51), 100)}
    facts = recommendation(frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9), cell("C", 0.7, 0.5)), answers)
    assert facts.verdict_on(facts.ranking[2]) == "tied"
    assert [facts.tied(one) for one in facts.ranking] == [False, False, False]
    assert facts.tied_means == f"like the first, it may be the best on test ({IN_THE_SET})"


def test_twenty_test_images_prove_little() -> None:
    # 5 wins without a loss: the bootstrap alone is sure (2.6 standard errors), the exact test is not (2 / 2^5)
    table = frame(cell("A", 0.9, 0.85), cell("B", 0.8, 0.6))
    facts = recommendation(table, {A: right(range(17), 20), B: right(range(12), 20)})
    assert names(facts) == ["A", "B"]
    text = said(facts)
    assert f"either may be the best ({IN_THE_SET}; exact McNemar test, Holm-corrected, p = 0.062)." in text
    assert "The test set has only 20 images, so one image is 5.0 points: trust the interval" in text


def test_one_test_image() -> None:
    table = frame(cell("A", 0.9, 1.0), cell("B", 0.8, 0.0))
    facts = recommendation(table, {A: right([0], 1), B: right([], 1)})
    assert facts.rivals[0].verdict == "tied"
    assert names(facts) == ["A", "B"]


def seeds(name: str, *correct: int, of: int) -> tuple[list[dict[str, Any]], dict[str, Answers]]:
    """Rows and answers of one trained candidate; each seed has the first so many items right."""
    rows = [cell(name, 0.9, count / of, freeze="all-1", seed=seed) for seed, count in enumerate(correct)]
    return rows, {row["cell_id"]: right(range(count), of) for row, count in zip(rows, correct, strict=True)}


def test_two_seeds_show_their_range() -> None:
    rows, answers = seeds("A", 160, 180, of=200)
    facts = recommendation(frame(*rows, cell("B", 0.5, 0.25)), answers | {B: right(range(50), 200)})
    assert facts.sentences[0] == (
        "Use A, all but its last stage frozen: it classifies 85.0% of the test images correctly (95% interval "
        "83.0–87.0%), the mean of 2 seeds that range over 80.0–90.0%."
    )
    (rival,) = facts.rivals
    assert (rival.test, rival.wins, rival.losses) == ("Welch", pytest.approx(120), pytest.approx(0))
    assert not rival.lead.over_seeds
    assert f"On test it beats B@all by 60.0 points ({paired(facts)}; Welch test over images and seeds" in said(facts)


def test_six_seeds_widen_the_interval() -> None:
    rows, answers = seeds("A", 150, 154, 158, 162, 166, 170, of=200)
    facts = recommendation(frame(*rows, cell("B", 0.5, 0.25)), answers | {B: right(range(50), 200)})
    best = facts.best
    assert best is not None
    assert best.over_seeds
    # Items alone: nothing is drawn twice in sqrt(.8 * .2 / 200) = .028; seeds add sqrt(.00140 / 6), widened.
    assert best.test_acc_lo == pytest.approx(0.8 - 0.067, abs=0.01)
    assert best.test_acc_hi == pytest.approx(0.8 + 0.067, abs=0.01)
    assert facts.sentences[0] == (
        "Use A, all but its last stage frozen: it classifies 80.0% of the test images correctly (95% interval over "
        f"images and seeds {100 * best.test_acc_lo:.1f}–{100 * best.test_acc_hi:.1f}%), the mean of 6 seeds that range "
        "over 75.0–85.0%."
    )
    lead = facts.rivals[0].lead
    assert lead.over_seeds
    assert "It beats" not in said(facts)
    assert "On test it beats B@all by 55.0 points (paired 95% interval over images and seeds " in said(facts)


def test_the_interval_of_seeds_depends_on_no_other_candidate() -> None:
    rows, answers = seeds("A", 150, 154, 158, 162, 166, of=200)
    alone = recommendation(frame(*rows), answers).best
    beside = recommendation(frame(*rows, cell("B", 0.5, 0.25)), answers | {B: right(range(50), 200)}).best
    assert alone is not None
    assert beside is not None
    assert (alone.test_acc_lo, alone.test_acc_hi) == (beside.test_acc_lo, beside.test_acc_hi)


def test_seeds_that_differ_much_are_not_a_win() -> None:
    ours, ours_answers = seeds("A", 120, 180, of=200)
    theirs, theirs_answers = seeds("B", 100, 130, of=200)
    facts = recommendation(
        frame(*ours, *(row | {"selection_score": 0.5} for row in theirs)), ours_answers | theirs_answers
    )
    (rival,) = facts.rivals
    # 17.5 points ahead over 200 images, which the images alone would prove
    assert rival.lead.low > 0.1
    assert rival.verdict == "tied"
    assert rival.p_value > 0.2


def test_a_control_with_random_weights_beside_scratch() -> None:
    control = cell("A", 0.3, 0.25, weights="none", freeze="all-1")
    table = frame(cell("A", 0.9, 0.8, freeze="all-1"), control, cell("scratch", 0.5, 0.5), lost("B", "failed", "boom"))
    answers = {
        "A-all-1-imagenet-0": right(range(160), 200),
        control["cell_id"]: right(range(50), 200),
        SCRATCH: right(range(100), 200),
    }
    text = said(recommendation(table, answers))
    assert (
        "A pretrained network is worth it here: scratch reaches 50.0% on test, 30.0 points below A (paired 95%" in text
    )
    assert (
        "A with random weights (all but its last stage frozen) reaches 25.0% on test, 55.0 points below A (paired 95%"
    ) in text


# --- the winner's luck on val -----------------------------------------------------------------------------------------


def test_the_best_of_many_on_val_was_also_lucky() -> None:
    random = np.random.default_rng(5)
    logs = np.log(0.6) + 0.4 * random.normal(size=(100, 8))
    order = np.argsort(-logs.mean(axis=0))
    rows = [cell(name, float(np.exp(logs[:, j].mean())), 0.7) for name, j in zip("ABCDEFGH", order, strict=True)]
    answers = {row["cell_id"]: right([], 999, logs[:, j]) for row, j in zip(rows, order, strict=True)}
    facts = recommendation(frame(*rows), answers)
    assert facts.optimism is not None
    # equals of .6 with a standard error of .04 * .6: the best of eight is 1.42 of them too high, .034
    assert facts.optimism == pytest.approx(0.026, abs=0.01)
    score = np.exp(logs.mean(axis=0)).max()
    assert (
        f"A is the best of 8 on val, and the best of many was also lucky: its selection score, {score:.3f}, is "
        f"probably about {facts.optimism:.3f} too high (bootstrap over the val images). Its test accuracy is not: "
        "test took no part in the choice."
    ) in facts.cautions


def test_luck_of_no_account_is_not_talked_about() -> None:
    steady = np.full(64, np.log(0.8)) + 0.01 * (-1.0) ** np.arange(64)
    facts = recommendation(
        frame(cell("A", 0.8, 0.8), cell("B", 0.5, 0.7)),
        {A: right([], 999, steady), B: right([], 999, steady - 0.5)},
    )
    assert facts.optimism == pytest.approx(0.0, abs=1e-4)
    assert "lucky" not in said(facts)
