"""What cells answered, and what the recommendation says of val and of pretraining because of it."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import cell, frame, right

from backbench.analysis import recommendation
from backbench.analysis.answers import hits
from backbench.analysis.metrics import selection_score, tempered_logs

A, B, C = "A-all-imagenet-0", "B-all-imagenet-0", "C-all-imagenet-0"
SCRATCH = "scratch-none-none-0"


def said(*args: object, **options: object) -> str:
    return "\n".join(recommendation(*args, **options).sentences)  # type: ignore[arg-type]


# --- from probabilities to answers ------------------------------------------------------------------------------------


def test_tempered_logs_of_three_right_and_one_wrong() -> None:
    # always sure to 90 %, but right in 3 of 4: the temperature that fits makes it sure to 75 %
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    logs = tempered_logs(probabilities, np.zeros(4, dtype=int))
    assert np.exp(logs) == pytest.approx([0.75, 0.75, 0.75, 0.25], abs=1e-4)


def test_the_selection_score_is_the_exponential_of_the_mean_of_the_tempered_logs() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 200)
    logits = 3 * random.normal(size=(200, 7)) + 2 * np.eye(7)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    assert np.exp(tempered_logs(probabilities, labels).mean()) == pytest.approx(selection_score(probabilities, labels))


@pytest.mark.parametrize("reduce", [hits, tempered_logs])
def test_predictions_of_other_items_are_refused(reduce: object) -> None:
    with pytest.raises(ValueError, match="3 labels"):
        reduce(np.zeros((2, 2)), np.zeros(3, dtype=int))  # type: ignore[operator]


def leads(mean: float, items: int) -> np.ndarray:
    """Leads of 0.2 above and below their mean in turn: their standard deviation is 0.2."""
    return mean + 0.2 * (-1.0) ** np.arange(items)


# --- is val large enough? ---------------------------------------------------------------------------------------------


def test_val_says_whom_it_cannot_tell_from_the_leader() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.47, 0.7), cell("C", 0.51, 0.7))
    answers = {A: right([], 9, np.zeros(64)), B: right([], 9, -leads(0.1, 64)), C: right([], 9, -leads(0.02, 64))}
    facts = recommendation(table, answers, val_items=1)
    assert [candidate.label for candidate in facts.undecided] == ["C"]
    assert (facts.compared_on_val, facts.val_items) == (2, 64)
    assert facts.cautions[0] == (
        "Val, with 64 images, is too small to tell 1 of the 2 other candidates from the leader, A: the nearest is C "
        "(selection score 0.510 against 0.520; paired bootstrap over the val images)."
    )


def test_the_nearest_comes_first_and_may_be_the_same_backbone_at_another_depth() -> None:
    table = frame(
        cell("A", 0.52, 0.8, freeze="all-1"), cell("A", 0.51, 0.7), cell("B", 0.515, 0.7), cell("B", 0.4, 0.7, seed=1)
    )
    answers = {
        "A-all-1-imagenet-0": right([], 9, np.zeros(64)),
        A: right([], 9, -leads(0.01, 64)),
        B: right([], 9, -leads(0.02, 64)),
        "B-all-imagenet-1": right([], 9, -leads(0.03, 64)),
    }
    facts = recommendation(table, answers)
    assert [candidate.label for candidate in facts.undecided] == ["A@all", "B@all"]
    assert "any of the 2 other candidates from the leader, A@all-1: the nearest is A@all (" in facts.cautions[0]


def test_the_only_other_candidate() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.51, 0.7))
    text = said(table, {A: right([], 9, np.zeros(64)), B: right([], 9, -leads(0.02, 64))})
    assert (
        "Val, with 64 images, is too small to tell the only other candidate, B, from the leader, A (selection score "
        "0.510 against 0.520; paired bootstrap over the val images)."
    ) in text


def test_a_val_that_can_tell_is_not_talked_about_however_small() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.47, 0.7))
    answers = {A: right([], 999, np.zeros(64)), B: right([], 999, -leads(0.1, 64))}
    assert recommendation(table, answers, val_items=64).cautions == ()


def test_nothing_is_said_about_telling_apart_without_answers_on_val() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.51, 0.7))
    for answers in ({}, {A: right([], 9), B: right([], 9)}, {A: right([], 9, [0.0])}):
        facts = recommendation(table, answers, val_items=1000)
        assert (facts.undecided, facts.compared_on_val) == ((), 0)
        assert "too small to tell" not in "\n".join(facts.sentences)


# --- was pretraining needed? ------------------------------------------------------------------------------------------


def test_the_advantage_of_pretraining_has_a_paired_interval() -> None:
    table = frame(
        cell("A", 0.9, 0.7, freeze="all-1"), cell("A", 0.3, 0.25, weights="none"), cell("scratch", 0.5, 0.5),
        cell("A", 0.4, 0.30, weights="none", freeze="none"),
    )  # fmt: skip
    answers = {
        "A-all-1-imagenet-0": right(np.arange(70), 100),
        SCRATCH: right(np.r_[np.arange(40), 70:80], 100),  # 30 wins, 10 losses
        "A-none-none-0": right(np.arange(30), 100),  # 40 wins
    }
    facts = recommendation(table, answers)
    assert facts.over_scratch is not None
    assert facts.over_scratch.mean == pytest.approx(0.2)
    assert (facts.over_scratch.low, facts.over_scratch.high) == pytest.approx((0.082, 0.318), abs=0.02)
    low, high = 100 * facts.over_scratch.low, 100 * facts.over_scratch.high
    text = "\n".join(facts.sentences)
    assert (
        f"A pretrained network is worth it here: scratch reaches 50.0% on test, 20.0 points below A@all-1 (paired 95% "
        f"interval {low:.1f} to {high:.1f} points)."
    ) in text
    # the control of the same backbone that did best without the weights, not the one at the same or the first depth
    assert facts.control is not None
    assert facts.control.freeze == "none"
    assert facts.over_control is not None
    assert facts.over_control.mean == pytest.approx(0.4)
    assert "A with random weights (nothing frozen) reaches 30.0% on test, 40.0 points below A@all-1 (paired" in text


def test_an_advantage_that_may_be_chance_says_by_which_test() -> None:
    table = frame(cell("A", 0.9, 0.52), cell("scratch", 0.5, 0.50))
    # 5 wins, 3 losses of 100: p = 2 (C(8,0) + C(8,1) + C(8,2) + C(8,3)) / 2^8 = 186 / 256
    answers = {A: right(np.arange(52), 100), SCRATCH: right(np.r_[np.arange(47), 52:55], 100)}
    facts = recommendation(table, answers)
    assert facts.need_for_pretraining == "unclear"
    assert facts.over_scratch is not None
    assert facts.over_scratch.low < 0 < facts.over_scratch.high
    text = "\n".join(facts.sentences).replace("\N{NO-BREAK SPACE}", " ")
    assert "scratch reaches 50.0% on test, 2.0 points below A (paired 95% interval −" in text
    assert "a difference of that size may be chance (exact McNemar test, Holm-corrected, p = 0.73)." in text


def test_the_interval_turns_round_with_the_sentence() -> None:
    table = frame(cell("scratch", 0.95, 0.9), cell("A", 0.9, 0.7))
    facts = recommendation(table, {A: right(np.arange(70), 100), SCRATCH: right(np.arange(90), 100)})
    assert facts.over_scratch is not None
    assert facts.over_scratch.high < 0
    low, high = -100 * facts.over_scratch.high, -100 * facts.over_scratch.low
    assert (
        f"A pretrained network is not needed here: scratch reaches 90.0% on test, 20.0 points above A (paired 95% "
        f"interval {low:.1f} to {high:.1f} points)."
    ) in facts.sentences


def test_every_seed_counts_in_the_advantage() -> None:
    table = frame(
        cell("A", 0.9, 0.8, freeze="all-1"), cell("A", 0.9, 0.6, freeze="all-1", seed=1), cell("scratch", 0.5, 0.5)
    )
    answers = {
        "A-all-1-imagenet-0": right(np.arange(80), 100),
        "A-all-1-imagenet-1": right(np.arange(60), 100),
        SCRATCH: right(np.arange(50), 100),
    }
    over = recommendation(table, answers).over_scratch
    assert over is not None
    assert over.mean == pytest.approx(0.7 - 0.5)
    del answers["A-all-1-imagenet-1"]
    assert recommendation(table, answers).over_scratch is None


def test_a_control_alone_is_an_answer_too() -> None:
    text = said(frame(cell("A", 0.9, 0.8), cell("A", 0.3, 0.25, weights="none")))
    assert "was not measured" not in text
    assert "A with random weights (completely frozen) reaches 25.0% on test, 55.0 points below A." in text
