"""The one way in which files come into being, whole or not at all, and the digests and seals that prove it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

# Ending of damaged files that are kept for looking at.
SET_ASIDE = ".damaged"

# Of new files; it can only be read by setting it, which another thread must not see.
_MASK = os.umask(0)

os.umask(_MASK)


def digest_of(facts: Mapping[str, Any]) -> str:
    """Hex sha256 of a JSON-able mapping, independent of the order of its keys."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it will be read from JSON, with the digest of all else in it under `sha256`."""
    as_read = json.loads(json.dumps({name: value for name, value in content.items() if name != "sha256"}))
    return {**as_read, "sha256": digest_of(as_read)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether a record is what was sealed. Raises TypeError or ValueError for what can be no record."""
    return content == sealed(content)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def intact(path: Path, sha256: str) -> bool:
    """Whether a file has this digest. Raises OSError without it."""
    return digest_now(path) == sha256


def digest_now(path: Path) -> str:
    """Hex sha256 of a file, which is read once, until its time or size changes. Raises OSError without it."""
    facts = path.stat()
    return _digest_then(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@lru_cache(maxsize=1024)
def _digest_then(path: Path, *_: int) -> str:
    return sha256_file(path)


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, to be looked at and used no more; its new path."""
    aside = path.with_name(path.name + SET_ASIDE)
    with suppress(OSError):  # another process has seen it too, or nothing can be written: then that is said there
        path.replace(aside)
        print(f"{path} is damaged: it was set aside as {aside.name} and is made anew", file=sys.stderr)
    return aside


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    except OSError as error:
        error.filename = str(path)  # the temporary name tells nobody anything
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_MASK)  # mkstemp makes it private; results are as shareable as any file
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def reserve(path: Path) -> None:
    """Claim the blocks of a file, where the system can. Raises OSError when the disk is full."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
        # A path may hold bytes that are no text; in JSON, what they become is the same text when it is read again.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; refuses NaN, which JSON does not know."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
