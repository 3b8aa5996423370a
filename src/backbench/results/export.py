"""From a results folder and the name of a cell to a file with its model, or to the command that makes it possible."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from backbench.analysis.best_cells import trained
from backbench.analysis.candidate_names import find_cell, full_name
from backbench.core.cache import cache_root
from backbench.core.cells import PROTOCOL_VERSION
from backbench.core.errors import RequestError
from backbench.core.files import whole_file
from backbench.core.request import Request
from backbench.results import run_record, store
from backbench.results.run_record import RunRecord

ENDING = ".keras"


def export(
    directory: Path,
    target: Path,
    name: str | None = None,
    *,
    force: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> pd.Series:
    """Write the winning or the named cell of a results folder as a model that Keras alone can load; the cell's row.

    Raises RequestError when there is no such cell, when its weights were not kept or those of its backbone are other
    ones today, and for a target that cannot be written or, without `force`, exists; UnavailableError when the
    backbone's weights cannot be had. `progress` hears of a download.
    """
    _check(target, force=force)
    run, table = store.read_run(directory), store.read_table(directory)
    row = find_cell(table, name)
    cell = store.read_cell(directory, row["cell_id"])
    learned = _learned(directory, table, run, row)
    from backbench.evaluation import classifier  # knows Keras, which takes seconds

    try:
        model = classifier.build(
            cell,
            learned,
            labels=run.dataset.classes,
            name=re.sub(r"[^A-Za-z0-9.]+", "-", f"{full_name(row)}-{cell.cell_id}"),
            cache=cache_root(),
            mirrors=bool(run.request.get("mirrors", True)),
            progress=progress,
        )
    except (OSError, ValueError) as error:
        raise RequestError(f"{learned} does not fit its cell ({error}): run the sweep again with --fresh") from None
    try:
        with whole_file(target) as temporary:
            model.save(temporary)
    except OSError as error:
        raise RequestError(f"cannot write {target} ({error.strerror or error}): choose another place") from None
    return row


def _check(target: Path, *, force: bool) -> None:
    if target.suffix != ENDING:
        raise RequestError(f"{target} does not end in {ENDING}, by which Keras knows its models: name it so")
    if target.is_dir():
        raise RequestError(f"{target} is a folder: choose another name for the model")
    if target.exists() and not force:
        raise RequestError(f"{target} is there already: choose another name, or replace it with --force")


def _learned(directory: Path, table: pd.DataFrame, run: RunRecord, row: pd.Series) -> Path:
    """The file with what a cell has learned: its trained weights, or the head of a fully frozen one."""
    own = row["cell_id"] in set(trained(table)["cell_id"])
    path = store.file_of(directory, row["cell_id"], "models" if own else "heads")
    if path:
        return path
    what = (
        f"the trained weights of {full_name(row)} were not kept" if own else f"the head of {full_name(row)} is missing"
    )
    if run.protocol_version != PROTOCOL_VERSION:
        raise RequestError(
            f"{what}, and {directory} was measured by protocol {run.protocol_version}, to which protocol"
            f" {PROTOCOL_VERSION} cannot add; this measures it anew in another folder:"
            f" {_command(_beside(directory), run, row)}"
        )
    if own:
        raise RequestError(f"{what}; this trains it again and keeps them: {_command(directory, run, row)}")
    record = directory / "cells" / f"{row['cell_id']}.json"
    raise RequestError(f"{what}: delete {record} and run the sweep again")


def _beside(directory: Path) -> Path:
    """A folder for what cannot be added to this one."""
    named = directory if directory.name.strip(".") else directory.resolve()
    return named.with_name(f"{named.name}-protocol-{PROTOCOL_VERSION}")


def _command(out: Path, run: RunRecord, row: pd.Series) -> str:
    """The sweep that measures a cell once more into a folder, with its weights kept."""
    known = {option.name for option in fields(Request)}
    options: dict[str, Any] = {name: value for name, value in run.request.items() if name in known}
    asked = Request(**options)
    pretrainable = row["backbone"] != "scratch"
    return run_record.command_of(
        replace(
            asked,
            backbones=row["backbone"],
            freeze=row["freeze"] if pretrainable else Request.freeze,
            weights=row["weights"] if pretrainable else Request.weights,
            seeds=max(asked.seeds, int(row["seed"]) + 1),
            image_size=int(row["image_size"]),
            engine=run.resolved.get("engine", asked.engine),
            precision=run.resolved.get("precision", asked.precision),
            keep_models="all",
            out=out,
        )
    )
