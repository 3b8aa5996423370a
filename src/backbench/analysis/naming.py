"""From what people call a cell to its row: `Backbone@freeze`, `@none-weights`, `#seed`, or a cell id."""

from __future__ import annotations

import re
from difflib import get_close_matches

import pandas as pd

from backbench.analysis.frames import tidy
from backbench.analysis.winners import winners
from backbench.errors import RequestError

_NAME = re.compile(r"(?P<backbone>[^@#]+?)(?P<parts>(@[^@# ]+)*)( (?P<size>\d+) px)?(#(?P<seed>\d+))?")

# Of close names, and of those that a name could mean, this many are shown.
SHOWN = 5


def find(table: pd.DataFrame, name: str | None = None) -> pd.Series:
    """The tidy row of the cell that a name means: the winner's when there is no name.

    A name is a cell id, or a backbone, `@` its freeze depth where several were measured, `@none-weights` for random
    weights, ` 160 px` where there are several sizes, `#` the seed; without one it means the seed that is best on val.
    Case does not matter. These are the labels of the leaderboard, among others.
    Raises RequestError for a name that means no cell, several candidates, or one that was not measured.
    """
    rows = tidy(table).set_index("cell_id", drop=False)
    order = winners(table)
    if name is None:
        if not order:
            raise RequestError("no cell was finished, so there is no winner")
        return rows.loc[order[0]]
    found = _meant(rows, name.strip())
    if found.empty:
        known = [full_name(row) for _, row in rows.iterrows()]
        lowered = {text.casefold(): text for text in known}
        near = [lowered[text] for text in get_close_matches(name.casefold(), lowered, n=SHOWN, cutoff=0.5)]
        hint = f"the nearest are {', '.join(near)}" if near else "`backbench show` lists all"
        raise RequestError(f"no cell is called '{name}': {hint}")
    ok = found[found["status"] == "ok"]
    if ok.empty:
        first = found.iloc[0]
        raise RequestError(f"{full_name(first)} was not measured: {first['status']}: {first['reason']}")
    if len(ok) == 1:
        return ok.iloc[0]
    best = [cell_id for cell_id in order if cell_id in ok.index]
    if len(best) != 1:
        could = [f"{full_name(row)} ({row['image_size']:.0f} px, {row['cell_id']})" for _, row in ok.iterrows()]
        more = f" and {len(could) - SHOWN} more" if len(could) > SHOWN else ""
        raise RequestError(
            f"'{name}' could be {', '.join(could[:SHOWN])}{more}: say which, or give the cell id in brackets"
        )
    return rows.loc[best[0]]


def full_name(row: pd.Series) -> str:
    """What a cell is called: `VGG16@all-1`, `VGG16@all@none-weights#2`, `scratch`."""
    name = str(row["backbone"])
    if name != "scratch":
        name += f"@{row['freeze']}" + ("@none-weights" if row["weights"] == "none" else "")
    return name + (f"#{row['seed']:.0f}" if row["seed"] > 0 else "")


def _meant(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """All rows that fit a name."""
    if name in rows.index:
        return rows.loc[[name]]
    said = _NAME.fullmatch(name.casefold())
    if not said:
        return rows.head(0)
    parts = [part for part in said["parts"].split("@") if part]
    random = "none-weights" in parts
    depths = [part for part in parts if part != "none-weights"]
    fits = rows["backbone"].str.casefold() == said["backbone"].strip()
    fits &= (rows["backbone"] == "scratch") | ((rows["weights"] == "none") == random)
    for depth in depths:
        fits &= rows["freeze"] == depth
    if said["size"] is not None:
        fits &= rows["image_size"] == int(said["size"])
    if said["seed"] is not None:
        fits &= rows["seed"] == int(said["seed"])
    return rows[fits]
