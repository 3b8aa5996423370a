"""OpenVINO, for CPUs: a network is converted once, and checked on the user's images before it is trusted."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from backbench.core import files, hardware
from backbench.core.cache import hold
from backbench.core.job import INFERENCE_BATCH
from backbench.core.version import __version__
from backbench.features.engines import precision_check
from backbench.features.engines.base import EngineReport, EngineUnusableError, Forward, Inputs, padded, pieces

# Images of the sample that also go through Keras, when a network is converted.
COMPARED = 4

HINTS = {"float32": "f32", "bfloat16": "bf16"}

# Batches that are in work at once: while one is computed, the next one is made ready.
AT_ONCE = 2

# Characters of OpenVINO's own words that a reason quotes, and how lines begin that only name a place in its source.
QUOTED, PLACES = 200, ("Exception from ", "Check '")


def fitted(
    model: keras.Model,
    sample: Inputs,
    *,
    precision: str,
    folder: Path | None,
    key: Mapping[str, Any],
    batch: int = INFERENCE_BATCH,
) -> tuple[Forward, EngineReport]:
    """A model ready to run in `precision`, after the checks: does it say what Keras says, and is bfloat16 near enough?

    `sample` holds the model's inputs for some of the user's images. All outputs are compared with Keras.
    bfloat16 is judged by the first one, the features where there are any; float32 runs where it is too far off.
    Converted networks are kept in `folder`. Raises UnfitError where OpenVINO cannot convert, compile or run the model.
    """
    if find_spec("openvino") is None:
        raise EngineUnusableError("OpenVINO is not installed (pip install 'backbench[openvino]')")
    if keras.backend.backend() != "tensorflow":
        raise EngineUnusableError(f"OpenVINO reads networks from TensorFlow, not from {keras.backend.backend()}")
    if precision == "bfloat16" and not hardware.has_bfloat16():
        raise EngineUnusableError("this CPU does not compute in bfloat16")
    try:
        return _checked(model, sample, precision=precision, batch=batch, folder=folder, key=key)
    except Exception as error:
        if not _is_openvinos(error):
            raise
        raise EngineUnusableError(f"OpenVINO could not run this network ({_words(error)})") from error


def _is_openvinos(error: Exception) -> bool:
    """Whether OpenVINO raised an error, not this code: a class of its own, or one of the bare ones that it uses.

    Its C++ core raises RuntimeError, and its reader of TensorFlow graphs Exception. Classes derived from these, such as
    NotImplementedError, are somebody else's.
    """
    kind = type(error)
    return kind in (RuntimeError, Exception) or kind.__module__.partition(".")[0] == "openvino"


def _words(error: Exception) -> str:
    """What an error of OpenVINO says, on one line."""
    lines = [line for line in str(error).splitlines() if not line.startswith(PLACES)]
    return textwrap.shorten(" ".join(lines), QUOTED, placeholder=" ...") or type(error).__name__


def _checked(
    model: keras.Model, sample: Inputs, *, precision: str, batch: int, folder: Path | None, key: Mapping[str, Any]
) -> tuple[Forward, EngineReport]:
    import openvino

    core = openvino.Core()
    key = {**key, "batch": batch}
    with _alone(folder, key):
        network = _recalled(core, folder, key)
        if network is None:
            network = _converted(model, batch)
            if folder:
                with suppress(OSError, RuntimeError):  # it is only a cache, and the pass may still find room
                    _keep(network, _path(folder, key))
    exact = _running(core, network, "float32")
    parts = list(pieces(sample, batch))
    found = [np.concatenate(outputs) for outputs in zip(*exact(parts), strict=True)]
    few = [array[:COMPARED] for array in sample]
    expected = keras.tree.flatten(model(few if len(few) > 1 else few[0], training=False))
    off = max(
        precision_check.difference(ours, np.asarray(theirs)) for ours, theirs in zip(found, expected, strict=True)
    )
    if not off <= precision_check.AGREES:
        raise EngineUnusableError(f"OpenVINO and Keras disagree on these images by {off:.1e} of the largest value")
    passed = {"difference_from_keras": off}
    if precision == "float32":
        return exact, EngineReport("openvino", "float32", passed)
    rounded = _running(core, network, precision)
    passed["noise"] = precision_check.noise(np.concatenate([first for first, *_ in rounded(parts)]), found[0])
    if reason := precision_check.too_coarse(passed["noise"]):
        return exact, EngineReport("openvino", "float32", passed, reason)
    return rounded, EngineReport("openvino", precision, passed)


def _running(core: Any, network: Any, precision: str) -> Forward:
    # All cores on one batch: as quick as several streams, and a sample of one batch takes half the time.
    hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(network, "CPU", hints)
    return partial(forward, compiled, [compiled.create_infer_request() for _ in range(AT_ONCE)])


def forward(compiled: Any, requests: Sequence[Any], batches: Iterable[Any]) -> Iterator[list[NDArray[Any]]]:
    """Outputs of a compiled model, in the order of the batches, with as many in work as there are requests."""
    free = deque(requests)
    running: deque[tuple[Any, int, Inputs]] = deque()  # with their inputs, which must live as long

    def finished() -> list[NDArray[Any]]:
        request, count, _ = running[0]
        request.wait()
        outputs = [np.array(request.get_output_tensor(i).data[:count]) for i in range(len(compiled.outputs))]
        running.popleft()
        free.append(request)
        return outputs

    try:
        for batch in batches:
            inputs, count = padded(batch, compiled.inputs[0].shape[0])
            if not free:
                yield finished()
            inputs = [
                np.ascontiguousarray(array, own.get_element_type().to_dtype())
                for array, own in zip(inputs, compiled.inputs, strict=True)
            ]
            running.append((free.popleft(), count, inputs))
            running[-1][0].start_async(dict(enumerate(inputs)), share_inputs=True)
        while running:
            yield finished()
    finally:
        for request, *_ in running:
            request.wait()


def _alone(folder: Path | None, key: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Of several processes that want the same network one converts it, and the others take what it has kept."""
    if folder is None:
        return nullcontext()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f".{_path(folder, key).stem}.lock").acquire()
    except OSError:  # where nothing can be written, nothing is kept either
        return nullcontext()


