"""The engine that is always there: Keras itself, on any of its backends, on the processor or a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.core.job import INFERENCE_BATCH
from backbench.features.engines import precision_check
from backbench.features.engines.base import EngineReport, Forward, Inputs, padded, pieces

Floats = NDArray[np.float32 | np.float16]

# Batches that are handed to the device before the first of them is waited for: a GPU then never waits for the host.
AT_ONCE = 2

# Compiled functions of models under JAX, which live as long as their model.
_compiled: WeakKeyDictionary[keras.Model, Callable[..., Any]] = WeakKeyDictionary()


def fitted(
    model: keras.Model, sample: Inputs, *, precision: str, batch: int = INFERENCE_BATCH, reason: str = ""
) -> tuple[Forward, EngineReport]:
    """A float32 model ready to run in `precision`. Float32 runs as it is; there is nothing to check.

    bfloat16 is judged by what it changes in the first output, the features where there are any, for the images of the
    `sample`; float32 runs where that is too much.
    """
    exact = partial(forward, model)
    if precision == "float32":
        return exact, EngineReport("keras", "float32", reason=reason)
    rounded = partial(forward, in_bfloat16(model))
    near, right = (np.concatenate([first for first, *_ in run(pieces(sample, batch))]) for run in (rounded, exact))
    noise = precision_check.noise(near, right)
    if too_coarse := precision_check.too_coarse(noise):
        return exact, EngineReport("keras", "float32", {"noise": noise}, too_coarse)
    return rounded, EngineReport("keras", precision, {"noise": noise})


def in_bfloat16(model: keras.Model) -> keras.Model:
    """The same network with its layers computing in bfloat16, weights in float32, and the features averaged in it."""

    def clone(layer: Any) -> Any:
        settings = layer.get_config()
        if isinstance(layer, keras.layers.Layer) and layer.name != "features":
            settings["dtype"] = "mixed_bfloat16"
        return layer.__class__.from_config(settings)

    cloned = keras.models.clone_model(model, clone_function=clone, recursive=True)
    cloned.set_weights(model.get_weights())
    for layer in _layers(cloned):
        if isinstance(layer, keras.layers.Normalization):  # it computes with what it made of its weights before
            layer.finalize_state()
    return cloned


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def forward(model: keras.Model, batches: Iterable[Any]) -> Iterator[list[Floats]]:
    """Outputs of the model in inference mode: a list of arrays [b, ...], one per output, for each batch.

    A batch is an array [b, ...], or a list of them for a model with several inputs. A last batch that is smaller is
    padded to the size of the first.
    """
    submit = submitting(model)
    size = 0
    running: deque[tuple[Any, int]] = deque()
    for batch in batches:
        size = max(size, len(batch[0] if isinstance(batch, list) else batch))
        inputs, count = padded(batch, size)
        running.append((submit(inputs if len(inputs) > 1 else inputs[0]), count))
        if len(running) == AT_ONCE:
            yield _arrays(*running.popleft())
    while running:
        yield _arrays(*running.popleft())


def submitting(model: keras.Model) -> Callable[[Any], Any]:
    """Hands inputs to the device and returns what will be the outputs there; only reading them waits."""
    if keras.backend.backend() != "jax":
        model.make_predict_function()
        return lambda inputs: model.predict_function([(inputs,)])
    # Keras's own function for JAX gives away the memory of the weights with every call.
    if model not in _compiled:
        import jax

        itself = ref(model)

        def call(state: Any, inputs: Any) -> Any:
            outputs, _ = itself().stateless_call(*state, inputs, training=False)  # type: ignore[union-attr]
            return outputs

        _compiled[model] = jax.jit(call)
    variables = model.trainable_variables, model.non_trainable_variables
    return partial(_compiled[model], tuple([variable.value for variable in group] for group in variables))


def _arrays(outputs: Any, count: int) -> list[Floats]:
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return [_as_array(keras.ops.convert_to_numpy(output))[:count] for output in outputs]


def _as_array(output: Any) -> Floats:
    """Float32, or float16 where the network has rounded to it."""
    found = np.asarray(output)
    return found if found.dtype == np.float16 else found.astype(np.float32, copy=False)
