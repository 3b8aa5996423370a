"""A results folder in Python: the table, the best cell, the page."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from backbench import analysis, report, store, sweep
from backbench.errors import RequestError
from backbench.export import export
from backbench.records import Request


@dataclass(frozen=True)
class Results:
    """What a sweep left in a folder."""

    directory: Path

    @property
    def table(self) -> pd.DataFrame:
        """One row per cell, in the order of the leaderboard, those that did not finish last."""
        stored = store.read_table(self.directory).set_index("cell_id", drop=False).rename_axis(None)
        finished = list(analysis.ranked(stored)["cell_id"])
        unfinished = [cell_id for cell_id in stored.index if cell_id not in set(finished)]
        return stored.loc[finished + unfinished].reset_index(drop=True)

    @property
    def best(self) -> pd.Series:
        """The first row of the leaderboard. Raises RequestError when no cell was finished."""
        first = self.table.head(1)
        if first.empty or first["status"].iloc[0] != "ok":
            raise RequestError(f"{self.directory}: no cell was finished, so there is no best one")
        return first.iloc[0]

    def export(self, path: str | Path, name: str | None = None, *, force: bool = False) -> Path:
        """Write the winning cell, or the one called `Backbone@freeze`, as one Keras model; the path of the file.

        Raises RequestError for a name without a cell, weights that were not kept, and a file that is there.
        """
        export(self.directory, Path(path), name, force=force)
        return Path(path)

    def report(self) -> Path:
        """Rebuild the leaderboard; the path of the page."""
        return report.build(self.directory)


def run_sweep(dataset: str = "digits", **options: Any) -> Results:
    """Run or resume a sweep; the options are those of `backbench sweep`, with underscores.

    Raises RequestError for an option that does not exist, and for whatever the command would refuse.
    """
    known = [option.name for option in fields(Request) if option.name != "dataset"]
    for name in options:
        if name not in known:
            raise RequestError(f"unknown option '{name}': the options are {', '.join(known)}")
    if isinstance(options.get("out"), str):
        options["out"] = Path(options["out"])
    return Results(sweep.run(Request(dataset=str(dataset), **options)).directory)


def load(directory: str | Path) -> Results:
    """The results in a folder. Raises RequestError when it holds none."""
    store.read_run(Path(directory))
    return Results(Path(directory))
