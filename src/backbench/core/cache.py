"""How large the cache may become: what was used longest ago goes first, and nothing that a running process reads."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import platformdirs

from backbench.core.errors import RequestError

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody has open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]


# What can be computed again. Weights are not among it: the machine may have no network any more.
FOLDERS = ("pixels", "features", "converted")


DEFAULT_GB = 50.0


_held: list[IO[bytes]] = []


def limit_bytes() -> float:
    """`$BACKBENCH_CACHE_LIMIT` in GB, else 50 GB. Raises RequestError for what is no size."""
    asked = os.environ.get("BACKBENCH_CACHE_LIMIT") or DEFAULT_GB
    try:
        size = float(asked)
    except ValueError:
        size = math.nan
    if not size >= 0:
        raise RequestError(f"BACKBENCH_CACHE_LIMIT={asked} is no size: a number of GB, such as 50")
    return size * 1e9


def hold(path: Path) -> None:
    """Keep a file from being evicted as long as this process lives, and note that it was used; it may be missing."""
    with suppress(OSError):
        stream = path.open("rb")
        _held.append(stream)
        if fcntl:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # The time of access alone: by that of the last change a file is known that has been checked before.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def let_go(path: Path) -> None:
    """Hold one file no more."""
    for stream in [stream for stream in _held if Path(stream.name) == path]:
        _held.remove(stream)
        stream.close()


@contextmanager
def letting_go() -> Iterator[None]:
    """Hold nothing any more when the block ends, as it is for processes that live on."""
    try:
        yield
    finally:
        while _held:
            _held.pop().close()


def evict(root: Path, limit: float) -> list[Path]:
    """Delete the entries that were used longest ago until the others take at most `limit` bytes; what went.

    An entry is all files of one name, with their endings. One that a process holds stays, whatever the limit.
    """
    entries: dict[Path, list[Path]] = defaultdict(list)
    for folder in FOLDERS:
        for path in (root / folder).glob("[!.]*"):
            entries[path.with_name(path.name.partition(".")[0])].append(path)
    sizes, used = {}, {}
    for entry, paths in entries.items():
        with suppress(OSError):  # another process was quicker
            facts = [path.stat() for path in paths]
            sizes[entry] = sum(fact.st_size for fact in facts)
            used[entry] = max(max(fact.st_atime_ns, fact.st_mtime_ns) for fact in facts)
    total, gone = sum(sizes.values()), []
    for entry in sorted(sizes, key=lambda entry: (used[entry], entry)):
        if total <= limit:
            break
        if _delete(entries[entry]):
            total -= sizes[entry]
            gone.append(entry)
    return gone


def _delete(paths: list[Path]) -> bool:
    """Delete the files of one entry, unless one of them is held."""
    with ExitStack() as locks:
        try:
            for path in paths:
                stream = locks.enter_context(path.open("rb"))
                if fcntl:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not fcntl:
                locks.close()
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError:
            return False
    return True


def cache_root() -> Path:
    """`$BACKBENCH_CACHE`, else the user's cache folder for backbench. Raises RequestError where neither is known."""
    chosen = os.environ.get("BACKBENCH_CACHE")
    with suppress(RuntimeError):  # what is raised for the home folder of a user who has none
        if chosen:
            return Path(chosen).expanduser().absolute()
        folder = platformdirs.user_cache_path("backbench", appauthor=False, opinion=False)
        if folder.is_absolute():  # some versions return "~/.cache" without a home folder
            return folder
    raise RequestError(
        "there is no folder for the cache (this user has no home folder, and "
        + (f"BACKBENCH_CACHE={chosen} needs one" if chosen else "neither BACKBENCH_CACHE nor XDG_CACHE_HOME is set")
        + "): set BACKBENCH_CACHE to the absolute path of a folder that may be written to"
    )


def provide_home() -> None:
    """Set `$HOME` to the cache folder where this user has no home folder, for frameworks that look for settings there.

    Processes that are started afterwards inherit it.
    """
    try:
        Path.home()
    except RuntimeError:
        with suppress(RequestError, OSError):  # raised again in commands that need the folder
            root = cache_root()
            root.mkdir(parents=True, exist_ok=True)  # Keras takes /tmp for a home folder that is not there
            os.environ["HOME"] = str(root)


def forget_leftovers(root: Path, *, older_than: float = 86400.0) -> None:
    """Delete what killed processes left half-written under a cache folder; what is being written now is younger."""
    for path in root.glob("*/.*"):
        with suppress(OSError):
            if path.suffix == ".lock" or time.time() - path.stat().st_mtime <= older_than:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
