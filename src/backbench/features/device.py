"""The processor that a Keras backend computes on; `python -m backbench.features.device` prints its name."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from importlib.util import find_spec

from backbench.core import hardware


def device() -> str:
    """Name of the processor that the backend computes on."""
    import keras  # only here: a sweep asks `used_by` without a framework in its own process

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        for gpu in tensorflow.config.list_physical_devices("GPU"):
            return str(tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
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
    import keras

    framework = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(keras.backend.backend())
    used = ("keras", framework, "numpy", engine)
    versions = {name: importlib.metadata.version(name) for name in used if name and find_spec(name)}
    return versions | {"backend": keras.backend.backend(), "device": device()}


def used_by(backend: str) -> str | None:
    """Name of the device that a Keras backend computes on, asked in a process of its own, which takes seconds."""
    command = [sys.executable, "-P", "-m", "backbench.features.device"]
    variables = {**os.environ, "KERAS_BACKEND": backend}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=variables)  # noqa: S603  fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


if __name__ == "__main__":
    print(device())
