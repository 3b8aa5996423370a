"""What a cell predicted, item by item, and what the seeds of a candidate predicted together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.analysis.candidates import Candidate


@dataclass(frozen=True, eq=False)
class PerItem:
    """One cell's results on the single items of test and val.

    `hits` [m] says which test items it classifies correctly. `logs` [n] is the log-probability that it gives to the
    true class of each val item after one temperature, whose mean is the logarithm of the selection score; None without
    val items.
    """

    hits: NDArray[np.bool_]
    logs: NDArray[np.float64] | None = None


ByCell = Mapping[str, PerItem]


def hits(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which of n items are classified correctly [n], from probabilities [n, C] and labels [n].

    Raises ValueError where the two do not have the same n.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"predictions of shape {probabilities.shape} do not belong to {len(labels)} labels")
    return np.asarray(probabilities.argmax(axis=1) == labels)


def on_test(candidate: Candidate, per_item: ByCell) -> NDArray[np.bool_] | None:
    """Which test items each seed of a candidate classifies correctly [m, seeds]; None unless every seed is known."""
    if not all(cell in per_item and len(per_item[cell].hits) for cell in candidate.cell_ids):
        return None
    return np.column_stack([per_item[cell].hits for cell in candidate.cell_ids])


def on_val(candidate: Candidate, per_item: ByCell) -> NDArray[np.float64] | None:
    """Mean over the seeds of the log-probability of each val item's class [n]; None unless every seed is known."""
    of_seeds = [per_item[cell].logs for cell in candidate.cell_ids if cell in per_item]
    complete = [logs for logs in of_seeds if logs is not None and len(logs)]
    return np.asarray(np.mean(complete, axis=0)) if len(complete) == len(candidate.cell_ids) else None
