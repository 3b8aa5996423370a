"""Ranking, paired tests and the recommendation, against values computed by hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis import grouped, labels, numbers, pareto, ranked, recommendation
from backbench.analysis.metrics import wilson_interval


def said(table: pd.DataFrame, *args: Any, **options: Any) -> str:
    return "\n".join(recommendation(table, *args, **options).sentences).replace("\N{NO-BREAK SPACE}", " ")


# --- statistics -------------------------------------------------------------------------------------------------------


def test_wilson_interval() -> None:
    # n = 10, 5 right: centre .5, half width z sqrt(.025 + z^2/400) / (1 + z^2/10) with z = 1.959964
    assert wilson_interval(0.5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson_interval(1.0, 20)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least one item"):
        wilson_interval(0.5, 0)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_ranked_by_selection_score_then_val_nll_then_flops() -> None:
    table = frame(
        cell("A", 0.8, 0.99, val_nll=0.5, flops=2),
        cell("B", 0.9, 0.10),
        cell("C", 0.8, 0.5, val_nll=0.4, flops=9),
        cell("D", 0.8, 0.5, val_nll=0.5, flops=1),
        cell("E", 0.8, 0.5, selection_score=None),
        lost("F", "failed", "boom"),
    )
    assert list(ranked(table)["backbone"]) == ["B", "C", "D", "A", "E"]


def test_ranked_reads_pandas_extension_types_and_missing_columns() -> None:
    table = frame(cell("A", 0.7, 0.7), cell("B", 0.8, 0.8)).convert_dtypes().drop(columns=["flops", "reason"])
    assert list(ranked(table)["backbone"]) == ["B", "A"]


def test_pareto_is_decided_on_the_selection_score_and_the_cost() -> None:
    table = frame(
        cell("slow-best", 0.9, 0.1, latency_ms=50.0),
        cell("dominated", 0.8, 0.99, latency_ms=60.0),
        cell("fast", 0.7, 0.7, latency_ms=5.0),
        cell("as-fast-but-worse", 0.6, 0.6, latency_ms=5.0),
        cell("no-latency", 0.95, 0.9, latency_ms=None),
        lost("failed", "failed", "boom"),
    )
    assert list(pareto(table)) == [True, False, True, False, False, False]


def test_pareto_keeps_equals_and_takes_another_cost() -> None:
    table = frame(cell("A", 0.9, 0.9, params=5), cell("B", 0.9, 0.9, params=5), cell("C", 0.95, 0.9, params=9))
    assert list(pareto(table, cost="params")) == [True, True, True]
    assert list(pareto(table)) == [False, False, True]


def test_grouped_averages_seeds_and_keeps_their_range() -> None:
    table = frame(
        cell("A", 0.8, 0.70, freeze="all-1", seed=0),
        cell("A", 0.9, 0.80, freeze="all-1", seed=1),
        cell("A", 0.7, 0.90, freeze="all", seed=0),
    )
    rows = grouped(table)
    assert list(rows["freeze"]) == ["all-1", "all"]
    assert rows.loc[0, ["selection_score", "test_acc", "test_acc_min", "test_acc_max"]].tolist() == pytest.approx(
        [0.85, 0.75, 0.7, 0.8]
    )
    assert rows.loc[0, "seeds"] == 2
    assert rows.loc[0, "cell_ids"] == ("A-all-1-imagenet-0", "A-all-1-imagenet-1")
    assert rows.loc[0, "cell_id"] == "A-all-1-imagenet-0"


def test_labels_say_only_what_tells_the_rows_apart() -> None:
    assert list(labels(frame(cell("A", 0.8, 0.8), cell("scratch", 0.7, 0.7)))) == ["A", "scratch"]
    several = frame(
        cell("A", 0.8, 0.8), cell("A", 0.8, 0.8, freeze="all-1"), cell("A", 0.3, 0.3, weights="none", image_size=128)
    )
    assert list(labels(several)) == ["A@all 96 px", "A@all-1 96 px", "A@all@none-weights 128 px"]


# --- the recommendation -----------------------------------------------------------------------------------------------


def test_best_is_chosen_on_val_and_described_with_its_evidence() -> None:
    table = frame(cell("A", 0.90, 0.792), cell("B", 0.80, 0.95), cell("scratch", 0.5, 0.41))
    facts = recommendation(table, val_items=1000, test_items=1000)
    assert facts.best is not None
    assert facts.best.label == "A"
    assert facts.sentences[0] == (
        "Use A, completely frozen: it classifies 79.2% of the test images correctly (95% interval 77.2–81.2%)."
    )
    text = "\n".join(facts.sentences)
    assert "On the images it was trained on it has 100.0%: an overfitting gap of 20.8 points." in text
    assert "It costs 10.0 ms for one image, 3.0 M parameters and 0.60 GFLOPs." in text
    assert "A pretrained network is worth it here: scratch reaches 41.0% on test, 38.2 points below A." in text
    assert facts.need_for_pretraining == "yes"
    assert facts.cautions == ()


def test_freeze_depths_in_words() -> None:
    assert "A, all but its last stage frozen:" in said(frame(cell("A", 0.9, 0.9, freeze="all-1")))
    assert "A, all but its last 3 stages frozen:" in said(frame(cell("A", 0.9, 0.9, freeze="all-3")))
    assert "A, random weights, nothing frozen:" in said(frame(cell("A", 0.9, 0.9, freeze="none", weights="none")))


def test_fastest_and_smallest_within_the_val_interval_of_the_best() -> None:
    # 180 of 200 right on val: the 95 % Wilson interval begins at 0.8506
    table = frame(
        cell("best", 0.900, 0.80, latency_ms=50.0, params=50_000_000),
        cell("fast", 0.855, 0.78, latency_ms=4.0, params=9_000_000),
        cell("small", 0.860, 0.77, latency_ms=6.0, params=2_000_000),
        cell("too-weak", 0.850, 0.79, latency_ms=1.0, params=1_000),
    )
    facts = recommendation(table, val_items=200)
    assert facts.reach == 3
    assert facts.fastest is not None
    assert facts.fastest.label == "fast"
    assert facts.smallest is not None
    assert facts.smallest.label == "small"
    assert (
        "If it must be fast: fast (4.0 ms, 78.0% on test) is within reach on val (not below the 95% interval of the "
        "best one's val accuracy)."
    ) in facts.sentences
    assert "If it must be small: small (2.0 M parameters, 77.0% on test) is within reach, too." in facts.sentences


def test_reach_is_not_guessed_without_the_size_of_val() -> None:
    facts = recommendation(frame(cell("A", 0.9, 0.9), cell("B", 0.9, 0.9)))
    assert (facts.reach, facts.fastest, facts.smallest) == (0, None, None)


def test_nobody_within_reach_has_a_price() -> None:
    table = frame(
        cell("best", 0.9, 0.90, latency_ms=50.0, params=50_000_000),
        cell("fast", 0.6, 0.71, latency_ms=4.0, params=9_000_000, freeze="all-1"),
        cell("fast", 0.5, 0.60, latency_ms=3.9, params=9_000_000),
        cell("small", 0.55, 0.65, latency_ms=60.0, params=2_000_000),
        cell("control", 0.2, 0.20, latency_ms=1.0, params=1_000, weights="none"),
        cell("scratch", 0.3, 0.30, latency_ms=1.0, params=1_000),
    )
    nobody = "No other network is within reach on val (not below the 95% interval of the best one's val accuracy)"
    assert (
        f"{nobody}, so speed or size is bought with accuracy: fast@all-1 is the fastest pretrained one (4.0 ms instead "
        "of 50.0 ms), 19.0 points below best@all on test; small@all is the smallest (2.0 M parameters instead of 50.0 "
        "M parameters), 25.0 points below best@all on test."
    ) in said(table, val_items=1000)
    both = table[table["backbone"].isin(["best", "fast"])]
    answers = {
        "best-all-imagenet-0": right(range(90), 100),
        "fast-all-1-imagenet-0": right(range(71), 100),
        "fast-all-imagenet-0": right(range(60), 100),
    }
    facts = recommendation(both, answers, val_items=1000)
    lead = facts.rivals[0].lead
    assert (
        "fast@all-1 is the fastest and the smallest pretrained one (4.0 ms instead of 50.0 ms, 9.0 M parameters "
        f"instead of 50.0 M parameters), 19.0 points below best@all (paired 95% interval {100 * lead.low:.1f} to "
        f"{100 * lead.high:.1f} points) on test."
    ) in "\n".join(facts.sentences)
    dearer = said(frame(cell("A", 0.9, 0.9), cell("B", 0.5, 0.5)), val_items=1000)
    assert f"{nobody}, and no other pretrained one is faster or smaller." in dearer


def test_cells_without_predictions_are_left_out_of_the_tests() -> None:
    table = frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9))
    facts = recommendation(table, {"A-all-imagenet-0": right([0], 4)})
    assert facts.rivals == ()
    assert "The runner-up on val is B with 90.0% on test (88.0–92.0%): the intervals are apart." in facts.sentences


def test_one_candidate() -> None:
    text = said(frame(cell("A", 0.9, 0.8)), val_items=50, test_items=500)
    assert "It is the only candidate that finished, so there is nothing to compare it with." in text
    assert "Whether a pretrained network is needed was not measured: add scratch to --backbones" in text
    assert "partly luck" not in text


def test_nobody_is_told_to_ask_for_a_scratch_that_was_pruned() -> None:
    text = said(frame(cell("A", 0.9, 0.8), lost("scratch", "pruned", "no time", freeze="none")))
    assert "Whether a pretrained network is needed was not measured: scratch did not finish." in text


def test_only_scratch_finished() -> None:
    text = said(frame(cell("scratch", 0.9, 0.8), lost("A", "skipped", "no weights")))
    assert text.startswith("Use scratch, the small hand-made CNN: it classifies 80.0%")
    assert "Whether a pretrained network would do better was not measured: none finished." in text


def test_all_tied() -> None:
    rows = [cell(name, 0.9, 0.8, flops=flops) for name, flops in (("A", 3), ("B", 1), ("C", 2))]
    facts = recommendation(frame(*rows))
    assert facts.best is not None
    assert facts.best.label == "B"
    assert facts.tied_on_val == 3
    assert "All 3 candidates have the same selection score" in "\n".join(facts.sentences)
    assert "The first 2 candidates have" in said(frame(*rows[:2], cell("D", 0.5, 0.5)))


def test_everything_failed_or_was_skipped() -> None:
    facts = recommendation(
        frame(
            lost("A", "failed", "boom\nTraceback"),
            lost("B", "skipped", "no weights"),
            lost("C", "failed", "boom\nTraceback"),
        )
    )
    assert facts.best is None
    assert facts.sentences == (
        "Nothing can be recommended: no candidate finished (2 failed, 1 skipped).",
        "The most frequent reason: boom",
    )


def test_no_rows_at_all() -> None:
    assert recommendation(frame()).sentences == ("Nothing can be recommended: no cell has been run.",)


def test_scratch_wins() -> None:
    facts = recommendation(frame(cell("scratch", 0.95, 0.96), cell("A", 0.90, 0.91)))
    assert facts.need_for_pretraining == "no"
    assert (
        "A pretrained network is not needed here: scratch reaches 96.0% on test, 5.0 points above A." in facts.sentences
    )


def test_scratch_ahead_on_val_alone_settles_nothing() -> None:
    facts = recommendation(frame(cell("scratch", 0.95, 0.80), cell("A", 0.90, 0.91)))
    assert facts.need_for_pretraining == "unclear"
    assert (
        "is not settled: val prefers scratch, test A; scratch reaches 80.0% on test, 11.0 points below A."
        in "\n".join(facts.sentences)
    )


def test_a_lead_over_scratch_that_may_be_chance() -> None:
    facts = recommendation(frame(cell("A", 0.9, 0.91), cell("scratch", 0.8, 0.90)))
    assert facts.need_for_pretraining == "unclear"
    assert (
        "A pretrained network is not shown to be needed: scratch reaches 90.0% on test, 1.0 point below A, and a "
        "difference of that size may be chance."
    ) in facts.sentences


def test_random_weights_as_control() -> None:
    text = said(
        frame(
            cell("A", 0.9, 0.8),
            cell("B", 0.6, 0.5, weights="none"),
            cell("A", 0.3, 0.25, weights="none"),
            cell("scratch", 0.5, 0.4),
        )
    )
    assert "A with random weights (completely frozen) reaches 25.0% on test, 55.0 points below A." in text


def test_a_test_set_of_twenty() -> None:
    facts = recommendation(frame(cell("A", 0.9, 0.85), cell("B", 0.8, 0.8)), val_items=1000, test_items=20)
    expected = "The test set has only 20 images, so one image is 5.0 points: trust the interval, not the percentage."
    assert facts.cautions == (expected,)
    assert facts.sentences[-1] == expected


def test_a_small_val_makes_the_order_doubtful() -> None:
    text = said(frame(cell("A", 0.9, 0.85), cell("B", 0.8, 0.8)), val_items=50)
    assert "Val has only 50 images: the order of candidates that are close is partly luck." in text


def test_seeds_are_one_candidate_with_a_range() -> None:
    rows = [cell("A", 0.9, test, freeze="all-1", seed=seed) for seed, test in enumerate((0.80, 0.82, 0.84))]
    facts = recommendation(frame(*rows))
    assert facts.candidates == 1
    assert facts.sentences[0].endswith("(95% interval 80.0–84.0%), the mean of 3 seeds that range over 80.0–84.0%.")


def test_no_gap_and_no_cost_make_no_claims() -> None:
    text = said(frame(cell("A", 0.9, 0.9, train_acc=0.89, latency_ms=None, params=None, flops=None)))
    assert "it has 89.0%: no overfitting gap to speak of." in text
    assert "It costs" not in text


def test_facts_are_values() -> None:
    facts = recommendation(frame(cell("A", 0.9, 0.9)))
    assert facts == replace(facts)


# --- numbers for people -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.percent(0.7921), "79.2%"),
        (numbers.percent(None), "–"),
        (numbers.points(-0.0004), "0.0"),
        (numbers.points(-0.012), "−1.2"),
        (numbers.magnitude(3_538_984), "3.5 M"),
        (numbers.magnitude(999_999), "1.0 M"),
        (numbers.magnitude(138_357_544), "138 M"),
        (numbers.magnitude(850), "850"),
        (numbers.gflops(610e6), "0.61"),
        (numbers.plain(9.31), "9.3"),
        (numbers.plain(1234.5), "1,234"),
        (numbers.duration(4.2), "4.2 s"),
        (numbers.duration(59.97), "1 min 0 s"),
        (numbers.duration(3900), "1 h 5 min"),
        (numbers.p_value(0.0412), "p\u00a0=\u00a00.041"),
        (numbers.p_value(1.0), "p\u00a0>\u00a00.99"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, backbench.analysis;"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
