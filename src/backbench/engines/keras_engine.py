"""The engine that is always there: Keras itself, on any of its backends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.engines import Forward, Inputs, Ran, padded

Floats = NDArray[np.float32 | np.float16]


def fitted(model: keras.Model, sample: Inputs, *, precision: str, reason: str = "") -> tuple[Forward, Ran]:
    """A model that runs as it is; there is nothing to check. `precision` is that in which it was built."""
    del sample
    return lambda batches: forward(model, batches), Ran("keras", precision, reason=reason)


def forward(model: keras.Model, batches: Iterable[Any]) -> Iterator[list[Floats]]:
    """Outputs of the model in inference mode: a list of arrays [b, ...], one per output, for each batch.

    A batch is an array [b, ...], or a list of them for a model with several inputs. A last batch that is smaller is
    padded to the size of the first.
    """
    size = 0
    for batch in batches:
        size = max(size, len(batch[0] if isinstance(batch, list) else batch))
        inputs, count = padded(batch, size)
        outputs = model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0])
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        yield [_as_array(output)[:count] for output in outputs]


def _as_array(output: Any) -> Floats:
    """Float32, or float16 where the network has rounded to it."""
    found = np.asarray(output)
    return found if found.dtype == np.float16 else found.astype(np.float32, copy=False)
