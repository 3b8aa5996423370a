"""What a results folder holds: the table, run.json, and what stands behind the cells, read once for all of the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis import PerItem, grouped, labels, ranked
from backbench.analysis.metrics import calibration, right_by_class, tempered, tempered_logs
from backbench.analysis.missing_cells import with_unmeasured
from backbench.analysis.per_item import hits
from backbench.analysis.ranking import SERIES
from backbench.results import store
from backbench.results.run_record import RunRecord


@dataclass(frozen=True, eq=False)
class ReportData:
    """The table of cells and, by cell id, what the cells answered and how they were trained; any of it may be missing.

    In the table are those too that were planned and not measured, see `analysis.planned`.
    `by_class` holds for each class of test how many items are right and how many there are [2, C]; `bins` for each bin
    of confidence on test the items, the sum of their confidence and how many are right [3, bins], `bins_before` the
    same without the temperature; `training` the learning curves as `fine_tuning.Trained.trace` writes them.
    """

    table: pd.DataFrame
    run: RunRecord = field(default_factory=RunRecord)
    answers: Mapping[str, PerItem] = field(default_factory=dict)
    by_class: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    bins: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    bins_before: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per candidate, best first, as `frames.grouped`, with its `label`; not to be changed."""
        rows = grouped(self.table)
        rows["label"] = labels(rows)
        return rows

    def networks(self, known: Mapping[str, Any], most: int) -> pd.DataFrame:
        """The best candidate of each network, of those that `known` has something about by cell id; at most so many."""
        return self.rows[self.rows["cell_id"].isin(list(known))].drop_duplicates(list(SERIES)).head(most)


def contenders(rows: pd.DataFrame) -> pd.DataFrame:
    """The candidates that are no controls, which is what a plot's finding is about; all where there is nothing else.

    Controls are networks with random weights: they are drawn, but nobody would choose one. Scratch is a contender.
    """
    kept = rows[(rows["weights"] != "none") | (rows["backbone"] == "scratch")]
    return rows if kept.empty else kept


def first_seed(row: Mapping[Any, Any]) -> str:
    """What is said of one seed where the table has the mean of several: ` (the first of 3 seeds)`, empty with one."""
    return f" (the first of {row['seeds']} seeds)" if row["seeds"] > 1 else ""


def first_seeds(rows: pd.DataFrame) -> str:
    """The same of all that a plot shows, as a sentence."""
    return " Of several seeds the first is shown." if (rows["seeds"] > 1).any() else ""


def read(directory: Path) -> ReportData:
    """Everything that the page is made of. Raises RequestError where run.json or the table is missing or damaged."""
    cells = table(directory)
    answered, by_class, bins, before = {}, {}, {}, {}
    temperatures = cells.set_index("cell_id")["temperature"].dropna()
    for cell_id, found in _predictions(directory, ranked(cells)["cell_id"]):
        answered[cell_id] = _answers(found)
        probabilities, truth = found["test_probs"], found["test_labels"]
        by_class[cell_id] = np.stack(right_by_class(probabilities, truth))
        bins[cell_id] = np.stack(calibration(probabilities, truth)).astype("float64")
        if cell_id in temperatures:  # softmax(log p x T) is what the network said before it was divided by T
            without = tempered(probabilities, 1 / temperatures[cell_id])
            before[cell_id] = np.stack(calibration(without, truth)).astype("float64")
    training = {cell.cell_id: cell.trace.get("training") for cell in store.read_cells(directory)}
    known = {cell_id: trace for cell_id, trace in training.items() if isinstance(trace, Mapping)}
    return ReportData(cells, store.read_run(directory), answered, by_class, bins, before, known)


def table(directory: Path) -> pd.DataFrame:
    """The stored table with a row for each planned cell that was not measured. Raises RequestError as `read` does."""
    cells = store.read_table(directory)
    return with_unmeasured(cells, store.read_run(directory).planned)


def answers(directory: Path, cell_ids: Iterable[str]) -> dict[str, PerItem]:
    """PerItem by cell id; of one cell at a time the probabilities are held, since all would not fit into memory.

    A cell without stored predictions, or with other test items than the first cell, is not in it; one with other val
    items, or none, has no answers on val. Raises ValueError for predictions that do not fit their labels.
    """
    return {cell_id: _answers(found) for cell_id, found in _predictions(directory, cell_ids)}


def _predictions(directory: Path, cell_ids: Iterable[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """The predictions that can be compared, those on other val items than the first cell without val."""
    items: dict[str, NDArray[Any]] = {}
    for cell_id in cell_ids:
        try:
            found = store.read_predictions(directory, cell_id)
        except FileNotFoundError:
            continue
        if not _same_items(found, "test", items):
            continue
        if not _same_items(found, "val", items) or not len(found["val_labels"]):
            found = {name: values for name, values in found.items() if not name.startswith("val_")}
        yield cell_id, found


def _answers(found: Mapping[str, NDArray[Any]]) -> PerItem:
    logs = tempered_logs(found["val_probs"], found["val_labels"]) if "val_probs" in found else None
    return PerItem(hits(found["test_probs"], found["test_labels"]), logs)


def _same_items(found: Mapping[str, NDArray[Any]], split: str, items: dict[str, NDArray[Any]]) -> bool:
    """Whether a cell was measured on the items of the first one that had any."""
    ids = found.get(f"{split}_ids")
    return ids is not None and np.array_equal(ids, items.setdefault(split, ids))
