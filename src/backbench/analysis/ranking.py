"""The table of cells, ordered, grouped over seeds and marked; frame in, frame out."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd

from backbench.core.backbone import SCRATCH
from backbench.core.cells import CellKey, Status
from backbench.core.columns import COLUMNS

NUMERIC = tuple(column.name for column in COLUMNS if column.dtype in ("Int64", "Float64"))
NETWORK = ("backbone", "image_size")
# The columns of `CellKey`: of a cell, of a candidate, which has several seeds, and of a network.
KEY = tuple(part.name for part in fields(CellKey))
GROUP, SERIES = KEY[:4], KEY[:3]

# In the grammar of `backbench compare`: random weights beside pretrained ones.
NONE_WEIGHTS = "@none-weights"


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """All declared columns in their order: numbers as float64 (missing is NaN), text as str (missing is empty)."""
    full = table.reindex(columns=[column.name for column in COLUMNS])
    columns = {}
    for column in COLUMNS:
        if column.name in NUMERIC:
            columns[column.name] = pd.to_numeric(full[column.name], errors="coerce").astype("float64")
        else:
            columns[column.name] = full[column.name].astype("object").where(full[column.name].notna(), "").astype(str)
    return pd.DataFrame(columns, index=full.index)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    # The id last: two cells that agree in everything must not swap places from one report to the next.
    return frame.sort_values(
        ["selection_score", "val_nll", "flops", "cell_id"],
        ascending=[False, True, True, True],
        na_position="last",
        ignore_index=True,
    )


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """The `ok` rows, best first: selection score, then lower val NLL, then fewer FLOPs. The index is rank - 1."""
    rows = tidy(table)
    return _in_order(rows[rows["status"] == Status.OK])


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """One row per candidate: the `ok` cells that differ only in their seed, ranked by the mean selection score.

    Numbers are means over the seeds, `test_acc_lo` and `test_acc_hi` included; `reason` holds the notes of all of them.
    Added columns: `seeds` (how many), `test_acc_min` and `test_acc_max` (their range), `cell_ids` (tuple, by seed);
    `cell_id` is that of the lowest seed.
    """
    rows = tidy(table)
    rows = rows[rows["status"] == Status.OK].sort_values(["seed", "cell_id"], kind="stable")
    if rows.empty:
        return rows.assign(seeds=0, test_acc_min=np.nan, test_acc_max=np.nan, cell_ids=[()] * 0).reset_index(drop=True)
    groups = rows.groupby(list(GROUP), dropna=False, sort=False)
    aggregated = [name for name in rows.columns if name not in GROUP]
    frame = groups.agg({name: "mean" if name in NUMERIC else "first" for name in aggregated})
    frame["reason"] = groups["reason"].agg(_notes)
    frame["seeds"] = groups.size()
    frame["test_acc_min"] = groups["test_acc"].min()
    frame["test_acc_max"] = groups["test_acc"].max()
    frame["cell_ids"] = groups["cell_id"].agg(tuple)
    frame = frame.reset_index()
    return _in_order(frame[[*rows.columns, "seeds", "test_acc_min", "test_acc_max", "cell_ids"]])


def _notes(reasons: pd.Series) -> str:
    """The notes on the seeds of one candidate, each once; a note on some of them says on how many."""
    notes = [note for reason in reasons for note in dict.fromkeys(part.strip() for part in reason.split(";")) if note]
    counted = {note: notes.count(note) for note in notes}
    seeds = len(reasons)
    return "; ".join(
        note if count == seeds else f"{note} ({count} of {seeds} seeds)" for note, count in counted.items()
    )


def depth_order(freeze: str) -> float:
    """The number of trained stages of a freeze depth: `all` is 0, `all-2` is 2, `none` infinity, other text NaN."""
    if freeze in ("all", "none"):
        return 0.0 if freeze == "all" else np.inf
    return float(freeze[4:]) if freeze.startswith("all-") and freeze[4:].isdigit() else np.nan


def pareto(table: pd.DataFrame, cost: str = "latency_ms") -> pd.Series:
    """Whether no other `ok` row is at least as good and at least as cheap, and better in one of the two.

    Good means `selection_score`, not `test_acc`: the mark is read as advice, and advice is taken from val alone. The
    depths of one network cost the same but for noise, so their median counts. Rows without a score or a cost are never
    marked.
    """
    score = pd.to_numeric(table["selection_score"], errors="coerce").to_numpy("float64", na_value=np.nan)
    own_cost = pd.to_numeric(table[cost], errors="coerce").to_numpy("float64", na_value=np.nan)
    networks = table.assign(own_cost=own_cost).groupby(list(NETWORK), dropna=False)["own_cost"]
    price = networks.transform("median").where(np.isfinite(own_cost)).to_numpy("float64")
    complete = np.isfinite(score) & np.isfinite(price) & (table["status"] == Status.OK).to_numpy(bool, na_value=False)
    marks = np.zeros(len(table), dtype=bool)
    for i in np.flatnonzero(complete):
        as_good = complete & (score >= score[i]) & (price <= price[i])
        marks[i] = not np.any(as_good & ((score > score[i]) | (price < price[i])))
    return pd.Series(marks, index=table.index, name="pareto")


def labels(table: pd.DataFrame) -> pd.Series:
    """The shortest name of each row that tells it from the others, in the grammar of `backbench compare`.

    `VGG16`, with `@all-1` where several freeze depths occur, `@none-weights` for random weights beside pretrained
    ones, and the image size where several occur.
    """
    rows = tidy(table)
    bases = rows[rows["backbone"] != SCRATCH]
    depths = bases["freeze"].nunique() > 1
    sizes = rows["image_size"].dropna().nunique() > 1

    def label(backbone: str, freeze: str, weights: str, size: float) -> str:
        name = backbone
        if backbone != SCRATCH and depths and freeze:
            name += f"@{freeze}"
        if backbone != SCRATCH and weights == "none":
            name += NONE_WEIGHTS
        return f"{name} {size:.0f} px" if sizes and np.isfinite(size) else name

    parts = (rows[name] for name in ("backbone", "freeze", "weights", "image_size"))
    return pd.Series([label(*row) for row in zip(*parts, strict=True)], index=table.index, name="label", dtype="object")


def cell_labels(table: pd.DataFrame) -> pd.Series:
    """The names of `labels`, with `#seed` where the table has several seeds of a candidate."""
    rows, names = tidy(table), labels(table)
    several = rows.groupby(list(GROUP), dropna=False)["seed"].transform("nunique") > 1
    return names.where(~several, names + "#" + rows["seed"].map("{:.0f}".format))
