"""The results folder: cells and what belongs to them, tables; each file whole or not there. One process writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from backbench import record_checks
from backbench.cache import sha256_file, whole_file, write_json, write_text
from backbench.columns import COLUMN_NAMES, COLUMNS
from backbench.errors import RequestError
from backbench.records import Cell, Finished

SCHEMA = 1

# Folder and ending of what belongs to one cell; its name is the cell's id.
CELL_FILES = (("cells", "json"), ("predictions", "npz"), ("heads", "npz"), ("models", "npz"))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep a second sweep out of a results folder: one process writes. Raises RequestError when one is there."""
    lock = FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise RequestError(f"another sweep is writing to {directory}: wait for it, or choose another --out") from None
    except OSError as error:
        reason = error.strerror or error
        raise RequestError(f"cannot write to {directory} ({reason}): choose another folder with --out") from None
    try:
        yield
    finally:
        lock.release()


def write_run(directory: Path, run: Mapping[str, Any]) -> None:
    """Write `run.json`: what was asked, the protocol, the dataset, the environment."""
    write_json(directory / "run.json", {"schema": SCHEMA, **run})


def read_run(directory: Path) -> dict[str, Any]:
    """Content of `run.json`. Raises RequestError when the folder holds no run."""
    path = directory / "run.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{directory} holds no results (run.json is missing): name the folder of a sweep") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} cannot be read ({error}): run the sweep again with --fresh") from None
    try:
        return record_checks.run(content)
    except ValueError as error:
        raise RequestError(f"{path} is not the record of a run ({error}): run the sweep again with --fresh") from None


def write_cell(directory: Path, finished: Finished) -> None:
    """Store a finished cell: predictions, head and trained weights first, then the record that makes them count.

    An earlier cell for the same place in the table is forgotten, unless it is ok and this one is not.
    """
    cell = finished.cell
    files = {}
    for folder, arrays in (("predictions", finished.predictions), ("heads", finished.head)):
        if arrays:
            path = directory / folder / f"{cell.cell_id}.npz"
            with whole_file(path) as temporary:
                np.savez_compressed(temporary, allow_pickle=False, **arrays)
            files[f"{folder}/{path.name}"] = sha256_file(path)
    if finished.model:
        path = directory / "models" / f"{cell.cell_id}.npz"
        files[f"models/{path.name}"] = sha256_file(finished.model)
        finished.model.replace(path)
    write_json(directory / "cells" / f"{cell.cell_id}.json", {"schema": SCHEMA, **asdict(cell), "files": files})
    for earlier in read_cells(directory):
        replaced = cell.status == "ok" or earlier.status != "ok"
        if replaced and earlier.cell_id != cell.cell_id and _place(earlier) == _place(cell):
            for folder, kind in CELL_FILES:
                (directory / folder / f"{earlier.cell_id}.{kind}").unlink(missing_ok=True)


def read_cells(directory: Path) -> list[Cell]:
    """Every stored cell, by id. Raises RequestError for a file that is not a cell."""
    # A hidden file is one that was being written when its process was killed.
    paths = sorted(path for path in (directory / "cells").glob("*.json") if not path.name.startswith("."))
    return [_read_cell(path) for path in paths]


def _read_cell(path: Path) -> Cell:
    try:
        return record_checks.cell(json.loads(path.read_text(encoding="utf-8")), name=path.stem)
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} is damaged ({error}): delete it and run the sweep again") from None


def read_cell(directory: Path, cell_id: str) -> Cell:
    """One stored cell. Raises RequestError when it is not there, as where only the tables were kept."""
    path = directory / "cells" / f"{cell_id}.json"
    if not path.is_file():
        raise RequestError(f"{path} is missing: name the folder in which the sweep ran, with its cells")
    return _read_cell(path)


