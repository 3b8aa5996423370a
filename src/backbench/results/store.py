"""The results folder: cells and what belongs to them, tables; each file whole or not there. One process writes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from backbench.core.cells import Cell, Status
from backbench.core.columns import ADDED, COLUMN_NAMES, COLUMNS
from backbench.core.errors import DamagedError, RequestError
from backbench.core.events import CellFinished
from backbench.core.files import is_sealed, sealed, sha256_file, whole_file, write_json, write_text
from backbench.results import run_record, schema
from backbench.results.run_record import RunRecord

# Records of cells carry a digest of themselves from the second on, that of a run from the third.
SCHEMA, RUN_SCHEMA = 2, 3

PAGE = "leaderboard.html"

_AGAIN = "run the sweep again, which sets it aside and measures anew"

# Folder and ending of what belongs to one cell; its name is the cell's id.
CELL_FILES = (("cells", "json"), ("predictions", "npz"), ("heads", "npz"), ("models", "npz"))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep a second sweep out of a results folder: one process writes. Raises RequestError when one is there.

    The lock is the system's own and ends with its process, however that ends. An OSError inside, as from a full disk,
    becomes a RequestError: what was stored before is whole.
    """
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
    except OSError as error:
        raise RequestError(
            f"stopped by {error.filename or directory} ({error.strerror or error}): what was finished is stored; once"
            " that is mended, the same command goes on from there"
        ) from error
    finally:
        lock.release()


def write_run(directory: Path, run: RunRecord) -> None:
    """Write `run.json`: what was asked, the protocol, the dataset, the environment."""
    write_json(directory / "run.json", sealed({**run.content(), "schema": RUN_SCHEMA}))


def read_run(directory: Path) -> RunRecord:
    """Content of `run.json`. Raises RequestError when the folder holds no run, DamagedError for another content."""
    path = directory / "run.json"
    again = "run the sweep's command again, which writes it anew"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{directory} holds no results (run.json is missing): name the folder of a sweep") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read ({error}): {again}") from None
    try:
        run = run_record.parse(content)
        bare = content.get("schema") in (1, 2) and "sha256" not in content
        if not (bare or is_sealed(content)):
            raise ValueError("its content is not what was written")
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is not the record of a run ({error}): {again}") from None
    return run


def write_cell(directory: Path, finished: CellFinished, *, among: Iterable[Cell] | None = None) -> tuple[str, ...]:
    """Store a finished cell: predictions, head and trained weights first, then the record that makes them count.

    An earlier cell for the same place in the table is forgotten, unless it is ok and this one is not; the ids of those.
    `among` are the stored cells, where they need not be read once more.
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
    record = {part.name: getattr(cell, part.name) for part in fields(Cell)}
    content = {"schema": SCHEMA, **record, "row": cell.row.to_columns(), "files": files}
    write_json(directory / "cells" / f"{cell.cell_id}.json", sealed(content))
    others = [other for other in (read_cells(directory) if among is None else among) if other.cell_id != cell.cell_id]
    wins = cell.status == Status.OK
    beside = [other for other in others if other.key == cell.key]
    replaced = tuple(other.cell_id for other in beside if wins or other.status != Status.OK)
    for cell_id in replaced:
        forget(directory, cell_id)
    return replaced


def forget(directory: Path, cell_id: str) -> None:
    """Delete a cell with all that belongs to it, the record first."""
    for folder, kind in CELL_FILES:
        (directory / folder / f"{cell_id}.{kind}").unlink(missing_ok=True)


def read_cells(directory: Path) -> list[Cell]:
    """Every stored cell, by id. Raises RequestError for a file that is not a cell."""
    return [_cell(path) for path in cell_paths(directory)]


def cell_paths(directory: Path) -> list[Path]:
    """Files of the stored cells, by id; a hidden file is one that was being written when its process was killed."""
    return sorted(path for path in (directory / "cells").glob("*.json") if not path.name.startswith("."))


def read_cell(directory: Path, cell_id: str) -> Cell:
    """One stored cell. Raises RequestError when it is not there, as where only the tables were kept."""
    path = directory / "cells" / f"{cell_id}.json"
    if not path.is_file():
        raise RequestError(f"{path} is missing: name the folder in which the sweep ran, with its cells")
    return _cell(path)


def digests(directory: Path, cell_id: str) -> dict[str, str]:
    """Digests of the files that belong to a cell, by their names in the results folder, as its record has them."""
    path = directory / "cells" / f"{cell_id}.json"
    try:
        return schema.files(_record(path).get("files", {}), cell_id=cell_id)
    except ValueError as error:
        raise RequestError(f"{path} is damaged ({error}): {_AGAIN}") from None


def _cell(path: Path) -> Cell:
    try:
        record = _record(path)
        schema.files(record.get("files", {}), cell_id=path.stem)
        return schema.cell(record, name=path.stem)
    except ValueError as error:
        raise RequestError(f"{path} is damaged ({error}): {_AGAIN}") from None


def _record(path: Path) -> dict[str, Any]:
    """A cell's record. Raises RequestError for one that is not what was written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = set(content) >= {name.name for name in fields(Cell)}
        if content["schema"] != 1:  # which had no digest
            whole = whole and content["schema"] == SCHEMA and is_sealed(content)
        if whole:
            return dict(content)
        reason = "its content is not what was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise RequestError(f"{path} is damaged ({reason}): {_AGAIN}")


