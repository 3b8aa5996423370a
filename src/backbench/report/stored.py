"""What the cells of a results folder answered, read from their stored predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench import store
from backbench.analysis import Answers
from backbench.analysis.answers import hits
from backbench.metrics import tempered_logs


def answers(directory: Path, cell_ids: Iterable[str]) -> dict[str, Answers]:
    """Answers by cell id; of one cell at a time the probabilities are held, since all would not fit into memory.

    A cell without stored predictions, or with other test items than the first cell, is not in it; one with other val
    items, or none, has no answers on val. Raises ValueError for predictions that do not fit their labels.
    """
    found: dict[str, Answers] = {}
    items: dict[str, NDArray[Any]] = {}
    for cell_id in cell_ids:
        try:
            stored = store.read_predictions(directory, cell_id)
        except FileNotFoundError:
            continue
        if not _same_items(stored, "test", items):
            continue
        logs = None
        if _same_items(stored, "val", items) and len(stored["val_labels"]):
            logs = tempered_logs(stored["val_probs"], stored["val_labels"])
        found[cell_id] = Answers(hits(stored["test_probs"], stored["test_labels"]), logs)
    return found


def _same_items(stored: Mapping[str, NDArray[Any]], split: str, items: dict[str, NDArray[Any]]) -> bool:
    """Whether a cell was measured on the items of the first one that had any."""
    ids = stored.get(f"{split}_ids")
    return ids is not None and np.array_equal(ids, items.setdefault(split, ids))