def file_of(directory: Path, cell_id: str, folder: str) -> Path | None:
    """The file of a cell in `heads` or `models`, None where it is not kept. Raises RequestError for a damaged one."""
    name = f"{folder}/{cell_id}.npz"
    path = directory / name
    if not path.is_file():
        return None
    record = json.loads((directory / "cells" / f"{cell_id}.json").read_text(encoding="utf-8"))
    if sha256_file(path) != record.get("files", {}).get(name):
        raise RequestError(f"{path} is damaged (its digest is not the one in the cell's record): delete it")
    return path


def drafts(directory: Path) -> Path:
    """Where jobs leave trained weights, under hidden names, until `write_cell` takes them."""
    return directory / "models"


def forget_drafts(directory: Path) -> None:
    """Delete trained weights that jobs which ended before their time have left; none may be running."""
    for path in drafts(directory).glob(".*.npz"):
        path.unlink()
    with suppress(OSError):  # not empty, or not there
        drafts(directory).rmdir()


def models(directory: Path) -> set[str]:
    """Ids of the cells whose trained weights are kept."""
    return {path.stem for path in (directory / "models").glob("*.npz") if not path.name.startswith(".")}


def keep_models(directory: Path, cell_ids: Collection[str]) -> None:
    """Delete the trained weights of all other cells; their digests stay in the records."""
    for cell_id in models(directory) - set(cell_ids):
        (directory / "models" / f"{cell_id}.npz").unlink()


def read_predictions(directory: Path, cell_id: str) -> dict[str, NDArray[Any]]:
    """Ids, labels and class probabilities of val and test items.

    Raises FileNotFoundError for a cell without them and RequestError for a damaged file.
    """
    path = directory / "predictions" / f"{cell_id}.npz"
    try:
        with np.load(path, allow_pickle=False) as content:
            return record_checks.predictions({name: content[name] for name in content.files})
    except FileNotFoundError:
        raise
    except Exception as error:  # readers of damaged archives raise anything
        reason = f"{type(error).__name__}: {error}"
        raise RequestError(f"{path} is damaged ({reason}): delete it and run the sweep again") from None


def table(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell, the declared columns in their order and types."""
    rows = [
        {**cell.row, "status": cell.status, "reason": _text(cell.reason), "cell_id": cell.cell_id} for cell in cells
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMN_NAMES))
    return frame.astype({column.name: column.dtype for column in COLUMNS})


def write_table(directory: Path, frame: pd.DataFrame) -> None:
    """Write `table.csv` and `table.parquet`."""
    write_text(directory / "table.csv", frame.to_csv(index=False))
    with whole_file(directory / "table.parquet") as temporary:
        frame.to_parquet(temporary, index=False)


def read_table(directory: Path) -> pd.DataFrame:
    """The stored table, without needing the cells. Raises RequestError when there is none."""
    path = directory / "table.parquet"
    if not path.exists():
        raise RequestError(f"{directory} holds no table yet (table.parquet is missing): run the sweep first")
    try:
        frame = pd.read_parquet(path).astype({column.name: column.dtype for column in COLUMNS})
        frame["cell_id"].dropna().map(record_checks.cell_id)  # they become names of files
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{path} is damaged ({error}): delete it and run the sweep again") from None
    return frame


def clear(directory: Path) -> None:
    """Remove what earlier sweeps left in a results folder; what is not theirs stays where it is."""
    if not (directory / "run.json").exists() and not read_cells(directory):
        return
    for folder, kind in (*CELL_FILES, ("plots", "png"), ("plots", "svg"), ("thumbnails", "jpg"), ("logs", "log")):
        for path in (directory / folder).glob(f"*.{kind}"):
            path.unlink()
        with suppress(OSError):  # not empty, or not there
            (directory / folder).rmdir()
    for name in ("table.csv", "table.parquet", "leaderboard.html", "run.json"):
        (directory / name).unlink(missing_ok=True)


def _text(reason: str) -> str:
    """A reason may repeat a path, and a path may hold bytes that are no text."""
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")


def _place(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell.row.get(name) for name in ("backbone", "weights", "image_size", "freeze", "seed"))