def file_of(directory: Path, cell_id: str, folder: str) -> Path | None:
    """The file of a cell in `heads` or `models`, None where it is not kept. Raises RequestError for a damaged one."""
    name = f"{folder}/{cell_id}.npz"
    path = directory / name
    if not path.is_file():
        return None
    if sha256_file(path) != digests(directory, cell_id).get(name):
        raise RequestError(f"{path} is damaged (its digest is not the one in the cell's record): {_AGAIN}")
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

    Raises FileNotFoundError for a cell without them and RequestError where they are not what was written.
    """
    name = f"predictions/{cell_id}.npz"
    path = directory / name
    record = directory / "cells" / f"{cell_id}.json"
    known = digests(directory, cell_id).get(name) if record.is_file() else None
    try:
        content = path.read_bytes()
        if known and known != hashlib.sha256(content).hexdigest():
            raise ValueError("its digest is not the one in the cell's record")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return schema.predictions({name: stored[name] for name in stored.files})
    except FileNotFoundError:
        raise
    except Exception as error:  # readers of damaged archives raise anything
        raise RequestError(f"{path} is damaged ({type(error).__name__}: {error}): {_AGAIN}") from None


def table(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell, the declared columns in their order and types."""
    rows = [
        cell.row.replace(status=cell.status, reason=_text(cell.reason), cell_id=cell.cell_id).to_columns()
        for cell in cells
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMN_NAMES))
    return frame.astype({column.name: column.dtype for column in COLUMNS})


def csv_of(frame: pd.DataFrame) -> str:
    """The table as text."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def write_table(directory: Path, frame: pd.DataFrame) -> None:
    """Write `table.csv` and `table.parquet`."""
    write_text(directory / "table.csv", csv_of(frame))
    with whole_file(directory / "table.parquet") as temporary:
        frame.to_parquet(temporary, index=False)


def read_table(directory: Path) -> pd.DataFrame:
    """The stored table, without needing the cells; columns that an older one lacks are empty.

    Raises RequestError when there is none.
    """
    path = directory / "table.parquet"
    if not path.exists():
        raise RequestError(f"{directory} holds no table yet (table.parquet is missing): run the sweep first")
    try:
        frame = pd.read_parquet(path)
        frame = frame.assign(**{name: None for name in ADDED if name not in frame})[list(COLUMN_NAMES)]
        frame = frame.astype({column.name: column.dtype for column in COLUMNS})
        frame["cell_id"].dropna().map(schema.cell_id)  # they become names of files
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{path} is damaged ({error}): backbench report {directory} writes it anew") from None
    return frame


def table_is_current(directory: Path) -> bool:
    """Whether both files of the table say what the cells say; a sweep that was killed may have left older ones."""
    frame = table(read_cells(directory))
    try:
        same = (directory / "table.csv").read_bytes() == csv_of(frame).encode()
        return same and read_table(directory).equals(frame)
    except (RequestError, OSError, ValueError, KeyError):
        return False


def clear(directory: Path) -> None:
    """Remove what earlier sweeps left in a results folder; what is not theirs stays where it is."""
    if not (directory / "run.json").exists() and not cell_paths(directory):
        return
    for folder, kind in (*CELL_FILES, ("plots", "png"), ("plots", "svg"), ("thumbnails", "jpg"), ("logs", "log")):
        for path in (directory / folder).glob(f"*.{kind}"):
            path.unlink()
        with suppress(OSError):  # not empty, or not there
            (directory / folder).rmdir()
    for name in ("table.csv", "table.parquet", PAGE, "run.json"):
        (directory / name).unlink(missing_ok=True)


def _text(reason: str) -> str:
    """A reason may repeat a path, and a path may hold bytes that are no text."""
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")
