"""Images that lie on disk as files: which names count as images, how they are read, and their digests."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from backbench.cache import sha256_file
from backbench.datasets.hashing import Progress, digest_all
from backbench.records import Listing

# What people call images, whether or not this Pillow can decode it: such files are listed when they cannot be used.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".tga"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"}
)


@dataclass(frozen=True)
class FileImages:
    """Images in files below `root`, named by their path from there."""

    root: Path
    paths: tuple[str, ...]

    def encoded(self, index: int) -> bytes:
        """Bytes of the file. Raises OSError, also for what is not a regular file."""
        path = self.root / self.paths[index]
        require_regular(path)
        return path.read_bytes()


@dataclass(frozen=True)
class Entry:
    """One image file as found: where it lies below the root, its class and its published split ('' for none)."""

    path: str
    class_name: str
    split: str


def is_image_name(name: str) -> bool:
    """Whether the extension says image."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def require_regular(path: Path) -> None:
    """Raises OSError unless the path leads to a regular file: opening a pipe or a device could wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")


def readable(path: str) -> str:
    """A file name as text that can be written as UTF-8: bytes of no known meaning become `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listing_of_files(
    root: Path,
    entries: Sequence[Entry],
    *,
    name: str,
    source: str,
    class_names: Sequence[str],
    unreadable: Sequence[tuple[str, str]] = (),
    ignored_files: int = 0,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Listing:
    """The listing of files found below `root`, in the order of their ids, each with the digest of its bytes.

    Files that cannot be read join the unreadable ones.
    """
    ordered = sorted(entries, key=lambda entry: readable(entry.path))

    def digest(index: int) -> str:
        path = root / ordered[index].path
        require_regular(path)
        return sha256_file(path)

    digests, failures = digest_all(len(ordered), digest, progress)
    found = [(entry, digests[index]) for index, entry in enumerate(ordered) if index not in failures]
    lost = [*unreadable, *((readable(ordered[index].path), reason) for index, reason in failures.items())]
    number = {class_name: label for label, class_name in enumerate(class_names)}
    return Listing(
        name=name,
        source=source,
        class_names=tuple(class_names),
        ids=tuple(readable(entry.path) for entry, _ in found),
        labels=np.array([number[entry.class_name] for entry, _ in found], dtype=np.int64),
        published=np.array([entry.split for entry, _ in found], dtype="<U5"),
        digests=tuple(digest for _, digest in found),
        images=FileImages(root, tuple(entry.path for entry, _ in found)),
        unreadable=tuple(sorted(lost)),
        ignored_files=ignored_files,
        notes=tuple(notes),
    )
