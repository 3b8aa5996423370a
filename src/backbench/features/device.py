"""Which device runs the framework, and the versions that could change a number."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec

import keras

from backbench.core import hardware


def device() -> str:
    """Name of the processor that the backend computes on."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        for found in tensorflow.config.list_physical_devices("GPU"):
            return str(tensorflow.config.experimental.get_device_details(found).get("device_name", found.name))
    elif backend == "jax":
        import jax

        if jax.devices()[0].platform != "cpu":
            return str(jax.devices()[0].device_kind)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    return hardware.cpu()


def environment(engine: str = "keras") -> dict[str, str]:
    """Versions of what computes, and on what."""
    framework = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(keras.backend.backend())
    used = ("keras", framework, "numpy", engine)
    versions = {name: importlib.metadata.version(name) for name in used if name and find_spec(name)}
    return versions | {"backend": keras.backend.backend(), "device": device()}
