"""Test accuracy without the test items that train has a copy of: what is left when nothing could be remembered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis.metrics import wilson_interval

COLUMNS = ("label", "test_acc", "test_acc_lo", "test_acc_hi", "kept_acc", "kept_lo", "kept_hi", "copied_acc")


def without_copies(
    rows: pd.DataFrame, hits: Mapping[str, NDArray[np.bool_]], copied: NDArray[np.bool_]
) -> pd.DataFrame:
    """The candidates of `frames.grouped` with a `label`, in their order, scored on the items with and without a copy.

    `hits` has, by cell id, which of m test items are right; `copied` [m] which of them train has a copy of.
    `kept_acc` with its 95 % Wilson interval is the accuracy on the items without a copy, NaN where all have one;
    `copied_acc` the one on the copies. Seeds are averaged, as in `rows`. Candidates whose cells are not all in `hits`
    are left out.
    """
    found = []
    for row in rows.to_dict(orient="records"):
        if len(copied) and all(cell in hits for cell in row["cell_ids"]):
            scores = np.mean([_scores(hits[cell], copied) for cell in row["cell_ids"]], axis=0)
            found.append([*(row[name] for name in COLUMNS[:4]), *scores])
    return pd.DataFrame(found, columns=list(COLUMNS))


def _scores(hits: NDArray[np.bool_], copied: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    kept, known = hits[~copied], hits[copied]
    share = float(kept.mean()) if len(kept) else np.nan
    low, high = wilson_interval(share, len(kept)) if len(kept) else (np.nan, np.nan)
    return share, low, high, float(known.mean()) if len(known) else np.nan
