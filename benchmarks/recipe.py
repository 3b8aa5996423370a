"""How well trained cells do, over several seeds: this recipe beside the one before it.

    backbench sweep --dataset path/to/grocery --backbones MobileNetV2 --freeze all-1 --seeds 5 --image-size 160 \
        --engine keras --precision float32 --out now/mobilenet
    python benchmarks/recipe.py --now now/* --before before/*

Reads the tables of finished sweeps; `before` are folders of the same sweeps by an earlier protocol, measured with the
version that had it, on the same machine. Means and standard deviations over the seeds go to benchmarks/recipe.json.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from backbench.core import hardware
from backbench.core.files import write_json
from backbench.results import store

CELL = ["dataset", "backbone", "weights", "freeze", "image_size"]


def seeds_of(folders: Sequence[Path]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By dataset, backbone, weights, freeze depth and image size: what the trained cells came to, seed by seed."""
    found = {}
    for folder in folders:
        table = store.read_table(folder)
        protocol = store.read_run(folder).protocol_version
        trained = table[(table["status"] == "ok") & ((table["freeze"] != "all") | (table["weights"] == "none"))]
        for key, rows in trained.sort_values("seed").groupby(CELL, sort=False):
            found[tuple(key)] = {"protocol": protocol, **_summary(rows), "epochs": _epochs(folder, rows)}
    return found


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    accuracies = [round(float(accuracy), 4) for accuracy in rows["test_acc"]]
    return {
        "test_acc": accuracies,
        "mean": round(statistics.fmean(accuracies), 4),
        "deviation": round(statistics.stdev(accuracies), 4) if len(accuracies) > 1 else None,
        "test_ece": round(float(rows["test_ece"].mean()), 4),
    }


def _epochs(folder: Path, rows: pd.DataFrame) -> list[int]:
    """Epochs that were trained over all learning rates, a seed at a time."""
    traces = [store.read_cell(folder, cell_id).trace["training"] for cell_id in rows["cell_id"]]
    return [sum(len(trial["curve"]) for trial in trace["trials"]) for trace in traces]


def main() -> None:
    """Put both recipes side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--now", type=Path, nargs="+", required=True)
    parser.add_argument("--before", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    now, before = seeds_of(asked.now), seeds_of(asked.before)
    cells = [{**dict(zip(CELL, key, strict=True)), "now": each, "before": before.get(key)} for key, each in now.items()]
    write_json(asked.out, {"device": hardware.cpu(), "cells": cells})
    for cell in cells:
        old = cell["before"]
        print(cell["backbone"], cell["freeze"], cell["now"]["mean"], cell["now"]["deviation"], old and old["mean"])


if __name__ == "__main__":
    main()
