"""What one seed means: the constant is the one that was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.tables import cell, frame

from backbench.analysis.candidates import candidates
from backbench.analysis.seed_spread import LAST_STAGE, depends_on_seed, spread

RECIPE = Path(__file__).resolve().parents[3] / "benchmarks" / "recipe.json"


def test_the_spread_is_that_of_the_cells_that_were_measured() -> None:
    cells = json.loads(RECIPE.read_text(encoding="utf-8"))["cells"]
    seeds = [each["now"]["test_acc"] for each in cells if (each["weights"], each["freeze"]) == ("imagenet", "all-1")]
    several = [accuracies for accuracies in seeds if len(accuracies) > 1]
    squares = sum(sum((a - sum(found) / len(found)) ** 2 for a in found) for found in several)
    pooled = math.sqrt(squares / sum(len(found) - 1 for found in several))
    assert round(pooled, 3) == LAST_STAGE


@pytest.mark.parametrize(
    ("row", "depends", "expected"),
    [
        (cell("A", 0.9, 0.8), False, None),
        (cell("A", 0.9, 0.8, freeze="all-1"), True, LAST_STAGE),
        (cell("A", 0.9, 0.8, freeze="none"), True, None),
        (cell("A", 0.9, 0.8, weights="none"), True, None),
        (cell("scratch", 0.9, 0.8, freeze="none", weights="none"), True, None),
    ],
)
def test_what_depends_on_the_seed_and_by_how_much(row: object, depends: bool, expected: float | None) -> None:
    (candidate,) = candidates(frame(row))
    assert (depends_on_seed(candidate), spread(candidate)) == (depends, expected)
