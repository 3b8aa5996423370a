"""The original Food-101 archive, unpacked: `images/<class>/<id>.jpg` with `meta/train.txt` and `meta/test.txt`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.data.digests import Progress
from backbench.data.sources.image_files import Entry, listing_of_files, readable


def is_food_archive(root: Path) -> bool:
    """Whether the folder has the archive's shape."""
    try:
        lists = [(root / "meta" / f"{split}.txt").is_file() for split in ("train", "test")]
        return (root / "images").is_dir() and all(lists)
    except OSError:  # a folder that may not be entered
        return False


def open_food_archive(root: Path, source: str, progress: Progress | None = None) -> Listing:
    """What the two lists name, in the published train and test splits; listed images that are missing are unreadable.

    Raises RequestError when a list cannot be read or has a line that is not `class/id`, or both lists name the same
    image.
    """
    entries: dict[str, Entry] = {}
    for split in ("train", "test"):
        try:
            text = (root / "meta" / f"{split}.txt").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            reason = error.strerror or error
            raise RequestError(
                f"meta/{split}.txt in '{source}' cannot be read ({reason}): check its permissions"
            ) from None
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            listed = PurePosixPath(line.strip())
            if listed.is_absolute() or ".." in listed.parts or len(listed.parts) != 2:
                raise RequestError(
                    f"line {number} of meta/{split}.txt in '{source}' is not of the form class/id: "
                    "unpack the Food-101 archive again"
                )
            path = f"images/{listed}.jpg"
            if entries.setdefault(path, Entry(path, listed.parts[0], split)).split != split:
                raise RequestError(
                    f"'{listed}' stands in both meta/train.txt and meta/test.txt of '{source}': "
                    "unpack the Food-101 archive again"
                )
    return listing_of_files(
        root,
        list(entries.values()),
        name=readable(root.resolve().name) or "food-101",
        source=source,
        class_names=sorted({entry.class_name for entry in entries.values()}),
        progress=progress,
    )
