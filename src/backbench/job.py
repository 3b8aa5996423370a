"""One job: one backbone, all its cells. The only place where data, model and metrics meet."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import cost, finetune, hardware, metrics
from backbench.activations import frozen_pass
from backbench.backbones import graph, scratch
from backbench.backbones.flops import flops
from backbench.backbones.graph import plain_keras
from backbench.cells import Plan, empty_row, plan
from backbench.probe import Head, fit_path
from backbench.records import PROTOCOL_VERSION, SPLITS, Backbone, Cell, Event, Finished, Job, Progress, Summary

Emit = Callable[[Event], None]

COST_PHASES = ("timing", "memory")


class _Clock:
    """Seconds of each phase, and where the job is, told to whoever listens."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[int, int], None]]:
        self.emit(Progress(name, 0, 1))
        began = time.perf_counter()
        try:
            yield lambda done, total: self.emit(Progress(name, done, total))
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.emit(Progress(name, 1, 1))

    def spent(self, *phases: str) -> float:
        """Seconds in these phases so far."""
        return sum(self.seconds.get(name, 0.0) for name in phases)


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


def run(job: Job, emit: Emit) -> None:
    """Measure every wanted cell of a job and emit each as it is finished, then a summary.

    Whatever goes wrong is raised: UnavailableError for what cannot be had here, anything else is a failure.
    """
    plain_keras()
    wanted = [cell for cell in plan(job) if job.wanted is None or cell.cell_id in job.wanted]
    clock = _Clock(emit)
    if job.backbone is None:
        _scratch_cells(job, wanted, clock)
    else:
        _frozen_cells(job, job.backbone, wanted, clock)
    emit(Summary(job.label, dict(clock.seconds), _environment()))


