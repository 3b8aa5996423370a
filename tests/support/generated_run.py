"""A large results folder as a sweep leaves it, made from a seed in a second: for what must stay quick at full size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis import metrics
from backbench.backbones import APPLICATIONS
from backbench.core.backbone import Backbone
from backbench.core.columns import COLUMN_NAMES, COLUMNS
from backbench.results import store
from backbench.results.run_record import parse

FREEZES = ("all", "all-1", "all-2", "all-3", "none")
CLASSES = (
    "apple", "avocado", "banana", "kiwi", "lemon", "lime", "mango", "melon", "nectarine", "orange", "papaya", "peach",
    "pear", "pineapple", "plum", "pomegranate", "aubergine", "cabbage", "carrot", "ginger", "leek", "pepper", "potato",
    "tomato",
)  # fmt: skip


def write(
    directory: Path,
    *,
    backbones: Sequence[Backbone] = APPLICATIONS,
    freezes: Sequence[str] = FREEZES,
    seeds: int = 3,
    classes: Sequence[str] = CLASSES,
    items: int = 480,
) -> pd.DataFrame:
    """Cells, predictions, table and run.json; the last backbone fails at its last depth. Returns the table."""
    rng = np.random.default_rng(7)
    labels = np.arange(items) % len(classes)
    hardness = rng.gamma(2.0, 0.5, len(classes))[labels] + rng.normal(0, 0.8, items)
    (directory / "cells").mkdir(parents=True)
    (directory / "predictions").mkdir()
    rows = []
    for backbone in backbones:
        skill = 3.2 * (backbone.imagenet_top1 or 0.7) + rng.normal(0, 0.25)
        latency = 2.0 + backbone.params / 4e5 * rng.uniform(0.6, 1.6)
        for depth, freeze in enumerate(freezes):
            gain = 0.35 * depth - 0.12 * depth**2 + rng.normal(0, 0.1)
            for seed in range(seeds):
                logits = _logits(skill + gain - hardness, labels, classes=len(classes), rng=rng)
                row, trace, arrays = _cell(logits, labels, rng=rng, trained=depth > 0)
                row |= {
                    "dataset": "market", "backbone": backbone.name, "family": backbone.family, "weights": "imagenet",
                    "weights_source": "cache", "image_size": backbone.native_size, "freeze": freeze, "seed": seed,
                    "freeze_depth": max(5 - depth, 0), "stages": 5, "params": backbone.params,
                    "frozen_params_pct": (100.0, 64.0, 31.0, 12.0, 0.0)[min(depth, 4)],
                    "trainable_params": 5000, "flops": int(backbone.params * rng.uniform(40, 260)),
                    "latency_ms": latency, "throughput_ips": 2500 / latency, "peak_mem_mb": 600 + latency,
                    "fit_seconds": 4.0 * (1 + depth), "wall_seconds": 9.0 * (1 + depth), "engine": "keras",
                    "precision": "float32", "backend": "tensorflow", "device": "test", "status": "ok", "reason": "",
                    "cell_id": f"{backbone.name}-{freeze}-{seed}".replace(":", "-"),
                }  # fmt: skip
                if backbone is backbones[-1] and freeze == freezes[-1] and len(freezes) > 1:
                    row |= dict.fromkeys(name for name in row if name.endswith(("_acc", "_score", "_lo", "_hi")))
                    row |= {"status": "failed", "reason": "MemoryError: 12 GiB asked, 9 GiB free"}
                _write_cell(directory, row, trace, arrays)
                rows.append(row)
    frame = pd.DataFrame(rows, columns=list(COLUMN_NAMES)).astype({column.name: column.dtype for column in COLUMNS})
    store.write_table(directory, frame)
    store.write_run(directory, parse(_run(classes, items)))
    return frame


def _logits(
    margin: NDArray[np.float64], labels: NDArray[np.int64], *, classes: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    logits = rng.normal(0, 1.0, (len(labels), classes))
    # The class next door is the usual mistake.
    logits[np.arange(len(labels)), (labels + 1) % classes] += 1.2
    logits[np.arange(len(labels)), labels] += 2.2 + 1.6 * margin
    return logits * rng.uniform(0.7, 1.8)


def _cell(
    logits: NDArray[np.float64], labels: NDArray[np.int64], *, rng: np.random.Generator, trained: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype("float32")
    val = np.arange(len(labels)) % 7 < 2  # seven and the number of classes have nothing in common
    test = ~val
    accuracy = metrics.accuracy(probabilities[test], labels[test])
    low, high = metrics.wilson_interval(accuracy, int(test.sum()))
    train = accuracy + (1 - accuracy) * rng.uniform(0.2, 0.95)
    score = metrics.selection_score(probabilities[val], labels[val])
    row = dict.fromkeys(COLUMN_NAMES) | {
        "train_acc": train, "val_acc": metrics.accuracy(probabilities[val], labels[val]), "test_acc": accuracy,
        "gap": train - accuracy, "val_nll": metrics.nll(probabilities[val], labels[val]), "selection_score": score,
        "test_acc_lo": low, "test_acc_hi": high, "test_macro_f1": accuracy - 0.01,
        "test_top5": metrics.top_k_accuracy(probabilities[test], labels[test]),
        "test_nll": metrics.nll(probabilities[test], labels[test]),
        "test_ece": metrics.ece(probabilities[test], labels[test]),
    }  # fmt: skip
    arrays = {
        "val_ids": np.array([f"{i}.jpg" for i in np.flatnonzero(val)]), "val_labels": labels[val],
        "val_probs": probabilities[val], "test_ids": np.array([f"{i}.jpg" for i in np.flatnonzero(test)]),
        "test_labels": labels[test], "test_probs": probabilities[test],
    }  # fmt: skip
    return row, training(row["val_acc"], score, epochs=10) if trained else {"probe": {}}, arrays


def training(val_acc: float, score: float, *, epochs: int) -> dict[str, Any]:
    """What a fine-tuned cell keeps of its training: three learning rates, of which the second one fell behind."""

    def curve(until: int, reach: float) -> list[dict[str, Any]]:
        return [
            {
                "epoch": epoch,
                "loss": 0.5 + 1.5 / epoch,
                "val_acc": val_acc * (1 - 0.3 * (1 - reach * epoch / epochs) ** 2),
                "val_nll": 1 - score,
                "score": score * (1 - 0.4 * (1 - reach * epoch / epochs) ** 2),
            }
            for epoch in range(1, until + 1)
        ]

    trials = [
        {"rate": 1e-4, "curve": curve(epochs, 1.0), "ended": "all epochs"},
        {"rate": 1e-3, "curve": curve(2, 0.5), "ended": "behind"},
        {"rate": 1e-5, "curve": curve(4, 0.7), "ended": "behind"},
    ]
    start = {"epoch": 0, "loss": None, "val_acc": 0.65 * val_acc, "val_nll": 1.0, "score": 0.55 * score}
    return {
        "training": {"start": start, "trials": trials, "chosen": 0, "best_epoch": epochs},
        "probe_score": 0.6 * score,
    }


def _write_cell(directory: Path, row: dict[str, Any], trace: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    content = {"schema": 1, "cell_id": row["cell_id"], "status": row["status"], "reason": row["reason"]}
    content |= {"identity": {}, "row": row, "trace": trace}
    (directory / "cells" / f"{row['cell_id']}.json").write_text(json.dumps(content), encoding="utf-8")
    if row["status"] == "ok":
        np.savez(directory / "predictions" / f"{row['cell_id']}.npz", **arrays)


def _run(classes: Sequence[str], items: int) -> dict[str, Any]:
    val = int((np.arange(items) % 7 < 2).sum())
    counts = {"train": 4 * items, "val": val, "test": items - val}
    per_class = {name: {split: number // len(classes) for split, number in counts.items()} for name in classes}
    return {
        "command": "backbench sweep --dataset market --backbones all --freeze every --seeds 3",
        "dataset": {
            "name": "market",
            "classes": list(classes),
            "counts": counts,
            "health": {"per_class": per_class},
        },
        "finished": "2026-02-03T04:05:06+00:00",
    }
