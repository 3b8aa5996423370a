"""Cells that a sweep was to measure and has not: they belong into the table, or a sweep cut off would look complete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from backbench.analysis.frames import KEY, tidy
from backbench.core.cells import CellKey

# A status beside those that are stored: of a row that stands for a cell which is not there.
UNMEASURED = "unmeasured"
REASON = "the sweep did not come to it; the same command goes on where it stopped"


def with_unmeasured(table: pd.DataFrame, planned: Iterable[CellKey]) -> pd.DataFrame:
    """The table of cells, and below it a row for each planned cell that has none.

    `planned` are the keys as run.json has them.
    """
    held = {CellKey(*row) for row in tidy(table)[list(KEY)].itertuples(index=False, name=None)}
    owed = [key for key in planned if key not in held]
    if not owed:
        return table
    dataset = table["dataset"].dropna().iloc[:1].tolist() if "dataset" in table else []
    rows = pd.DataFrame([{**asdict(key), "status": UNMEASURED, "reason": REASON} for key in owed])
    rows = rows.assign(dataset=dataset[0] if dataset else "").reindex(columns=table.columns)
    return pd.concat([table, rows.astype(table.dtypes)], ignore_index=True)
