"""The best cells: of every candidate the seed that is best on val, and of every network the best depth."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from backbench.analysis.ranking import SERIES, grouped, ranked, tidy
from backbench.core.cells import Series, Status


def winners(table: pd.DataFrame) -> list[str]:
    """Cell ids: of every candidate that finished the seed that is best on val, in the order of the leaderboard."""
    rank = {cell_id: position for position, cell_id in enumerate(ranked(table)["cell_id"])}
    return [min(cell_ids, key=rank.__getitem__) for cell_ids in grouped(table)["cell_ids"]]


def trained(table: pd.DataFrame) -> pd.DataFrame:
    """The `ok` rows whose network has weights of its own, not only pretrained ones, tidy."""
    rows = tidy(table)
    return rows[(rows["status"] == Status.OK) & ~((rows["weights"] == "imagenet") & (rows["freeze"] == "all"))]


def worth_keeping(table: pd.DataFrame, *, open_series: Collection[Series] = ()) -> set[str]:
    """Cell ids whose trained weights are kept: of every network the best candidate's best seed.

    The leaderboard's winner is among them, or needs no weights of its own. While a network's cells are still being
    measured (`open_series`: backbone, weights, image size), each of its candidates keeps its best seed: which candidate
    is best on the mean of its seeds is not known yet.
    """
    rows = trained(table)
    series = dict(zip(rows["cell_id"], rows[list(SERIES)].itertuples(index=False, name=None), strict=True))
    worthy: dict[str, tuple[Any, ...]] = {}
    for cell_id in winners(rows):
        if series[cell_id] in open_series or series[cell_id] not in worthy.values():
            worthy[cell_id] = series[cell_id]
    return set(worthy)
