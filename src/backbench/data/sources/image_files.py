"""Images that lie on disk as files: which names count as images, how they are read, and their digests."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

import numpy as np

from backbench.core.dataset import Listing
from backbench.data.digests import Progress, digest_all

# What people call images, whether or not this Pillow can decode it: such files are listed when they cannot be used.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".tga"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"}
)


# No photograph is larger, and its bytes are held in memory while it is decoded.
MOST_BYTES = 2**30


@dataclass(frozen=True)
class FileImages:
    """Images in files below `root`, named by their path from there."""

    root: Path
    paths: tuple[str, ...]

    def encoded(self, index: int) -> bytes:
        """Bytes of the file. Raises OSError, also for what is not a regular file."""
        return read_image(self.root / self.paths[index])


@dataclass(frozen=True)
class Entry:
    """One image file as found: where it lies below the root, its class and its published split ('' for none)."""

    path: str
    class_name: str
    split: str


def is_image_name(name: str) -> bool:
    """Whether the extension says image."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def read_image(path: Path) -> bytes:
    """Bytes of an image file. Raises OSError, also for what is not a regular file or too large for an image."""
    with _opened(path) as stream:
        return stream.read()


def _opened(path: Path) -> BufferedReader:
    """A regular file of at most `MOST_BYTES`; a pipe or a device could wait for ever or never end."""
    try:
        _require_image(path.stat())
        # It may have become a pipe since: opened so, a pipe does not wait for somebody to write.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a name with a null byte, as a list of files may hold
        raise OSError("not the name of a file") from None
    try:
        _require_image(os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _require_image(info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise OSError("not a regular file")
    if info.st_size > MOST_BYTES:
        raise OSError(f"larger than {MOST_BYTES // 2**20:,} MiB")


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
        with _opened(root / ordered[index].path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

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
