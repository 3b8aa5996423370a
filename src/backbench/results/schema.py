"""Whether what is read from a results folder is what a sweep writes: folders are passed on, and may come from anyone.

Each check returns what it was given in its declared type and raises ValueError with the reason where it is not that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from backbench.core.cells import Cell, Status
from backbench.core.columns import CellRow
from backbench.core.dataset import SPLITS

# Of probabilities in single precision.
ROUNDING = 1e-3


def cell_id(value: Any) -> str:
    """An id, which becomes the name of files: it can lead nowhere else."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_=][A-Za-z0-9_=.-]*", value):
        raise ValueError(f"{value!r:.80} is no id of a cell")
    return value


class _Record(msgspec.Struct):
    """What a file of a cell holds beside its digests."""

    cell_id: str
    status: Status
    reason: str
    identity: dict[str, Any]
    row: CellRow
    trace: dict[str, Any]


def cell(content: Any, *, name: str) -> Cell:
    """The cell of a record in a file of that name, its row in the types of the columns."""
    try:
        record = msgspec.convert(content, _Record)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if cell_id(record.cell_id) != name:
        raise ValueError(f"it is the record of {record.cell_id}")
    return Cell(record.cell_id, record.status, record.reason, record.identity, record.row, record.trace)


def files(content: Any, *, cell_id: str) -> dict[str, str]:
    """Digests of the files of a cell, by their names, which are the cell's own and lead nowhere else."""
    own = {f"{folder}/{cell_id}.npz" for folder in ("predictions", "heads", "models")}
    if not isinstance(content, dict):
        raise ValueError("its list of files is not a mapping")
    for name, digest in content.items():
        if name not in own or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{name!r:.80} is no file of this cell")
    return dict(content)


def predictions(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Ids [n], labels [n] and class probabilities [n, C] of the splits that are there."""
    if "test_probs" not in arrays:
        raise ValueError("it holds no predictions on test")
    for split in SPLITS:
        parts = [arrays.get(f"{split}_{part}") for part in ("ids", "labels", "probs")]
        if all(part is None for part in parts):
            continue
        if any(part is None for part in parts):
            raise ValueError(f"of {split} there are only some arrays")
        ids, labels, found = (part for part in parts if part is not None)
        kinds = (ids.dtype.kind, labels.dtype.kind, found.dtype.kind)
        if kinds not in (("U", "i", "f"), ("U", "u", "f")) or (ids.ndim, labels.ndim, found.ndim) != (1, 1, 2):
            raise ValueError(f"the arrays of {split} have other types or shapes")
        if not len(ids) == len(labels) == len(found):
            raise ValueError(f"the arrays of {split} differ in length")
        if len(ids) and not (labels.min() >= 0 and labels.max() < found.shape[1]):
            raise ValueError(f"{split} has labels without a class")
        if not (np.isfinite(found).all() and (found >= -ROUNDING).all() and (found <= 1 + ROUNDING).all()):
            raise ValueError(f"{split} has probabilities that are none")
    return dict(arrays)
