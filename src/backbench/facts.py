"""From class probabilities to a finished cell, and what it was computed on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import hardware, metrics, trained_weights
from backbench.backbones import stages
from backbench.cells import Plan, empty_row
from backbench.clock import Clock
from backbench.events import Finished, Note
from backbench.probe import Head
from backbench.race import DivergedError
from backbench.records import SPLITS, Cell, Job, Trial


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


def finished(
    job: Job,
    cell: Plan,
    found: Mapping[str, NDArray[np.float32]],
    *,
    row: Mapping[str, Any],
    trace: Mapping[str, Any],
    reason: str = "",
    head: Head | None = None,
    model: Path | None = None,
) -> Finished:
    """The cell with its metrics, from class probabilities {split: [n, C]}. Raises FloatingPointError for NaN."""
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
            reason=reason,
            identity=cell.identity,
            row=empty_row(job, cell) | dict(row) | measured | {"status": "ok"},
            trace=dict(trace),
        ),
        predictions,
        {} if head is None else {"weights": head.weights, "bias": head.bias},
        model,
    )


def tried(job: Job, cell: Plan, items: NDArray[np.float64], *, seconds: float) -> Finished:
    """The cell that was only tried: a value of each image, higher is better, and the seconds of the trial.

    Its reason is for the search to give, which knows what the others came to.
    """
    if not np.isfinite(items).all():
        raise FloatingPointError("the trial's predictions hold NaN or infinite values")
    trial = {**asdict(job.trial or Trial()), "seconds": seconds, "items": np.round(items, 4).tolist()}
    row = empty_row(job, cell) | {"status": "pruned"}
    return Finished(Cell(cell.cell_id, "pruned", "", cell.identity, row, {"trial": trial}))


def failed(job: Job, cell: Plan, error: Exception) -> Finished:
    """The cell that could not be measured, though others of its job can."""
    trace = {"diverged": [trial.trace() for trial in error.trials]} if isinstance(error, DivergedError) else {}
    reason = f"{type(error).__name__}: {error}"
    row = empty_row(job, cell) | {"status": "failed"}
    return Finished(Cell(cell.cell_id, "failed", reason, cell.identity, row, trace))


def keep(
    job: Job,
    cell: Plan,
    network: keras.Model,
    clock: Clock,
    *,
    after: stages.Boundary | None = None,
    head: Head | None = None,
) -> Path | None:
    """Trained weights in a file of their own; a disk that is full costs the weights, not the cell."""
    if job.drafts is None:
        return None
    draft = job.drafts / f".{cell.cell_id}.npz"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        trained_weights.save(draft, network, after=after, head=head)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        why = error.strerror or error
        clock.emit(Note(f"{job.label} @ {cell.freeze}: its trained weights could not be kept for export ({why})"))
        return None
    return draft
