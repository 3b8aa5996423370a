"""Backbones as Keras graphs: the one place that calls `keras.applications`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from backbench.backbones.weights.resolve import load_weights
from backbench.core.backbone import Backbone, Weights
from backbench.core.errors import RequestError

QUICK_MOMENTUM = 0.9


def plain_keras(precision: str = "float32") -> None:
    """Undo what a user's keras.json may say about numbers and axes: it would change results and not the identity.

    With `bfloat16` layers compute in it; their weights stay float32.
    """
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    keras.config.set_image_data_format("channels_last")


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Plain Keras in this precision, and afterwards whatever was set before."""
    before = keras.config.floatx(), keras.config.dtype_policy(), keras.config.image_data_format()
    plain_keras(precision)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        keras.config.set_image_data_format(before[2])


def build(backbone: Backbone, *, image_size: int, weights: Weights | None, cache: Path) -> keras.Model:
    """The functional model without its classifier: (images, size, size, 3) to (images, height, width, channels).

    It takes what `preprocess` returns, and starts at random when `weights` is None.

    Raises RequestError for an image size below the backbone's minimum, UnavailableError for weights that do not load.
    """
    if image_size < backbone.min_size:
        raise RequestError(
            f"{backbone.name} needs images of at least {backbone.min_size} px, not {image_size}:"
            f" choose a larger --image-size or leave it out with --backbones ...,-{backbone.name}"
        )
    options: dict[str, Any] = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    function = getattr(keras.applications, backbone.function)
    model = function(include_top=False, weights=None, input_shape=(image_size, image_size, 3), **options)
    if weights is None:
        return model
    if backbone.module == "efficientnet":
        model = _with_imagenet_rescaling(model)
    load_weights(model, weights, backbone=backbone, cache=cache)
    return model


def follow_quickly(model: keras.Model) -> None:
    """Let batch norm's moving statistics follow within tens of steps, for networks that start at random.

    The published momenta (up to 0.999) suit a million steps; after a few hundred the statistics would still be those of
    the beginning, and a control that was trained well would be evaluated as if it were not.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, QUICK_MOMENTUM)


def preprocess(backbone: Backbone, images: Any) -> Any:
    """The family's own `preprocess_input` on raw RGB in 0..255: floating arrays or tensors, symbolic ones included."""
    module = importlib.import_module(f"keras.applications.{backbone.module}")
    if isinstance(images, np.ndarray):
        images = images.copy()  # Keras would write into it
    elif not isinstance(images, keras.KerasTensor):
        images = keras.ops.copy(images)
    return module.preprocess_input(images, data_format="channels_last")


def _with_imagenet_rescaling(model: keras.Model) -> keras.Model:
    """EfficientNet as Keras builds it for `weights="imagenet"`, which is not how it builds it for a file.

    The published weights want inputs divided by the square root of the standard deviation once more; Keras puts the
    layer that does so behind the normalisation only when it is asked for the weights by that name.
    """
    from keras.src.applications.efficientnet import IMAGENET_STDDEV_RGB

    scale = [1.0 / deviation**0.5 for deviation in IMAGENET_STDDEV_RGB]

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.Normalization):
            return keras.layers.Rescaling(scale, name="imagenet_rescaling")(outputs)
        return outputs

    return keras.models.clone_model(model, call_function=call)


def features_model(backbone: Backbone, *, image_size: int, weights: Weights | None, cache: Path) -> keras.Model:
    """Raw images uint8 [b, size, size, 3] to features float32 [b, d]: preprocessing, backbone, global average."""
    return frozen_part(build(backbone, image_size=image_size, weights=weights, cache=cache), backbone)


def frozen_part(
    base: keras.Model, backbone: Backbone, tensors: Sequence[keras.KerasTensor] = (), *, pooled: bool = True
) -> keras.Model:
    """Raw images uint8 [b, size, size, 3] to the features float32 [b, d], and to tensors inside the backbone.

    Without tensors the features are the one output; without `pooled` the tensors are all there is.
    """
    outputs = [base.output] if pooled else []
    body = base if not tensors else keras.Model(base.input, [*outputs, *tensors], name=f"{base.name}_up_to")
    images = keras.Input(base.input_shape[1:], dtype="uint8", name="images")
    found = body(preprocess(backbone, keras.ops.cast(images, "float32")), training=False)
    found = list(found) if isinstance(found, list | tuple) else [found]
    if pooled:
        found[0] = keras.layers.GlobalAveragePooling2D(name="features", dtype="float32")(found[0])
    return keras.Model(images, found if len(found) > 1 else found[0], name=f"{base.name}_frozen")
