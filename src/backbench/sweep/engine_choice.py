"""`auto` resolved once: engine, precision and backend for all jobs of a sweep."""

from __future__ import annotations

import importlib.util
import json
import os

from backbench.backbones import keras_cache, parse_backbones
from backbench.core import hardware
from backbench.core.dataset import Dataset
from backbench.core.errors import RequestError
from backbench.core.request import Request
from backbench.features.device import used_by
from backbench.results.run_record import RunRecord
from backbench.sweep.plan import _image_size

BACKENDS = ("tensorflow", "jax", "torch")

# Operations that a network must have to do on all images before it pays to convert it, which takes some seconds.
WORTH_CONVERTING = 5e11


def resolve(request: Request, earlier: RunRecord, dataset: Dataset | None = None) -> dict[str, str]:
    """Engine, precision, backend and what is kept, in place of `auto`, as an earlier run of the same folder had them.

    A first run with `auto` is computed in bfloat16 by OpenVINO where the CPU can and the `dataset` is large enough:
    either alone gains little. On a GPU that has bfloat16 Keras computes in it. Raises RequestError for an engine or a
    backend that is not installed.
    """
    kept = earlier.resolved
    backend = _backend()
    engine, precision = request.engine, request.precision
    if engine == "auto":
        engine = kept.get("engine", "")
    if precision == "auto":
        precision = kept.get("precision", "")
    if not engine:
        quick = precision in ("", "bfloat16") and dataset is not None and _openvino_pays(request, dataset, backend)
        engine = "openvino" if quick else "keras"
    if not precision:
        half = hardware.has_bfloat16() if engine == "openvino" else dataset is not None and _gpu_rounds(backend)
        precision = "bfloat16" if half else "float32"
    if request.engine == "openvino":
        _require_openvino(backend, "--engine openvino", "use --engine keras")
    elif engine == "openvino" and dataset is not None:  # after the comparison with what the folder holds
        _require_openvino(backend, "this folder's engine, OpenVINO,", "choose another folder with --out")
    return {
        "engine": engine,
        "precision": precision,
        "backend": backend,
        "keep_models": request.keep_models or kept.get("keep_models", "best"),
    }


def _openvino_pays(request: Request, dataset: Dataset, backend: str) -> bool:
    """Whether converting the backbones takes less time than OpenVINO saves; without bfloat16 it saves too little."""
    there = backend == "tensorflow" and importlib.util.find_spec("openvino") is not None
    if not there or not hardware.has_bfloat16() or hardware.gpu():
        return False
    backbones = [backbone for backbone in parse_backbones(request.backbones) if not backbone.from_scratch]
    work = 0.0
    for backbone in backbones:
        shrunk = _image_size(request, dataset.image_size, backbone.native_size) / backbone.native_size
        work += len(dataset.ids) * shrunk**2 * sum(stage.flops for stage in backbone.stages)
    return work >= WORTH_CONVERTING * max(1, len(backbones))


def _gpu_rounds(backend: str) -> bool:
    """Whether the backend computes on a GPU that has bfloat16: a driver that answers does not say that it does."""
    return hardware.gpu_has_bfloat16() and used_by(backend) not in (None, hardware.cpu())


def _require_openvino(backend: str, what: str, instead: str) -> None:
    if importlib.util.find_spec("openvino") is None:
        raise RequestError(f"{what} is not installed: pip install 'backbench[openvino]', or {instead}")
    if backend != "tensorflow":
        raise RequestError(f"{what} reads networks from TensorFlow, not from {backend}: {instead}")


def _backend() -> str:
    """Keras's own rule: the environment, else its configuration file, else TensorFlow."""
    chosen = os.environ.get("KERAS_BACKEND")
    settings = keras_cache().parent / "keras.json"
    if not chosen and settings.is_file():
        try:
            chosen = json.loads(settings.read_text(encoding="utf-8")).get("backend")
        except (OSError, ValueError, AttributeError):
            chosen = None
    backend = chosen or "tensorflow"
    if backend not in BACKENDS:
        raise RequestError(f"unknown Keras backend '{backend}': set KERAS_BACKEND to one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        raise RequestError(
            f"the Keras backend '{backend}' is not installed: pip install {backend}, or set KERAS_BACKEND"
        )
    return backend
