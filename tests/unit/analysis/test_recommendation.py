"""The facts of the recommendation: which candidate is best, what is cheaper, and whether pretraining is needed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis import Candidate, recommend

A, B = "A-all-imagenet-0", "B-all-imagenet-0"
SCRATCH = "scratch-none-none-0"


def label(candidate: Candidate | None) -> str | None:
    return None if candidate is None else candidate.label


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_best_is_chosen_on_val() -> None:
    table = frame(cell("A", 0.90, 0.792), cell("B", 0.80, 0.95), cell("scratch", 0.5, 0.41))
    facts = recommend(table, val_items=1000, test_items=1000)
    assert [candidate.label for candidate in facts.ranking] == ["A", "B", "scratch"]
    assert (label(facts.best), label(facts.runner_up), label(facts.pretrained)) == ("A", "B", "A")
    assert (facts.candidates, facts.networks, facts.tied_on_val) == (3, 3, 1)
    assert facts.need_for_pretraining == "yes"
    assert facts.caveats == ()


def test_candidates_tied_on_val_are_counted() -> None:
    rows = [cell(name, 0.9, 0.8, flops=flops) for name, flops in (("A", 3), ("B", 1), ("C", 2))]
    facts = recommend(frame(*rows))
    assert (label(facts.best), facts.tied_on_val) == ("B", 3)
    assert recommend(frame(*rows[:2], cell("D", 0.5, 0.5))).tied_on_val == 2


def test_one_candidate_has_no_runner_up() -> None:
    facts = recommend(frame(cell("A", 0.9, 0.8)), val_items=50, test_items=500)
    assert (facts.candidates, facts.runner_up, facts.caveats) == (1, None, ())


def test_seeds_are_one_candidate_with_a_range() -> None:
    rows = [cell("A", 0.9, test, freeze="all-1", seed=seed) for seed, test in enumerate((0.80, 0.82, 0.84))]
    facts = recommend(frame(*rows))
    assert facts.candidates == 1
    assert facts.best is not None
    assert (facts.best.seeds, facts.best.test_acc_min, facts.best.test_acc_max) == (3, 0.80, 0.84)
    assert (facts.best.test_acc_lo, facts.best.test_acc_hi) == pytest.approx((0.80, 0.84))


def test_nothing_finished_counts_the_statuses_and_names_the_common_reason() -> None:
    facts = recommend(
        frame(
            lost("A", "failed", "boom\nTraceback"),
            lost("B", "skipped", "no weights"),
            lost("C", "failed", "boom\nTraceback"),
        )
    )
    assert facts.best is None
    assert (facts.failed, facts.skipped, facts.pruned, facts.cells) == (2, 1, 0, 3)
    assert facts.common_reason == "boom\nTraceback"
    assert facts.caveats == ()


def test_an_empty_table_has_no_best() -> None:
    facts = recommend(frame())
    assert (facts.best, facts.cells, facts.ranking) == (None, 0, ())


def test_facts_compare_by_value() -> None:
    facts = recommend(frame(cell("A", 0.9, 0.9)))
    assert facts == replace(facts)


# --- cheaper networks -------------------------------------------------------------------------------------------------


def test_fastest_and_smallest_are_within_the_val_interval_of_the_best() -> None:
    # 180 of 200 right on val: the 95 % Wilson interval begins at 0.8506
    table = frame(
        cell("best", 0.900, 0.80, latency_ms=50.0, params=50_000_000),
        cell("fast", 0.855, 0.78, latency_ms=4.0, params=9_000_000),
        cell("small", 0.860, 0.77, latency_ms=6.0, params=2_000_000),
        cell("too-weak", 0.850, 0.79, latency_ms=1.0, params=1_000),
    )
    facts = recommend(table, val_items=200)
    assert (facts.within_reach, label(facts.fastest), label(facts.smallest)) == (3, "fast", "small")


def test_within_reach_is_unknown_without_the_size_of_val() -> None:
    facts = recommend(frame(cell("A", 0.9, 0.9), cell("B", 0.9, 0.9)))
    assert (facts.within_reach, facts.fastest, facts.smallest) == (0, None, None)


def test_cheapest_pretrained_networks_are_known_where_none_is_within_reach() -> None:
    table = frame(
        cell("best", 0.9, 0.90, latency_ms=50.0, params=50_000_000),
        cell("fast", 0.6, 0.71, latency_ms=4.0, params=9_000_000, freeze="all-1"),
        cell("fast", 0.5, 0.60, latency_ms=3.9, params=9_000_000),
        cell("small", 0.55, 0.65, latency_ms=60.0, params=2_000_000),
        cell("control", 0.2, 0.20, latency_ms=1.0, params=1_000, weights="none"),
        cell("scratch", 0.3, 0.30, latency_ms=1.0, params=1_000),
    )
    facts = recommend(table, val_items=1000)
    assert facts.within_reach == 1
    assert (label(facts.fastest_pretrained), label(facts.smallest_pretrained)) == ("fast@all-1", "small@all")
    none_cheaper = recommend(frame(cell("A", 0.9, 0.9), cell("B", 0.5, 0.5)), val_items=1000)
    assert (none_cheaper.fastest_pretrained, none_cheaper.smallest_pretrained) == (None, None)


def test_another_depth_of_the_same_network_is_neither_faster_nor_smaller() -> None:
    # timed twice, one network comes out at 10 and at 8 ms
    table = frame(
        cell("A", 0.90, 0.8, freeze="all-1"),
        cell("A", 0.89, 0.79, latency_ms=8.0),
        cell("B", 0.88, 0.7, latency_ms=9.0),
    )
    facts = recommend(table, val_items=200)
    assert (facts.within_reach, label(facts.fastest)) == (2, "B@all")
    alone = recommend(table.iloc[:2], val_items=200)
    assert (alone.networks, alone.within_reach, alone.fastest_pretrained) == (1, 1, None)


# --- was pretraining needed? ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "need", "scratch_requested"),
    [
        ([cell("A", 0.9, 0.8)], "unknown", False),
        ([cell("A", 0.9, 0.8), lost("scratch", "pruned", "no time", freeze="none")], "unknown", True),
        ([cell("scratch", 0.9, 0.8), lost("A", "skipped", "no weights")], "unknown", True),
        ([cell("A", 0.9, 0.8), cell("scratch", 0.5, 0.4)], "yes", True),
        ([cell("scratch", 0.95, 0.96), cell("A", 0.90, 0.91)], "no", True),
        ([cell("scratch", 0.95, 0.80), cell("A", 0.90, 0.91)], "unclear", True),  # val and test disagree
        ([cell("A", 0.9, 0.91), cell("scratch", 0.8, 0.90)], "unclear", True),  # may be chance
    ],
)
def test_need_for_pretraining_by_intervals(rows: list[dict[str, object]], need: str, scratch_requested: bool) -> None:
    facts = recommend(frame(*rows))
    assert (facts.need_for_pretraining, facts.scratch_requested) == (need, scratch_requested)


def test_control_is_the_best_with_random_weights_of_the_same_network() -> None:
    table = frame(
        cell("A", 0.9, 0.8),
        cell("B", 0.6, 0.5, weights="none"),
        cell("A", 0.3, 0.25, weights="none"),
        cell("scratch", 0.5, 0.4),
    )
    control = recommend(table).control
    assert control is not None
    assert (control.backbone, control.test_acc) == ("A", 0.25)


def test_lead_of_pretraining_has_a_paired_interval() -> None:
    table = frame(
        cell("A", 0.9, 0.7, freeze="all-1"), cell("A", 0.3, 0.25, weights="none"), cell("scratch", 0.5, 0.5),
        cell("A", 0.4, 0.30, weights="none", freeze="none"),
    )  # fmt: skip
    per_item = {
        "A-all-1-imagenet-0": right(np.arange(70), 100),
        SCRATCH: right(np.r_[np.arange(40), 70:80], 100),  # 30 wins, 10 losses
        "A-none-none-0": right(np.arange(30), 100),  # 40 wins
    }
    facts = recommend(table, per_item)
    assert facts.over_scratch is not None
    assert facts.over_scratch.mean == pytest.approx(0.2)
    assert (facts.over_scratch.low, facts.over_scratch.high) == pytest.approx((0.082, 0.318), abs=0.02)
    assert facts.need_for_pretraining == "yes"
    # the control of the same backbone that did best without the weights, not the one at the same or the first depth
    assert facts.control is not None
    assert facts.control.freeze == "none"
    assert facts.over_control is not None
    assert facts.over_control.mean == pytest.approx(0.4)


def test_need_for_pretraining_is_unclear_where_the_paired_test_is() -> None:
    table = frame(cell("A", 0.9, 0.52), cell("scratch", 0.5, 0.50))
    # 5 wins, 3 losses of 100: p = 2 (C(8,0) + C(8,1) + C(8,2) + C(8,3)) / 2^8 = 186 / 256
    facts = recommend(table, {A: right(np.arange(52), 100), SCRATCH: right(np.r_[np.arange(47), 52:55], 100)})
    assert facts.need_for_pretraining == "unclear"
    assert facts.best_vs_rest[0].p_value == pytest.approx(186 / 256)
    assert facts.over_scratch is not None
    assert facts.over_scratch.low < 0 < facts.over_scratch.high


def test_need_for_pretraining_is_unclear_where_only_the_interval_excludes_zero() -> None:
    # scratch: 5 wins over A without a loss, of 400, p = 2 / 2^5, the larger of two and so multiplied by one
    table = frame(cell("A", 0.9, 0.75), cell("B", 0.8, 0.7), cell("scratch", 0.5, 0.7625))
    facts = recommend(table, {A: right(range(300), 400), B: right(range(270), 400), SCRATCH: right(range(305), 400)})
    assert facts.over_scratch is not None
    assert facts.over_scratch.high < 0
    assert facts.need_for_pretraining == "unclear"
    assert facts.scratch is not None
    pair = facts.versus(facts.scratch)
    assert pair is not None
    assert (pair.verdict, pair.p_holm) == ("tied", pytest.approx(0.0625))


def test_scratch_that_wins_beats_the_pretrained_network() -> None:
    table = frame(cell("scratch", 0.95, 0.96), cell("A", 0.90, 0.80))
    facts = recommend(table, {SCRATCH: right(range(288), 300), A: right(range(240), 300)})
    assert (facts.need_for_pretraining, facts.best_vs_rest[0].verdict) == ("no", "better")
    assert facts.over_scratch is not None
    assert facts.over_scratch.mean == pytest.approx(-0.16)
    assert facts.over_scratch.high < 0


def test_every_seed_counts_in_the_lead_of_pretraining() -> None:
    table = frame(
        cell("A", 0.9, 0.8, freeze="all-1"), cell("A", 0.9, 0.6, freeze="all-1", seed=1), cell("scratch", 0.5, 0.5)
    )
    per_item = {
        "A-all-1-imagenet-0": right(np.arange(80), 100),
        "A-all-1-imagenet-1": right(np.arange(60), 100),
        SCRATCH: right(np.arange(50), 100),
    }
    over = recommend(table, per_item).over_scratch
    assert over is not None
    assert over.mean == pytest.approx(0.7 - 0.5)
    del per_item["A-all-1-imagenet-1"]
    assert recommend(table, per_item).over_scratch is None


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, backbench.analysis;"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
