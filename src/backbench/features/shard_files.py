"""Frozen passes of a part of the images each, in files that another process joins: one for each depth.

A file holds what is behind so many frozen stages: at the last one the features, before it the activations there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from backbench.core.files import digest_of
from backbench.features.engines.base import EngineReport

Shapes = Sequence[tuple[int, ...]]


@dataclass
class Filling:
    """The tensors of one depth in a file that is being filled."""

    file: h5py.File
    shapes: Shapes
    scales: list[float] = field(default_factory=list)

    def write(self, start: int, outputs: Sequence[NDArray[Any]], scales: Sequence[float]) -> None:
        """Keep the tensors of some rows in a line, which were divided by `scales`."""
        self.scales = list(scales)
        for number, output in enumerate(outputs):
            self.file[str(number)][start : start + len(output)] = output

    def __setitem__(self, rows: slice, output: NDArray[np.float32]) -> None:
        self.file["0"][rows] = output


@contextmanager
def writing(paths: Mapping[int, Path], *, rows: int, shapes: Mapping[int, Shapes]) -> Iterator[dict[int, Filling]]:
    """Files to be filled, by depth, of these shapes without the rows: float32 at the greatest depth, else float16."""
    with ExitStack() as stack:
        found = {
            depth: Filling(stack.enter_context(h5py.File(path, "w")), shapes[depth]) for depth, path in paths.items()
        }
        for depth, one in found.items():
            kind = np.float32 if depth == max(found) else np.float16
            for number, shape in enumerate(one.shapes):
                one.file.create_dataset(str(number), (rows, *shape), kind)
        yield found


def sign(
    filling: Mapping[int, Filling], key: Mapping[str, Any], *, first: int, ran: EngineReport, seconds: float
) -> None:
    """Note in files that are full of what pass they are: all that could change a value, and where they begin in it."""
    for one in filling.values():
        said = {"key": digest_of(key), "first": first, "ran": asdict(ran), "seconds": seconds, "scales": one.scales}
        one.file.attrs["note"] = json.dumps(said)


@dataclass(frozen=True)
class Shards:
    """All rows of a pass at some depths; what ran, the scales of their activations, the seconds of all shards together.

    `files` has those of one shard after the other, each by depth, the greatest first.
    """

    files: tuple[tuple[Path, ...], ...]
    scales: tuple[float, ...]
    ran: EngineReport
    seconds: float

    def read(self, size: int) -> Iterator[list[NDArray[Any]]]:
        """Features and activations of at most `size` rows at a time."""
        for paths in self.files:
            with ExitStack() as stack:
                opened = [stack.enter_context(h5py.File(path, "r")) for path in paths]
                tensors = [file[str(number)] for file in opened for number in range(len(file))]
                for start in range(0, len(tensors[0]), size):
                    yield [tensor[start : start + size] for tensor in tensors]


def together(
    files: Sequence[Mapping[int, Path]], *, key: Mapping[str, Any], rows: int, shapes: Mapping[int, Shapes]
) -> Shards | None:
    """The files of shards in their order as one pass at the depths of `shapes`.

    None where they are not all of it, damaged, or of one that was made otherwise.
    """
    try:
        return _together(files, digest_of(key), rows, shapes)
    except (OSError, KeyError, ValueError):
        return None


def _together(files: Sequence[Mapping[int, Path]], key: str, rows: int, shapes: Mapping[int, Shapes]) -> Shards | None:
    depths = sorted(shapes, reverse=True)
    if not files or not all(set(depths) <= set(shard) for shard in files):
        return None
    first, seconds, common = 0, 0.0, None
    for shard in files:
        notes, sizes = [], set()
        for depth in depths:
            with h5py.File(shard[depth], "r") as file:
                notes.append(json.loads(file.attrs.get("note", "{}")))
                found = [file[str(number)].shape for number in range(len(file))]
            if [shape[1:] for shape in found] != list(map(tuple, shapes[depth])):
                return None
            sizes |= {shape[0] for shape in found}
        if not all(notes) or any((note["key"], note["first"]) != (key, first) for note in notes):
            return None
        same = [(note["ran"], note["scales"]) for note in notes]
        if len(sizes) != 1 or (common and same != common):
            return None
        first, seconds, common = first + sizes.pop(), seconds + float(notes[0]["seconds"]), same
    if common is None or first != rows:
        return None
    scales = tuple(scale for _, of_depth in common[1:] for scale in of_depth)
    paths = tuple(tuple(shard[depth] for depth in depths) for shard in files)
    return Shards(paths, scales, EngineReport(**common[0][0]), seconds)
