"""From a source of images to a dataset: list, split, decode, and say what is wrong with it.

May import `core` and `analysis`, and no framework. Begin with `open_listing` below, then `splits.py`, `decoding.py`
and `dataset.py`; `quality.py` and `near_duplicates.py` look for what could mislead. A source is a module in `sources/`.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.data.dataset import assemble, require_two_classes, select
from backbench.data.digests import Progress
from backbench.data.near_duplicates import with_copies
from backbench.data.sources.digits import open_digits
from backbench.data.sources.folder import open_folder
from backbench.data.sources.food101 import is_food_archive, open_food_archive
from backbench.data.sources.hub import open_food, open_hub

__all__ = ["assemble", "open_listing", "results_name", "select", "with_copies"]


def open_listing(
    name: str,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    progress: Progress | None = None,
) -> Listing:
    """The images of `digits`, `food`, `hf:<hub id or local directory>`, or else of the folder called `name`.

    The columns are for `hf:` datasets that leave them open. `progress` is told (done, total) while images are digested.
    Raises RequestError when the dataset is unknown or cannot be used.
    """
    if not name.startswith("hf:") and (image_column or label_column):
        raise RequestError(f"--image-column and --label-column are for hf: datasets; '{name}' has no columns to choose")
    if name == "digits":
        listing = open_digits()
    elif name == "food":
        listing = open_food(progress)
    elif name.startswith("hf:"):
        dataset = name.removeprefix("hf:")
        if not dataset:
            raise RequestError("hf: names no dataset: write hf:<owner>/<name> or hf:<local directory>")
        listing = open_hub(
            str(_path(dataset)) if dataset.startswith("~") else dataset,
            name=_short_name(name),
            source=name,
            image_column=image_column,
            label_column=label_column,
            progress=progress,
        )
    else:
        listing = _open_path(name, progress)
    require_two_classes(listing)
    return listing


def results_name(name: str) -> str:
    """A folder name for the results of a dataset: the last part of a path, the id of a hub dataset, of [A-Za-z0-9._-].

    Never empty, hidden, `.` or `..`; a name that loses characters gets a digest, so that two of them stay apart.
    """
    short = _short_name(name)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", short).strip("-.")[:80]
    if safe == short or safe == short.replace("/", "-"):
        return safe
    return f"{safe or 'dataset'}-{hashlib.sha256(short.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _short_name(name: str) -> str:
    """What people call the dataset: `digits`, `ethz/food101`, or the folder's own name."""
    if name in ("digits", "food"):
        return name
    place = _path(name.removeprefix("hf:"))
    if name.startswith("hf:") and not place.is_dir():
        return name.removeprefix("hf:")
    return place.resolve().name or "root"


def _path(name: str) -> Path:
    """The path of that name; `~` stays as it is where there is no such home folder, which `Path.expanduser` refuses."""
    return Path(os.path.expanduser(name))  # noqa: PTH111


def _open_path(name: str, progress: Progress | None) -> Listing:
    root = _path(name)
    try:
        exists, is_folder = root.exists(), root.is_dir()
    except (OSError, ValueError):  # too long, forbidden, or with a null byte
        exists = is_folder = False
    if not is_folder:
        problem = "it is a file, not a folder" if exists else "no such folder"
        raise RequestError(
            f"unknown dataset '{name}' ({problem}): use digits, food, hf:<hub id or local directory>, "
            "or the path of a folder with class folders"
        )
    return open_food_archive(root, name, progress) if is_food_archive(root) else open_folder(root, name, progress)
