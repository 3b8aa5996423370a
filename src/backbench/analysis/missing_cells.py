"""Planned cells that were not measured: the table lists them, or an interrupted sweep would look complete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from backbench.analysis.ranking import KEY, tidy
from backbench.core.cells import CellKey

# The status of a row for a planned cell that is not stored; no stored cell has it.
UNMEASURED = "unmeasured"
REASON = "the sweep did not come to it; the same command goes on where it stopped"


def with_unmeasured(table: pd.DataFrame, planned: Iterable[CellKey]) -> pd.DataFrame:
    """The table of cells, and below it a row for each planned cell that has none.

    `planned` are the keys of the planned cells as run.json has them.
    """
    stored = {CellKey(*row) for row in tidy(table)[list(KEY)].itertuples(index=False, name=None)}
    missing = [key for key in planned if key not in stored]
    if not missing:
        return table
    dataset = table["dataset"].dropna().iloc[:1].tolist() if "dataset" in table else []
    rows = pd.DataFrame([{**asdict(key), "status": UNMEASURED, "reason": REASON} for key in missing])
    rows = rows.assign(dataset=dataset[0] if dataset else "").reindex(columns=table.columns)
    return pd.concat([table, rows.astype(table.dtypes)], ignore_index=True)