def _frozen_cells(job: Job, backbone: Backbone, wanted: list[Plan], clock: _Clock) -> None:
    """Fully frozen: one pass, then the probe; with random weights once per seed."""
    data, pixels = job.dataset, job.images()
    columns: dict[str, Any] = {}
    own = ("building", "frozen pass", "probe")
    for cell in wanted:
        before = clock.spent(*own)
        keras.utils.set_random_seed(cell.seed)
        with clock.phase("building"):
            model = graph.features_model(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        before_pass = clock.spent("frozen pass")
        with clock.phase("frozen pass") as report:
            features, passed = frozen_pass(
                model, pixels, data.rows, key=_features_key(job, backbone, cell), cache=job.cache, progress=report
            )
        clock.seconds["frozen pass"] = before_pass + passed  # what it took, should the cache have had it
        began = time.perf_counter()
        with clock.phase("probe") as report:
            path = fit_path(
                features,
                data.labels,
                train=data.indices("train"),
                val=data.indices("val"),
                classes=len(data.class_names),
                scratch=job.cache,
                progress=report,
            )
            found = {name: path.head(features, data.indices(name)) for name in SPLITS}
        fit_seconds = time.perf_counter() - began
        columns = columns or _cost_columns(job, cost.deployed(model, len(data.class_names)), clock)
        row = columns | {
            "freeze_depth": 1,
            "stages": 1,
            "frozen_params_pct": 100.0,
            "trainable_params": path.head.weights.size + path.head.bias.size,
            "fit_seconds": fit_seconds,
            "wall_seconds": clock.spent(*own) - before + clock.spent(*COST_PHASES) / len(wanted),
        }
        trace = {"probe": {"path": [asdict(step) for step in path.steps], "chosen": path.chosen}}
        clock.emit(_finished(job, cell, found, row=row, trace=trace, head=path.head))


def _scratch_cells(job: Job, wanted: list[Plan], clock: _Clock) -> None:
    """The hand-made CNN, trained from pixels once per seed."""
    data, pixels = job.dataset, job.images()
    train, val = data.indices("train"), data.indices("val")
    columns: dict[str, Any] = {}
    own = ("building", "training", "evaluation")
    for cell in wanted:
        before = clock.spent(*own)
        keras.utils.set_random_seed(cell.seed)
        with clock.phase("building"):
            model = scratch.build(image_size=job.image_size, classes=len(data.class_names))
        columns = columns or _cost_columns(job, model, clock)
        began = time.perf_counter()
        with clock.phase("training") as report:
            training = finetune.Shuffled(
                pixels,
                data.rows[train],
                data.labels[train],
                batch_size=job.batch_size,
                augment=job.augment,
                flips=data.flips,
                rng=np.random.default_rng(cell.seed),
            )
            trained = finetune.train(
                model,
                training,
                pixels=pixels,
                val_rows=data.rows[val],
                val_labels=data.labels[val],
                epochs=job.epochs,
                progress=lambda epoch, report=report: report(epoch, job.epochs),  # type: ignore[misc]
            )
        fit_seconds = time.perf_counter() - began
        with clock.phase("evaluation"):
            found = {name: finetune.predict(model, pixels, data.rows[data.indices(name)]) for name in SPLITS}
        row = columns | {
            "freeze_depth": 0,
            "stages": 1,
            "frozen_params_pct": 0.0,
            "trainable_params": model.count_params(),
            "fit_seconds": fit_seconds,
            "wall_seconds": clock.spent(*own) - before + clock.spent(*COST_PHASES) / len(wanted),
        }
        clock.emit(_finished(job, cell, found, row=row, trace={"training": trained.trace()}))


def _cost_columns(job: Job, model: keras.Model, clock: _Clock) -> dict[str, Any]:
    with clock.phase("timing") as report:
        speed = cost.speed(model, progress=report)
    with clock.phase("memory"):
        name = job.backbone.name if job.backbone else "scratch"
        try:
            memory = cost.peak_memory(
                name, image_size=job.image_size, classes=len(job.dataset.class_names), backend=job.backend
            )
        except (RuntimeError, subprocess.TimeoutExpired) as error:  # a missing cost must not cost the cell
            print(f"peak memory was not measured: {error}")
            memory = None
    return {
        "params": model.count_params(),
        "flops": flops(model),
        "latency_ms": speed.latency_ms,
        "throughput_ips": speed.throughput_ips,
        "peak_mem_mb": memory,
    }


def _finished(
    job: Job,
    cell: Plan,
    found: Mapping[str, NDArray[np.float32]],
    *,
    row: Mapping[str, Any],
    trace: Mapping[str, Any],
    head: Head | None = None,
) -> Finished:
    """The cell with its metrics from class probabilities per split."""
    data = job.dataset
    if not all(np.isfinite(probabilities).all() for probabilities in found.values()):
        raise FloatingPointError("the predictions hold NaN or infinite values")
    truth = {name: data.labels[data.indices(name)] for name in SPLITS}
    train_acc, val_acc, test_acc = (metrics.accuracy(found[name], truth[name]) for name in SPLITS)
    low, high = metrics.wilson_interval(test_acc, len(truth["test"]))
    measured = {
        "train_acc": train_acc,
        "val_acc": val_acc,
        "test_acc": test_acc,
        "gap": train_acc - test_acc,
        "val_nll": metrics.nll(found["val"], truth["val"]),
        "selection_score": metrics.selection_score(found["val"], truth["val"]),
        "test_acc_lo": low,
        "test_acc_hi": high,
        "test_top5": metrics.top_k_accuracy(found["test"], truth["test"]),
        "test_macro_f1": metrics.macro_f1(found["test"], truth["test"]),
        "test_nll": metrics.nll(found["test"], truth["test"]),
        "test_ece": metrics.ece(found["test"], truth["test"]),
        "device": device(),
    }
    predictions: dict[str, NDArray[Any]] = {}
    for name in ("val", "test"):
        predictions[f"{name}_ids"] = np.array([data.ids[i] for i in data.indices(name)])
        predictions[f"{name}_labels"] = truth[name]
        predictions[f"{name}_probs"] = found[name]
    return Finished(
        Cell(
            cell_id=cell.cell_id,
            status="ok",
            reason="",
            identity=cell.identity,
            row=empty_row(job, cell) | dict(row) | measured | {"status": "ok"},
            trace=dict(trace),
        ),
        predictions,
        {} if head is None else {"weights": head.weights, "bias": head.bias},
    )


def _features_key(job: Job, backbone: Backbone, cell: Plan) -> dict[str, Any]:
    """Everything that could change a feature; the pixels' file is itself named by what is in it."""
    return {
        "protocol": PROTOCOL_VERSION,
        "pixels": job.pixels.path.stem if job.pixels else None,
        "rows": hashlib.sha256(job.dataset.rows.tobytes()).hexdigest(),
        "backbone": backbone.name,
        "weights": job.weights.digest if job.weights else f"random {cell.seed}",
        "preprocessing": backbone.preprocessing,
        "pooling": "average",
        "image_size": job.image_size,
        "engine": job.engine,
        "precision": job.precision,
        "backend": job.backend,
        "device": device(),
        "versions": _environment(),
    }


def _environment() -> dict[str, str]:
    """Versions of what computes, and on what."""
    framework = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}.get(keras.backend.backend())
    versions = {name: importlib.metadata.version(name) for name in ("keras", framework, "numpy") if name}
    return versions | {"backend": keras.backend.backend(), "device": device()}
