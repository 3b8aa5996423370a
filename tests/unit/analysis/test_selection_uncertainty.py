"""What the val items say about the choice: which candidates they cannot tell from the best, and its optimism."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import cell, frame, right

from backbench.analysis import recommend

A, B, C = "A-all-imagenet-0", "B-all-imagenet-0", "C-all-imagenet-0"


def leads(mean: float, items: int) -> np.ndarray:
    """Leads of 0.2 above and below their mean in turn: their standard deviation is 0.2."""
    return mean + 0.2 * (-1.0) ** np.arange(items)


def test_undecided_are_the_candidates_that_val_cannot_tell_from_the_best() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.47, 0.7), cell("C", 0.51, 0.7))
    per_item = {A: right([], 9, np.zeros(64)), B: right([], 9, -leads(0.1, 64)), C: right([], 9, -leads(0.02, 64))}
    facts = recommend(table, per_item, val_items=1)
    assert [candidate.label for candidate in facts.undecided] == ["C"]
    assert (facts.compared_on_val, facts.val_items) == (2, 64)


def test_undecided_are_ordered_by_distance_and_seeds_count_together() -> None:
    table = frame(
        cell("A", 0.52, 0.8, freeze="all-1"), cell("A", 0.51, 0.7), cell("B", 0.515, 0.7), cell("B", 0.4, 0.7, seed=1)
    )
    per_item = {
        "A-all-1-imagenet-0": right([], 9, np.zeros(64)),
        A: right([], 9, -leads(0.01, 64)),
        B: right([], 9, -leads(0.02, 64)),
        "B-all-imagenet-1": right([], 9, -leads(0.03, 64)),
    }
    facts = recommend(table, per_item)
    assert [candidate.label for candidate in facts.undecided] == ["A@all", "B@all"]
    assert facts.compared_on_val == 2


def test_nothing_is_compared_without_predictions_on_val() -> None:
    table = frame(cell("A", 0.52, 0.8), cell("B", 0.51, 0.7))
    for per_item in ({}, {A: right([], 9), B: right([], 9)}, {A: right([], 9, [0.0])}):
        facts = recommend(table, per_item, val_items=1000)
        assert (facts.undecided, facts.compared_on_val, facts.optimism) == ((), 0, None)


def test_optimism_of_the_best_of_eight_equals() -> None:
    random = np.random.default_rng(5)
    logs = np.log(0.6) + 0.4 * random.normal(size=(100, 8))
    order = np.argsort(-logs.mean(axis=0))
    rows = [cell(name, float(np.exp(logs[:, j].mean())), 0.7) for name, j in zip("ABCDEFGH", order, strict=True)]
    facts = recommend(
        frame(*rows), {row["cell_id"]: right([], 999, logs[:, j]) for row, j in zip(rows, order, strict=True)}
    )
    # equals of .6 with a standard error of .04 * .6: the best of eight is 1.42 of them too high, .034
    assert facts.optimism == pytest.approx(0.026, abs=0.01)


def test_optimism_of_a_clear_winner_is_nothing() -> None:
    steady = np.full(64, np.log(0.8)) + 0.01 * (-1.0) ** np.arange(64)
    facts = recommend(
        frame(cell("A", 0.8, 0.8), cell("B", 0.5, 0.7)),
        {A: right([], 999, steady), B: right([], 999, steady - 0.5)},
    )
    assert facts.optimism == pytest.approx(0.0, abs=1e-4)
