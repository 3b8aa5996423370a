"""Files between the machine of a sweep and the nodes of a cluster, in blocks, so that no process holds a whole one.

To a node: what a job reads, once a node, kept in the node's cache. Back: what a job leaves, the trained weights and
its log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from backbench.backbones import weights_here
from backbench.core.backbone import Backbone, Weights
from backbench.core.errors import UnavailableError
from backbench.core.files import digest_now, intact, whole_file

# Bytes of a block to a node, and of one back, which goes into the driver's memory.
BLOCK, PIECE = 32 << 20, 4 << 20

# Of a log only its end is sent back, where the reasons stand.
LOG_BYTES = 256 << 10


class FileServer:
    """Reads files of the sweep's machine for the nodes: an actor there, so that the sweep itself need not.

    It holds nothing but the block that it reads. Whoever may submit tasks to the cluster can read files anyway. And it
    knows of each task which of its cells others have taken over, for the sweep itself cannot speak to a task.
    """

    def __init__(self) -> None:
        self._taken: dict[int, list[str]] = {}

    def take_over(self, task: int, cells: Sequence[str]) -> None:
        """Cells of a task are somebody else's from now on."""
        self._taken.setdefault(task, []).extend(cells)

    def taken(self, task: int) -> list[str]:
        """All cells of a task that are somebody else's."""
        return list(self._taken.get(task, ()))

    def digest(self, path: Path) -> str:
        """Hex sha256 of a file. Raises OSError for one that is not there."""
        return digest_now(path)

    def read(self, path: Path, offset: int) -> bytes:
        """The block that begins at an offset, empty at the end of the file."""
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(BLOCK)

    def weights(self, backbone: Backbone, weights: Weights, cache: Path) -> Weights:
        """The same weights where they are now: a job of this machine may have converted their file meanwhile."""
        if weights.path is None or weights.path.is_file():
            return weights
        found = weights_here(backbone, cache, weights.digest)
        if found is None:
            raise UnavailableError(f"{weights.path} is gone: run again, which looks for the weights anew")
        return found


@dataclass(frozen=True)
class FileChunk:
    """Some bytes of a file that a job left on its node: of trained weights (`model`) or of its output (`log`)."""

    kind: str
    name: str
    offset: int
    content: bytes


def fetch(target: Path, *, sha256: str, blocks: Iterable[bytes]) -> bool:
    """Have a file under its name on this machine; whether it had to come here.

    One process of a machine fetches it, the others wait. Raises OSError where it cannot be written, UnavailableError
    where other bytes came than were to come.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.is_file() and intact(target, sha256):
            return False
        with whole_file(target) as temporary:
            digest = hashlib.sha256()
            with temporary.open("wb") as stream:
                for block in blocks:
                    digest.update(block)
                    stream.write(block)
            if digest.hexdigest() != sha256:
                raise UnavailableError(f"{target.name} came to this node with other bytes than it has: run again")
    return True


def pieces(path: Path, kind: str) -> Iterator[FileChunk]:
    """A file in pieces; of a log only the end."""
    with path.open("rb") as stream:
        skipped = max(0, path.stat().st_size - LOG_BYTES) if kind == "log" else 0
        stream.seek(skipped)
        offset = 0
        while content := stream.read(PIECE):
            yield FileChunk(kind, path.name, offset, content)
            offset += len(content)


def put_down(piece: FileChunk, folder: Path) -> None:
    """Add a piece to the file of its name; the first begins it anew."""
    if Path(piece.name).name != piece.name:
        raise ValueError(f"{piece.name} is no name of a file")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / piece.name
    with path.open("wb" if piece.offset == 0 else "r+b") as stream:
        stream.seek(piece.offset)
        stream.write(piece.content)
