"""Cells that a sweep was to measure and has not: they belong into the table, or a sweep cut off would look complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from backbench.analysis.frames import GROUP, tidy

# What tells the cells of one results folder apart.
PLACE = (*GROUP, "seed")

# A status beside those that are stored: of a row that stands for a cell which is not there.
UNMEASURED = "unmeasured"
REASON = "the sweep did not come to it; the same command goes on where it stopped"


def with_unmeasured(table: pd.DataFrame, planned: Iterable[Any]) -> pd.DataFrame:
    """The table of cells, and below it a row for each planned cell that has none.

    `planned` are the places as run.json has them, mappings from the names in `PLACE`; whatever else is there is left
    out.
    """
    places = [{name: place.get(name) for name in PLACE} for place in planned if isinstance(place, Mapping)]
    frame = tidy(pd.DataFrame(places, columns=list(PLACE)))
    held = set(_keys(tidy(table)))
    owed = [place for place, key in zip(places, _keys(frame), strict=True) if key not in held]
    if not owed:
        return table
    dataset = table["dataset"].dropna().iloc[:1].tolist() if "dataset" in table else []
    rows = pd.DataFrame([{**place, "status": UNMEASURED, "reason": REASON} for place in owed])
    rows = rows.assign(dataset=dataset[0] if dataset else "").reindex(columns=table.columns)
    return pd.concat([table, rows.astype(table.dtypes)], ignore_index=True)


def _keys(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(rows[list(PLACE)].itertuples(index=False, name=None))
