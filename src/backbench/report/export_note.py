"""Which candidates can be exported as they are: those whose trained weights, or whose head, the folder still has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from backbench.analysis.best_cells import trained, winners
from backbench.core.formatting import listed
from backbench.report.loader import ReportData
from backbench.results import store

MOST_NAMES = 8


def sentence(directory: Path, stored: ReportData) -> str:
    """For people, as of now; empty where nothing finished, and for a folder that was copied without its cells.

    It names the folder, since a page travels without it. It is not kept in run.json: what is thinned out or deleted
    later would still be promised there.
    """
    if stored.rows.empty or not (directory / "cells").is_dir():
        return ""
    at_hand = list(stored.rows["label"][_at_hand(directory, stored.table)])
    if len(at_hand) == len(stored.rows):
        return "Every candidate can be exported from the folder of the sweep."
    if not at_hand:
        return "No weights were kept, so nothing can be exported yet: backbench export says how to make them."
    names = listed(at_hand, MOST_NAMES)
    return f"Can be exported from the folder of the sweep: {names}; backbench export says how to make the others."


def _at_hand(directory: Path, table: pd.DataFrame) -> list[bool]:
    """For each candidate by rank, whether there is what `export` takes: of its best seed on val the weights or head."""
    own, models = set(trained(table)["cell_id"]), store.models(directory)
    heads = {path.stem for path in (directory / "heads").glob("*.npz")}
    return [cell_id in (models if cell_id in own else heads) for cell_id in winners(table)]