def _converted(model: keras.Model, batch: int) -> Any:
    """The network as OpenVINO has it, for batches of a fixed size."""
    import openvino
    import tensorflow as tf

    def call(*given: Any) -> Any:
        return model(list(given) if len(given) > 1 else given[0], training=False)

    # Straight from a traced function, its weights read from memory: a SavedModel on the way costs many seconds.
    inputs = [tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    traced = tf.function(call, autograph=False).get_concrete_function(*inputs)
    network = openvino.convert_model(traced)
    # An activation with a gradient of its own (swish) leaves an end behind, which would count as an output.
    wanted = {tensor.name for tensor in traced.outputs}
    for result in network.get_results():
        if not wanted & result.output(0).get_names():
            network.remove_result(result)
    return network


def _keep(network: Any, path: Path) -> None:
    """Two files and, last, a note with their digests, without which they do not count."""
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as temporary:
        draft = Path(temporary) / path.name
        openvino.save_model(network, draft, compress_to_fp16=False)
        digests = {suffix: files.sha256_file(draft.with_suffix(suffix)) for suffix in (".bin", ".xml")}
        for suffix in digests:
            draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    files.write_json(path.with_suffix(".json"), {"sha256": digests})


def _recalled(core: Any, folder: Path | None, key: Mapping[str, Any]) -> Any | None:
    """A network that was kept, if it is whole."""
    if folder is None:
        return None
    path = _path(folder, key)
    hold(path.with_suffix(".bin"))
    try:
        digests = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
        whole = all(files.sha256_file(path.with_suffix(suffix)) == digests[suffix] for suffix in (".bin", ".xml"))
        return core.read_model(path, path.with_suffix(".bin")) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None


def _path(folder: Path, key: Mapping[str, Any]) -> Path:
    versions = {"backbench": __version__} | {name: version(name) for name in ("openvino", "tensorflow", "keras")}
    return folder / f"{files.digest_of({**key, 'versions': versions})}.xml"
