"""Which caveats a recommendation and a comparison carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tables import cell, frame, right

from backbench.analysis import CaveatCode, PerItem, Severity, recommend
from backbench.analysis.candidates import candidates
from backbench.analysis.comparison import compare

A, B = "A-all-imagenet-0", "B-all-imagenet-0"
TWO = frame(cell("A", 0.9, 0.85), cell("B", 0.8, 0.8))


def codes(*args: Any, **options: Any) -> list[CaveatCode]:
    return [caveat.code for caveat in recommend(*args, **options).caveats]


@pytest.mark.parametrize(
    ("val_items", "test_items", "expected"),
    [
        (1000, 1000, []),
        (199, 1000, [CaveatCode.VAL_SMALL]),
        (19, 1000, [CaveatCode.VAL_TINY]),
        (1000, 20, [CaveatCode.TEST_SMALL]),
        (50, 20, [CaveatCode.VAL_SMALL, CaveatCode.TEST_SMALL]),
        (None, None, []),
    ],
)
def test_sizes_of_the_splits(val_items: int | None, test_items: int | None, expected: list[CaveatCode]) -> None:
    assert codes(TWO, val_items=val_items, test_items=test_items) == expected


def test_val_is_no_caveat_for_a_single_candidate() -> None:
    assert codes(frame(cell("A", 0.9, 0.8)), val_items=5, test_items=500) == []


def test_val_that_tells_the_candidates_apart_is_no_caveat_however_small() -> None:
    lead = 0.1 + 0.2 * (-1.0) ** np.arange(64)
    per_item = {A: right([], 999, np.zeros(64)), B: right([], 999, -lead)}
    assert codes(frame(cell("A", 0.52, 0.8), cell("B", 0.47, 0.7)), per_item, val_items=64) == []


def test_undecided_candidates_and_an_optimistic_score() -> None:
    logs = np.log(0.6) + 0.4 * np.random.default_rng(5).normal(size=(100, 8))
    order = np.argsort(-logs.mean(axis=0))
    rows = [cell(name, float(np.exp(logs[:, j].mean())), 0.7) for name, j in zip("ABCDEFGH", order, strict=True)]
    per_item = {row["cell_id"]: right([], 999, logs[:, j]) for row, j in zip(rows, order, strict=True)}
    caveats = recommend(frame(*rows), per_item).caveats
    assert [(caveat.code, caveat.severity) for caveat in caveats] == [
        (CaveatCode.VAL_UNDECIDED, Severity.WARNING),
        (CaveatCode.SCORE_OPTIMISTIC, Severity.NOTE),
    ]


# --- comparisons ------------------------------------------------------------------------------------------------------


def compared(rows: list[dict[str, Any]], per_item: dict[str, PerItem], among: int = 2) -> list[CaveatCode]:
    first, second = candidates(frame(*rows))
    return [caveat.code for caveat in compare(first, second, per_item, dataset="", among=among).caveats]


PROBES = [cell("A", 0.9, 0.5), cell("B", 0.8, 0.5)]
WIN = {A: right(range(90), 100), B: right(range(50), 100)}


def test_a_clear_win_of_two_probes_has_no_caveat() -> None:
    assert compared(PROBES, WIN) == []


def test_more_than_two_candidates_are_not_corrected_for() -> None:
    assert compared(PROBES, WIN, among=3) == [CaveatCode.NOT_CORRECTED]


def test_interval_that_excludes_zero_without_the_test() -> None:
    # 5 wins without a loss: p = 2 / 2^5; with 6 wins test and interval agree
    assert compared(PROBES, {A: right(range(5), 100), B: right([], 100)}) == [CaveatCode.INTERVAL_ALONE]
    assert compared(PROBES, {A: right(range(6), 100), B: right([], 100)}) == []


def test_trained_once_and_few_seeds() -> None:
    rows = [*(cell("A", 0.9, 0.8, freeze="all-1", seed=seed) for seed in (0, 1)), cell("scratch", 0.5, 0.5)]
    per_item = {row["cell_id"]: right(range(80), 100) for row in rows}
    assert compared(rows, per_item) == [CaveatCode.TRAINED_ONCE, CaveatCode.FEW_SEEDS]


def test_a_probe_on_random_weights_depends_on_its_seed() -> None:
    rows = [cell("A", 0.9, 0.8), cell("A", 0.8, 0.7, weights="none")]
    assert compared(rows, {row["cell_id"]: right(range(80), 100) for row in rows}) == [CaveatCode.TRAINED_ONCE]
