"""The order of the cells, their grouping over seeds, Pareto marks and labels."""

from __future__ import annotations

import math

import pytest
from support.tables import cell, frame, lost

from backbench.analysis import grouped, labels, pareto, ranked
from backbench.analysis.ranking import depth_order


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


def test_pareto_takes_the_depths_of_one_network_at_one_cost() -> None:
    table = frame(cell("A", 0.90, 0.8, freeze="all-1"), cell("A", 0.89, 0.79, latency_ms=8.0))
    assert list(pareto(table)) == [True, False]


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


def test_grouped_collects_the_notes_of_the_seeds() -> None:
    table = frame(
        cell("A", 0.8, 0.70, freeze="all-1", reason="slow; late"),
        cell("A", 0.9, 0.80, freeze="all-1", seed=1, reason="late"),
        cell("A", 0.9, 0.75, freeze="all-1", seed=2, reason="late"),
        cell("A", 0.7, 0.90),
    )
    rows = grouped(table)
    assert rows[["freeze", "seeds"]].to_numpy().tolist() == [["all-1", 3], ["all", 1]]
    assert rows.loc[0, ["test_acc", "test_acc_min", "test_acc_max"]].tolist() == pytest.approx([0.75, 0.7, 0.8])
    assert list(rows["reason"]) == ["slow (1 of 3 seeds); late", ""]


def test_labels_hold_only_what_tells_the_rows_apart() -> None:
    assert list(labels(frame(cell("A", 0.8, 0.8), cell("scratch", 0.7, 0.7)))) == ["A", "scratch"]
    several = frame(
        cell("A", 0.8, 0.8), cell("A", 0.8, 0.8, freeze="all-1"), cell("A", 0.3, 0.3, weights="none", image_size=128)
    )
    assert list(labels(several)) == ["A@all 96 px", "A@all-1 96 px", "A@all@none-weights 128 px"]


def test_depth_order_runs_from_frozen_to_trained() -> None:
    assert sorted(["none", "all-10", "all-2", "all", "all-1"], key=depth_order) == [
        "all", "all-1", "all-2", "all-10", "none"
    ]  # fmt: skip
    assert math.isnan(depth_order("half"))
