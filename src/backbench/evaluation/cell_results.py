"""From class probabilities to a finished cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.analysis import metrics
from backbench.core.cells import Cell, PlannedCell, Status, empty_row
from backbench.core.dataset import SPLITS
from backbench.core.events import CellFinished
from backbench.core.job import Effort, JobSpec, MeasureCells
from backbench.evaluation.fine_tuning import predict
from backbench.evaluation.linear_probe import Head
from backbench.evaluation.lr_selection import DivergedError
from backbench.evaluation.trainable_part import TrainablePart
from backbench.features.device import device


def finished(
    spec: JobSpec,
    cell: PlannedCell,
    found: Mapping[str, NDArray[np.float32]],
    *,
    row: Mapping[str, Any],
    trace: Mapping[str, Any],
    reason: str = "",
    head: Head | None = None,
    model: Path | None = None,
) -> CellFinished:
    """The cell with its metrics, from class probabilities {split: [n, C]} before the temperature, which is fitted here.

    Raises FloatingPointError for NaN.
    """
    data = spec.dataset
    if not all(np.isfinite(probabilities).all() for probabilities in found.values()):
        raise FloatingPointError("the predictions hold NaN or infinite values")
    truth = {name: data.labels[data.indices(name)] for name in SPLITS}
    score, temperature = (
        measure(found["val"], truth["val"]) for measure in (metrics.selection_score, metrics.temperature)
    )
    found = {name: metrics.tempered(probabilities, temperature) for name, probabilities in found.items()}
    train_acc, val_acc, test_acc = (metrics.accuracy(found[name], truth[name]) for name in SPLITS)
    low, high = metrics.wilson_interval(test_acc, len(truth["test"]))
    measured = {
        "train_acc": train_acc,
        "val_acc": val_acc,
        "test_acc": test_acc,
        "gap": train_acc - test_acc,
        "val_nll": metrics.nll(found["val"], truth["val"]),
        "selection_score": score,
        "test_acc_lo": low,
        "test_acc_hi": high,
        "test_top5": metrics.top_k_accuracy(found["test"], truth["test"]),
        "test_macro_f1": metrics.macro_f1(found["test"], truth["test"]),
        "test_nll": metrics.nll(found["test"], truth["test"]),
        "test_ece": metrics.ece(found["test"], truth["test"]),
        "temperature": temperature,
        "device": device(),
    }
    predictions: dict[str, NDArray[Any]] = {}
    for name in ("val", "test"):
        predictions[f"{name}_ids"] = np.array([data.ids[i] for i in data.indices(name)])
        predictions[f"{name}_labels"] = truth[name]
        predictions[f"{name}_probs"] = found[name]
    return CellFinished(
        Cell(
            cell_id=cell.cell_id,
            status=Status.OK,
            reason=reason,
            identity=cell.identity,
            row=empty_row(spec, cell).replace(**{**row, **measured, "status": Status.OK}),
            trace=dict(trace),
        ),
        predictions,
        {} if head is None else {"weights": head.weights, "bias": head.bias},
        model,
    )


def tried(
    spec: JobSpec, cell: PlannedCell, items: NDArray[np.float64], *, effort: Effort, seconds: float
) -> CellFinished:
    """The cell that was only tried: a value of each image, higher is better, and the seconds that it took.

    Its reason is for the search to give, which knows what the others came to.
    """
    if not np.isfinite(items).all():
        raise FloatingPointError("the trial's predictions hold NaN or infinite values")
    trial = {**effort.record(), "seconds": seconds, "items": np.round(items, 4).tolist()}
    row = empty_row(spec, cell).replace(status=Status.PRUNED)
    return CellFinished(Cell(cell.cell_id, Status.PRUNED, "", cell.identity, row, {"trial": trial}))


def tried_training(
    task: MeasureCells, cell: PlannedCell, part: TrainablePart, *, batch: int, seconds: float
) -> CellFinished:
    """What a network that was trained for a few epochs makes of val: the tempered log-probability of each class."""
    val = task.spec.dataset.indices("val")
    probabilities = predict(part.model, part.batches, val, batch=batch)
    items = metrics.tempered_logs(probabilities, task.spec.dataset.labels[val])
    return tried(task.spec, cell, items, effort=task.schedule, seconds=seconds)


def failed(spec: JobSpec, cell: PlannedCell, error: Exception) -> CellFinished:
    """The cell that could not be measured, though others of its job can."""
    trace = {"diverged": [trial.trace() for trial in error.trials]} if isinstance(error, DivergedError) else {}
    reason = f"{type(error).__name__}: {error}"
    row = empty_row(spec, cell).replace(status=Status.FAILED)
    return CellFinished(Cell(cell.cell_id, Status.FAILED, reason, cell.identity, row, trace))
