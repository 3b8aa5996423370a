"""Accuracy without the test items that have a duplicate in train, worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.tables import cell, frame

from backbench.analysis import grouped, labels
from backbench.analysis.metrics import wilson_interval
from backbench.analysis.without_duplicates import COLUMNS, without_duplicates


def candidates(*rows: dict[str, object]) -> pd.DataFrame:
    grouped_rows = grouped(frame(*rows))
    return grouped_rows.assign(label=labels(grouped_rows))


def test_accuracy_without_duplicates_by_hand() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a"), cell("B", 0.8, 0.5, cell_id="b"), cell("C", 0.7, 0.5))
    hits = {"a": np.array([1, 1, 1, 1, 0], dtype=bool), "b": np.array([0, 0, 1, 1, 1], dtype=bool)}
    scored = without_duplicates(rows, hits, np.array([1, 1, 0, 0, 0], dtype=bool))
    assert tuple(scored.columns) == COLUMNS
    assert scored["label"].tolist() == ["A", "B"], "C has no predictions"
    assert scored["test_acc"].tolist() == [0.8, 0.5]
    assert scored["unique_acc"].tolist() == [pytest.approx(2 / 3), 1.0]
    assert scored["duplicated_acc"].tolist() == [1.0, 0.0]
    assert (scored["unique_lo"][0], scored["unique_hi"][0]) == pytest.approx(
        (0.2077, 0.9385), abs=1e-4
    )  # Wilson, 2 of 3
    assert (scored["unique_lo"][1], scored["unique_hi"][1]) == wilson_interval(1.0, 3)


def test_without_duplicates_averages_seeds_and_needs_all_of_them() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a0", seed=0), cell("A", 0.9, 0.6, cell_id="a1", seed=1))
    hits = {"a0": np.array([1, 1, 0], dtype=bool), "a1": np.array([0, 0, 0], dtype=bool)}
    duplicated = np.array([0, 0, 1], dtype=bool)
    (only,) = without_duplicates(rows, hits, duplicated).to_dict("records")
    assert (only["test_acc"], only["unique_acc"], only["duplicated_acc"]) == (pytest.approx(0.7), 0.5, 0.0)
    assert without_duplicates(rows, {"a0": hits["a0"]}, duplicated).empty


def test_accuracy_of_no_items_is_missing() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a"))
    (only,) = without_duplicates(rows, {"a": np.array([True, False])}, np.array([True, True])).to_dict("records")
    assert np.isnan([only["unique_acc"], only["unique_lo"], only["unique_hi"]]).all()
    assert only["duplicated_acc"] == 0.5
    (only,) = without_duplicates(rows, {"a": np.array([True, False])}, np.array([False, False])).to_dict("records")
    assert (only["unique_acc"], np.isnan(only["duplicated_acc"])) == (0.5, True)
