"""Cells as a job hands them to the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backbench.core.cells import Cell
from backbench.core.columns import CellRow
from backbench.core.events import CellFinished
from backbench.results import store


def cell(cell_id: str = "c1", status: str = "ok", reason: str = "", **row: Any) -> Cell:
    place = {"backbone": "VGG16", "weights": "imagenet", "image_size": 96, "freeze": "all", "seed": 0}
    measured = {"test_acc": 0.75, "gap": 0.125, "params": 14_714_688, "flops": 30_713_000_000_000, "test_top5": None}
    return Cell(
        cell_id=cell_id,
        status=status,
        reason=reason,
        identity={"protocol": 1, "backbone": "VGG16", "weights_digest": None},
        row=CellRow(**(place | (measured if status == "ok" else {}) | row)),
        trace={"probe": {"chosen": 3, "path": [{"strength": 0.1}]}},
    )


def finished(found: Cell) -> CellFinished:
    predictions = {
        "test_ids": np.array(["äpfel/1.jpg", "b/2.jpg"]),
        "test_labels": np.array([0, 1]),
        "test_probs": np.array([[0.25, 0.75], [0.125, 0.875]], np.float32),
    }
    return CellFinished(found, predictions, {"weights": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)})


def with_model(directory: Path, found: Cell) -> CellFinished:
    draft = store.drafts(directory) / f".{found.cell_id}.npz"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(b"weights")
    return replace(finished(found), model=draft)
