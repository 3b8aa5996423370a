"""Test accuracy without the test items that have a duplicate in train."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis.metrics import wilson_interval

COLUMNS = ("label", "test_acc", "test_acc_lo", "test_acc_hi", "unique_acc", "unique_lo", "unique_hi", "duplicated_acc")


def without_duplicates(
    rows: pd.DataFrame, hits: Mapping[str, NDArray[np.bool_]], duplicated: NDArray[np.bool_]
) -> pd.DataFrame:
    """The candidates of `ranking.grouped` with a `label`, in their order, scored with and without duplicates.

    `hits` has, by cell id, which of m test items are right; `duplicated` [m] which of them have a duplicate in train.
    `unique_acc` with its 95 % Wilson interval is the accuracy on the items without a duplicate, NaN where all have one;
    `duplicated_acc` the one on the others. Seeds are averaged, as in `rows`. Candidates with a cell that `hits` lacks
    are left out.
    """
    scored = []
    for row in rows.to_dict(orient="records"):
        if len(duplicated) and all(cell in hits for cell in row["cell_ids"]):
            scores = np.mean([_scores(hits[cell], duplicated) for cell in row["cell_ids"]], axis=0)
            scored.append([*(row[name] for name in COLUMNS[:4]), *scores])
    return pd.DataFrame(scored, columns=list(COLUMNS))


def _scores(hits: NDArray[np.bool_], duplicated: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    unique, others = hits[~duplicated], hits[duplicated]
    share = float(unique.mean()) if len(unique) else np.nan
    low, high = wilson_interval(share, len(unique)) if len(unique) else (np.nan, np.nan)
    return share, low, high, float(others.mean()) if len(others) else np.nan
