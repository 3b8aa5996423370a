"""What a cell answered, item by item, and what the seeds of a candidate answered together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.analysis.candidates import Candidate


@dataclass(frozen=True, eq=False)
class Answers:
    """One cell on the items of test and val.

    `hits` [m] says which test items it has right. `logs` [n] is the log-probability that it gives to the right class of
    each val item after one temperature, whose mean is the logarithm of the selection score; None without val items.
    """

    hits: NDArray[np.bool_]
    logs: NDArray[np.float64] | None = None


ByCell = Mapping[str, Answers]


def hits(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which of n items are classified correctly, from probabilities [n, C] and labels [n]."""
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"predictions of shape {probabilities.shape} do not belong to {len(labels)} labels")
    return np.asarray(probabilities.argmax(axis=1) == labels)


def on_test(candidate: Candidate, answers: ByCell) -> NDArray[np.bool_] | None:
    """Which test items each seed of a candidate has right [m, seeds]; None unless all of them are known."""
    if not all(cell in answers and len(answers[cell].hits) for cell in candidate.cell_ids):
        return None
    return np.column_stack([answers[cell].hits for cell in candidate.cell_ids])


def on_val(candidate: Candidate, answers: ByCell) -> NDArray[np.float64] | None:
    """Mean over the seeds of the log-probability of each val item's class [n]; None unless all of them are known."""
    found = [answers[cell].logs for cell in candidate.cell_ids if cell in answers]
    known = [logs for logs in found if logs is not None and len(logs)]
    return np.asarray(np.mean(known, axis=0)) if len(known) == len(candidate.cell_ids) else None
