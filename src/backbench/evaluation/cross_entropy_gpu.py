"""The same sums on a GPU, where the features stay for all steps of the probe while there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.core import hardware
from backbench.evaluation.cross_entropy import Likelihood, Sums, on_host
from backbench.evaluation.eigenbasis import Doubles, Floats
from backbench.features.device import device

# Of the free memory of the device, and how many numbers of each image and class are alive at once.
SHARE, ALIVE = 0.5, 6


def where_it_fits(rotated: Floats, labels: NDArray[np.int64], classes: int) -> Likelihood:
    """On the GPU that the backend computes on, or on the host where there is none or it has no room."""
    if device() == hardware.cpu():
        return on_host(rotated, labels, classes)
    free = hardware.free_bytes(on_gpu=True) or 0.0
    needed = 4.0 * len(rotated) * (rotated.shape[1] + ALIVE * classes)
    return (on_device if needed <= SHARE * free else on_host)(rotated, labels, classes)


def on_device(rotated: Floats, labels: NDArray[np.int64], classes: int) -> Likelihood:
    """As `likelihood.on_host`, by the backend in float32; only the losses of the images are summed in float64."""
    features = keras.ops.convert_to_tensor(rotated, "float32")
    truth = keras.ops.convert_to_tensor(labels, "int32")
    hot = keras.ops.one_hot(truth, classes, dtype="float32")
    step = _compiled(_step)

    def sums(weights: Floats, bias: Doubles) -> Sums:
        with _full_float32():
            given = keras.ops.convert_to_tensor(weights), keras.ops.convert_to_tensor(bias, "float32")
            found = step(features, truth, hot, *given)
        losses, right, by_weights, by_bias, spread = (
            keras.ops.convert_to_numpy(part).astype(np.float64) for part in found
        )
        return Sums(float(losses.sum()), float(right), by_weights, by_bias, spread)

    return sums


def _step(features: Any, truth: Any, hot: Any, weights: Any, bias: Any) -> tuple[Any, ...]:
    ops = keras.ops
    logits = ops.matmul(features, weights) + bias
    right = ops.sum(ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=1), "int32"), truth), "float32"))
    logits = logits - ops.max(logits, axis=1, keepdims=True)
    powers = ops.exp(logits)
    total = ops.sum(powers, axis=1, keepdims=True)
    losses = ops.log(total[:, 0]) - ops.sum(logits * hot, axis=1)
    probabilities = powers / total
    spread = ops.sum(probabilities * (1 - probabilities), axis=0)
    off = probabilities - hot
    return losses, right, ops.matmul(ops.transpose(features), off), ops.sum(off, axis=0), spread


def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        compiled: Callable[..., Any] = jax.jit(step)
        return compiled
    if backend == "tensorflow":
        import tensorflow as tf

        traced: Callable[..., Any] = tf.function(step, autograph=False)
        return traced
    return step


@contextmanager
def _full_float32() -> Iterator[None]:
    """Products with all bits of float32, where a GPU may take ten of 23: the line search would end too early."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "tensorflow":
        from tensorflow import config

        before = config.experimental.tensor_float_32_execution_enabled()
        config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            config.experimental.enable_tensor_float_32_execution(before)
    else:
        import torch

        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_float32_matmul_precision(before)
