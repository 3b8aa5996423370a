"""Engines run the frozen part of a backbone: batches of images in, arrays of features out.

An engine is one small module. Its `fitted(model, sample, ...)` makes a model ready, checks it on a sample of the
images, and returns the function that runs batches, with a report of what will run. Begin with `base.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backbench.core.job import INFERENCE_BATCH
from backbench.features.engines.base import Engine, EngineReport, EngineUnusableError, Forward, Inputs


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
    from backbench.features.engines import keras_engine

    if name == "keras":
        return partial(keras_engine.fitted, precision=precision, batch=batch)

    def converted(model: Any, sample: Inputs) -> tuple[Forward, EngineReport]:
        from backbench.features.engines import openvino_engine

        try:
            return openvino_engine.fitted(model, sample, precision=precision, batch=batch, folder=folder, key=key or {})
        except EngineUnusableError as error:
            return keras_engine.fitted(model, sample, precision="float32", reason=str(error))

    return converted
