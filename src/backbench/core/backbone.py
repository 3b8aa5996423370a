"""A backbone, its stages and its pretrained weights as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Name of the hand-made CNN, which is no function of `keras.applications` and always starts at random.
SCRATCH = "scratch"

# What networks are called that start at random.
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone: parameters and FLOPs of its own, and where it ends.

    `name` is the layer that it ends with, `stride` how many input pixels one position of its output stands for,
    `shapes` those of the tensors that cross its end at the backbone's native size, without the batch.
    """

    name: str
    stride: int
    shapes: tuple[tuple[int, ...], ...]
    params: int
    flops: int


@dataclass(frozen=True)
class Backbone:
    """One row of the registry: a function of `keras.applications` at one width, or the hand-made CNN.

    `stages` are those of its graph from input to output, at its native size.
    """

    name: str
    function: str
    module: str
    family: str
    native_size: int
    min_size: int
    preprocessing: str
    params: int
    weights_url: str
    weights_hash: str | None
    imagenet_top1: float | None
    top1_source: str
    alpha: float | None = None
    weights_file: str | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def from_scratch(self) -> bool:
        """Whether it is the hand-made CNN: no pretrained weights, no frozen part, a head of its own."""
        return self.name == SCRATCH

    @property
    def file_name(self) -> str:
        """Name of the weights file in Keras's cache: the last part of the address, but for NASNet."""
        return self.weights_file or self.weights_url.rpartition("/")[2]


@dataclass(frozen=True)
class Weights:
    """Pretrained tensors at hand: a file, its format, what it is and where it came from."""

    path: Path | None
    format: str
    digest: str | None
    source: str
