"""Planned cells that were not measured have a row in the table and a name in the recommendation."""

from __future__ import annotations

from typing import Any

import pytest
from support.tables import cell, frame, lost

from backbench.analysis import recommend
from backbench.analysis.missing_cells import UNMEASURED, with_unmeasured
from backbench.core.cells import CellKey


def place(backbone: str, freeze: str = "all", seed: int = 0, weights: str = "imagenet") -> CellKey:
    return CellKey(backbone, weights, 96, freeze, seed)


PLANNED = [
    place("A"), place("A", "all-1", 0), place("A", "all-1", 1), place("B"),
    place("scratch", "none", 0, "none"), place("scratch", "none", 1, "none"),
]  # fmt: skip


@pytest.fixture
def cut_off() -> list[dict[str, Any]]:
    """Of A everything was measured, of scratch one of two seeds; B failed at one depth and was not tried at another."""
    return [
        cell("A", 0.9, 0.8), cell("A", 0.8, 0.7, freeze="all-1"), cell("A", 0.8, 0.7, freeze="all-1", seed=1),
        lost("B", "failed", "boom") | {"image_size": 96, "seed": 0}, cell("scratch", 0.5, 0.4),
    ]  # fmt: skip


def test_planned_cells_that_are_not_there_get_a_row(cut_off: list[dict[str, Any]]) -> None:
    table = frame(*cut_off)
    complete = with_unmeasured(table, [*PLANNED, place("B", "all-1")])
    assert complete.iloc[: len(table)].equals(table)
    missing = complete[complete["status"] == UNMEASURED]
    assert missing[["backbone", "freeze", "seed"]].to_numpy().tolist() == [["scratch", "none", 1], ["B", "all-1", 0]]
    assert set(missing["dataset"]) == {"fruit"}
    assert with_unmeasured(table, PLANNED[:5]) is table, "a failed cell counts as measured"
    assert with_unmeasured(table, []) is table


def test_types_stay_as_declared(cut_off: list[dict[str, Any]]) -> None:
    table = frame(*cut_off).convert_dtypes()
    assert with_unmeasured(table, [place("B", "all-1")]).dtypes.equals(table.dtypes)


def test_the_recommendation_names_them(cut_off: list[dict[str, Any]]) -> None:
    facts = recommend(with_unmeasured(frame(*cut_off), [*PLANNED, place("B", "all-1")]))
    assert (facts.unmeasured, facts.cells, facts.failed) == (("scratch#1", "B@all-1"), 7, 1)
    nothing = recommend(with_unmeasured(frame(), [place("A")]))
    assert (nothing.best, nothing.unmeasured, nothing.common_reason) == (None, ("A",), "")
