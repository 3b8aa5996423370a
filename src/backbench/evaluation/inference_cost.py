"""What inference costs: operations, time per image, memory; measured on backbone and head together."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from backbench.backbones import graph, parse_backbones, scratch_cnn
from backbench.backbones.flops import flops
from backbench.core import recipe, subprocesses
from backbench.core.events import Phase
from backbench.core.job import JobSpec, Resources
from backbench.core.timing import Clock

WARM_UPS = 1
# No further call of one batch size is started after this long, so that slow networks do not hold up the sweep.
SECONDS = 2.0


@dataclass(frozen=True)
class Speed:
    """Median seconds of one batch-1 call in milliseconds, and images per second at the best batch size."""

    latency_ms: float
    throughput_ips: float


def deployed(body: keras.Model, classes: int | None = None) -> keras.Model:
    """The model as it would be used: raw images to class probabilities, with a dense head where `body` has none."""
    logits = body.output if classes is None else keras.layers.Dense(classes, dtype="float32")(body.output)
    return keras.Model(body.input, keras.layers.Softmax(dtype="float32")(logits))


def speed(
    model: keras.Model, *, most: int = max(recipe.TIMED_BATCHES), progress: Callable[[int, int], None] | None = None
) -> Speed:
    """Time the model on one image and on batches of at most `most`, warmed up; medians of a few calls."""
    shape = (max(recipe.TIMED_BATCHES), *model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sizes = (1, *(size for size in recipe.TIMED_BATCHES if size <= most))
    medians = {}
    for position, size in enumerate(sizes):
        medians[size] = _median_seconds(model, images[:size])
        if progress:
            progress(position + 1, len(sizes))
    best = max(sizes, key=lambda size: size / medians[size])
    return Speed(1000 * medians[1], best / medians[best])


def _median_seconds(model: keras.Model, images: np.ndarray) -> float:
    model.predict_on_batch(images)  # compiles; counted nowhere
    began = time.perf_counter()
    taken: list[float] = []
    most = WARM_UPS + recipe.TIMED_CALLS
    while len(taken) < most and (len(taken) < WARM_UPS + 1 or time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        model.predict_on_batch(images)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[WARM_UPS:])


def columns(spec: JobSpec, resources: Resources, model: keras.Model, clock: Clock, *, precision: str) -> dict[str, Any]:
    """What the table says of the cost of a deployed model, which computes in `precision`."""
    with clock.phase(Phase.TIMING) as report:
        measured = speed(model, most=resources.inference_batch, progress=report)
    with clock.phase(Phase.MEMORY):
        try:
            memory = peak_memory(
                spec.backbone.name,
                image_size=spec.image_size,
                classes=len(spec.dataset.class_names),
                backend=spec.backend,
                precision=precision,
            )
        except (RuntimeError, subprocess.TimeoutExpired) as error:  # a missing cost must not cost the cell
            print(f"peak memory was not measured: {error}")
            memory = None
    return {
        "params": model.count_params(),
        "flops": flops(model),
        "latency_ms": measured.latency_ms,
        "throughput_ips": measured.throughput_ips,
        "peak_mem_mb": memory,
    }


def peak_memory(
    backbone: str,
    *,
    image_size: int,
    classes: int,
    backend: str,
    precision: str = "float32",
    timeout: float = 600.0,
) -> float:
    """MiB that a fresh process needs at its peak to build the network and classify one image, framework included.

    The weights are random: they take the same room. Raises RuntimeError when that process fails.
    """
    asked = json.dumps({"backbone": backbone, "image_size": image_size, "classes": classes, "precision": precision})
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocesses.run("backbench.evaluation.inference_cost", [asked], timeout=timeout, environment=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"measuring memory ended with code {done.returncode}: {last}")
    return float(done.stdout.strip().splitlines()[-1])


def _high_water_mark() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would include the parent's memory: it survives exec on Linux
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # not everywhere

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1024**2 if sys.platform == "darwin" else used / 1024


def _main(asked: str) -> None:
    wish = json.loads(asked)
    graph.plain_keras(wish["precision"])
    (backbone,) = parse_backbones(wish["backbone"])
    if backbone.from_scratch:
        model = deployed(scratch_cnn.build(image_size=wish["image_size"], classes=wish["classes"]))
    else:
        features = graph.features_model(backbone, image_size=wish["image_size"], weights=None, cache=Path())
        model = deployed(features, wish["classes"])
    model.predict_on_batch(np.zeros((1, *model.input_shape[1:]), np.uint8))
    print(_high_water_mark())


if __name__ == "__main__":
    _main(sys.argv[1])
