"""Rows and per-item results as a sweep leaves them, small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from backbench.analysis import PerItem
from backbench.core.columns import COLUMN_NAMES


def cell(backbone: str, val: float, test: float, **others: Any) -> dict[str, Any]:
    """One `ok` row with an interval of two points to each side."""
    row = dict.fromkeys(COLUMN_NAMES) | {
        "dataset": "fruit", "backbone": backbone, "weights": "imagenet", "image_size": 96, "freeze": "all", "seed": 0,
        "status": "ok", "train_acc": 1.0, "val_acc": val, "test_acc": test, "val_nll": 1 - val, "selection_score": val,
        "test_acc_lo": test - 0.02, "test_acc_hi": test + 0.02, "params": 3_000_000, "flops": 600_000_000,
        "latency_ms": 10.0,
    }  # fmt: skip
    if backbone == "scratch":
        row |= {"weights": "none", "freeze": "none"}
    row |= others
    row["gap"] = row["train_acc"] - row["test_acc"] if row["status"] == "ok" else None
    row["cell_id"] = others.get("cell_id") or f"{row['backbone']}-{row['freeze']}-{row['weights']}-{row['seed']}"
    return row


def lost(backbone: str, status: str, reason: str, freeze: str = "all") -> dict[str, Any]:
    """One row that is not ok."""
    blank = dict.fromkeys(COLUMN_NAMES)
    return blank | {"backbone": backbone, "weights": "imagenet", "freeze": freeze, "status": status, "reason": reason}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """The table of these rows."""
    return pd.DataFrame(list(rows), columns=list(COLUMN_NAMES))


def right(correct: Any, of: int, logs: Any = None) -> PerItem:
    """Results on `of` test items, the given ones right; on val the given log-probabilities."""
    hits = np.zeros(of, dtype=bool)
    hits[correct] = True
    return PerItem(hits, None if logs is None else np.asarray(logs, dtype=float))
