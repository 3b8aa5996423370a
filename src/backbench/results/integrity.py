"""What is wrong with a results folder, and how a sweep puts it right: damage, leftovers, tables out of date."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from backbench.core.cells import Cell, CellKey, Status
from backbench.core.errors import DamagedError, RequestError
from backbench.core.files import SET_ASIDE, sha256_file, whole_file
from backbench.results import store
from backbench.results.run_record import RunRecord

# Where sweeps write; anything else in the folder is not theirs.
FOLDERS = ("cells", "predictions", "heads", "models", "plots", "thumbnails")
_FILES = ("run.json", "table.csv", "table.parquet", store.PAGE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a file below the results folder, in words what is wrong with it, and what to do.

    `remedy` is "set aside" for what is damaged, "delete" for what nobody needs, "rewrite" for what follows from cells.
    """

    what: str
    wrong: str
    remedy: str


def look_at(directory: Path) -> list[Finding]:
    """Everything that is wrong with a results folder. Reads every file in it once and changes nothing.

    Raises RequestError when it holds no run.
    """
    damaged, cells = _records(directory)
    try:
        store.read_run(directory)
    except DamagedError:
        damaged.append(Finding("run.json", "damaged: not what was written", "set aside"))
    for cell_id in list(cells):
        found = _files_of(directory, cell_id)
        damaged += found
        # Without its weights a cell still counts; without its predictions it does not.
        if any(not finding.what.startswith("models/") for finding in found):
            del cells[cell_id]
    needless = _twice(directory, cells) + _leftovers(directory)
    return damaged + needless + ([] if damaged or needless else _outdated(directory))


def put_right(directory: Path, *, say: Callable[[str], None]) -> bool:
    """Set aside what is damaged and delete what nobody needs; the caller holds the folder's lock.

    Returns whether any cell or any of its files went, by which the table became another one.
    """
    gone = False
    for finding in look_at(directory):
        path = directory / finding.what
        if finding.remedy == "set aside":
            aside = path.with_name(path.name + SET_ASIDE)
            if path.exists():
                path.replace(aside)
                say(f"{finding.what}: {finding.wrong}; it was set aside as {aside.relative_to(directory)}")
            else:
                say(f"{finding.what}: {finding.wrong}")
            gone = True
        elif finding.remedy == "delete" and path.parent.name == "cells" and not path.name.startswith("."):
            store.forget(directory, path.stem)
            gone = True
        elif finding.remedy == "delete":
            path.unlink(missing_ok=True)
    return gone


def earlier_run(directory: Path) -> tuple[RunRecord, bool]:
    """What run.json says, nothing where there is none; and whether it is damaged, so that it says nothing either."""
    try:
        return (store.read_run(directory) if (directory / "run.json").exists() else RunRecord()), False
    except DamagedError:
        return RunRecord(), True


def whole_cells(directory: Path) -> list[Cell]:
    """The stored cells, without those whose records are damaged."""
    return list(_records(directory)[1].values())


def copy_aside(directory: Path) -> str:
    """Keep a damaged run.json, which stays in its place until it is written anew, under another name; what to say."""
    aside = directory / f"run.json{SET_ASIDE}"
    with whole_file(aside) as temporary:
        shutil.copyfile(directory / "run.json", temporary)
    return (
        f"run.json is damaged: kept as {aside.name} and written anew from this command. Lost are earlier commands, what"
        " they still owed, times and environments of their jobs, and whether images may be shown: they stay out of the"
        " page until you ask for --images"
    )


def set_aside(directory: Path) -> list[str]:
    """Names of damaged files that earlier sweeps have set aside."""
    found = [*directory.glob(f"*{SET_ASIDE}"), *directory.glob(f"*/*{SET_ASIDE}")]
    return sorted(path.relative_to(directory).as_posix() for path in found)


def in_use(directory: Path) -> bool:
    """Whether a sweep is writing to the folder now; locks of dead processes do not count, the system frees them."""
    if not (directory / ".lock").exists():
        return False
    try:
        with FileLock(directory / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written to has no writer either
        return False


def page_is_current(directory: Path) -> bool:
    """Whether the page is younger than everything that it shows."""
    page = directory / store.PAGE
    shown = [directory / "run.json", directory / "table.parquet", *store.cell_paths(directory)]
    return page.exists() and all(page.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in shown if path.exists())


def _records(directory: Path) -> tuple[list[Finding], dict[str, Cell]]:
    damaged, cells = [], {}
    for path in store.cell_paths(directory):
        try:
            cells[path.stem] = store.read_cell(directory, path.stem)
        except RequestError:
            damaged.append(Finding(f"cells/{path.name}", "damaged: not what was written", "set aside"))
    return damaged, cells


def _files_of(directory: Path, cell_id: str) -> list[Finding]:
    """What is wrong with the files of one cell; with it goes its record, unless only trained weights are concerned."""
    found = []
    for name, digest in store.digests(directory, cell_id).items():
        path = directory / name
        if not path.is_file():
            if not name.startswith("models/"):  # these are thinned out
                found.append(Finding(name, "missing, though its cell needs it", "set aside"))
        elif sha256_file(path) != digest:
            found.append(Finding(name, "damaged: its digest is not the one in the cell's record", "set aside"))
    if any(not finding.what.startswith("models/") for finding in found):
        found.append(
            Finding(f"cells/{cell_id}.json", "its predictions or its head are damaged or missing", "set aside")
        )
    return found


def _twice(directory: Path, cells: dict[str, Cell]) -> list[Finding]:
    """All but the one that counts of cells for the same place in the table: a finished one, else the latest."""
    best: dict[CellKey, Cell] = {}
    found = []
    for cell in sorted(cells.values(), key=lambda cell: (cell.status == Status.OK, _written(directory, cell))):
        if earlier := best.get(cell.key):
            found.append(Finding(f"cells/{earlier.cell_id}.json", f"replaced by {cell.cell_id}", "delete"))
            del cells[earlier.cell_id]
        best[cell.key] = cell
    return found


def _written(directory: Path, cell: Cell) -> int:
    return (directory / "cells" / f"{cell.cell_id}.json").stat().st_mtime_ns


def _leftovers(directory: Path) -> list[Finding]:
    """Files that were being written when their sweep was killed, and what belongs to no cell."""
    hidden = [path for folder in FOLDERS for path in (directory / folder).glob(".*") if path.is_file()]
    hidden += [path for name in _FILES for path in directory.glob(f".{name}.*")]
    ids = {path.stem for path in store.cell_paths(directory)}
    strays = [
        path
        for folder, kind in store.CELL_FILES
        for path in (directory / folder).glob(f"*.{kind}")
        if path.stem not in ids and not path.name.startswith(".")
    ]
    found = [(path, "left half-written by a sweep that was killed") for path in hidden]
    found += [(path, "belongs to no cell") for path in strays]
    return [Finding(path.relative_to(directory).as_posix(), wrong, "delete") for path, wrong in sorted(found)]


def _outdated(directory: Path) -> list[Finding]:
    if (directory / "cells").is_dir() and not store.table_is_current(directory):
        return [Finding("table.parquet", "the tables do not say what the cells say", "rewrite")]
    if not page_is_current(directory):
        return [Finding(store.PAGE, "missing, or older than what it shows", "rewrite")]
    return []
