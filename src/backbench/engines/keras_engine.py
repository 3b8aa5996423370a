"""The engine that is always there: Keras itself, on any of its backends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def forward(model: keras.Model, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
    """Outputs of the model in inference mode, one array [b, ...] per batch [b, ...].

    A last batch that is smaller is padded to the size of the first, so that one compiled graph serves all.
    """
    size = 0
    for batch in batches:
        size = max(size, len(batch))
        padding = size - len(batch)
        whole = np.concatenate([batch, np.repeat(batch[-1:], padding, axis=0)]) if padding else batch
        yield np.asarray(model.predict_on_batch(whole), np.float32)[: len(batch)]
