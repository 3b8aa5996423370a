"""Candidates: one backbone at one freeze depth, its seeds averaged; from the table to records in order of rank."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from backbench.analysis.ranking import grouped, labels


@dataclass(frozen=True)
class Candidate:
    """One backbone at one freeze depth, its seeds averaged; shares in 0..1, None where nothing was measured.

    `over_seeds` says that `test_acc_lo` and `test_acc_hi` cover the chance of the seeds as well as that of the
    items.
    """

    label: str
    cell_id: str
    cell_ids: tuple[str, ...]
    backbone: str
    weights: str
    image_size: float | None
    freeze: str
    seeds: int
    selection_score: float | None
    train_acc: float | None
    val_acc: float | None
    test_acc: float | None
    test_acc_lo: float | None
    test_acc_hi: float | None
    test_acc_min: float | None
    test_acc_max: float | None
    gap: float | None
    params: float | None
    flops: float | None
    latency_ms: float | None
    over_seeds: bool = False

    @property
    def scratch(self) -> bool:
        """Whether this is the hand-made CNN."""
        return self.backbone == "scratch"

    @property
    def pretrained(self) -> bool:
        """Whether it started from learned weights."""
        return not self.scratch and self.weights != "none"

    @property
    def network(self) -> tuple[str, float | None]:
        """Backbone and image size: candidates of one network cost the same to run, whatever their freeze depth."""
        return self.backbone, self.image_size


def candidates(table: pd.DataFrame) -> list[Candidate]:
    """The candidates of a table that finished, best first."""
    groups = grouped(table)
    groups["label"] = labels(groups)
    names = [name for name in Candidate.__dataclass_fields__ if name != "over_seeds"]
    return [Candidate(**{name: _value(row[name]) for name in names}) for row in groups[names].to_dict(orient="records")]


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
