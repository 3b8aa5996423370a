"""Engines run the frozen part of a backbone: batches of images in, arrays of features out.

An engine is one small module. Its `fitted(model, sample, ...)` makes a model ready, looks at what it does to a sample
of the images, and gives the function that runs batches, with a record of what will run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.records import INFERENCE_BATCH

Inputs = list[NDArray[Any]]
Forward = Callable[[Iterable[Any]], Iterator[list[NDArray[Any]]]]


@dataclass(frozen=True)
class Ran:
    """What ran a frozen part; the checks that it passed, by name; and why it is not what was asked for, if it is not.

    The checks are `difference_from_keras` and `noise`, as `openvino_engine` measures them.
    """

    engine: str
    precision: str
    checks: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def instead(self, *, frozen: bool = True, trained: str = "") -> str:
        """For the reader of a cell: why it is not what was asked for, and what was done; empty where it is.

        `trained` is the precision of its training where that is not what was asked for either, and `frozen` whether it
        has a frozen part.
        """
        ran = [f"{self.engine} in {self.precision} ran the frozen part"] * frozen
        done = ran + [f"training was in {trained}"] * bool(trained)
        return f"{self.reason}: {', and '.join(done)}" if self.reason and done else ""


# From a Keras model and a sample of its inputs to the function that runs it.
Engine = Callable[[Any, Inputs], tuple[Forward, Ran]]


class UnfitError(Exception):
    """An engine cannot run a model, or not well enough; the text says why."""


def engine_for(
    name: str,
    *,
    precision: str,
    batch: int = INFERENCE_BATCH,
    folder: Path | None = None,
    key: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine of that name; one that turns out to be unfit gives way to Keras in float32, and the record says so.

    Converted models are kept in `folder`, if there is one, under a `key` that names everything that could change them.
    """
    from backbench.engines import keras_engine

    if name == "keras":
        return partial(keras_engine.fitted, precision=precision, batch=batch)

    def converted(model: Any, sample: Inputs) -> tuple[Forward, Ran]:
        from backbench.engines import openvino_engine

        try:
            return openvino_engine.fitted(model, sample, precision=precision, batch=batch, folder=folder, key=key or {})
        except UnfitError as error:
            return keras_engine.fitted(model, sample, precision="float32", reason=str(error))

    return converted


def pieces(inputs: Inputs, size: int) -> Iterator[Inputs]:
    """The inputs of a model, at most `size` rows at a time."""
    for start in range(0, len(inputs[0]), size):
        yield [array[start : start + size] for array in inputs]


def padded(batch: Any, size: int) -> tuple[Inputs, int]:
    """The inputs of a batch, repeated at the end up to `size` rows, so that one compiled graph serves all; its rows."""
    inputs = batch if isinstance(batch, list) else [batch]
    count = len(inputs[0])
    if missing := size - count:
        inputs = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in inputs]
    return inputs, count
