"""What every engine has in common: the types of its inputs and outputs, and its report of what ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = list[NDArray[Any]]

Forward = Callable[[Iterable[Any]], Iterator[list[NDArray[Any]]]]


@dataclass(frozen=True)
class EngineReport:
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
Engine = Callable[[Any, Inputs], tuple[Forward, EngineReport]]


class EngineUnusableError(Exception):
    """An engine cannot run a model, or not well enough; the text says why."""


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
