"""Learning rates and lengths of schedules, each run to its end: what val says of them, and what test does.

    python benchmarks/schedules.py --dataset path/to/grocery --image-size 160 --backbones MobileNetV2 --freeze all-1

Every cell is trained at each rate for each number of epochs, from the same start and with the same batches, and its
last weights are judged. What a rule for choosing among them would have chosen follows from what stands in
`schedules.json`, to which each run adds its cells. The recipe was chosen on val; test is for the table at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from backbench.analysis import metrics
from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.cells import planned_cells
from backbench.core.files import write_json
from backbench.core.request import Request
from backbench.core.timing import Clock
from backbench.evaluation import fine_tuning
from backbench.evaluation.shared_pass import shared_pass
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, plan
from backbench.sweep.weights_prefetch import WeightsPrefetcher


def _silent(*_: Any) -> None:
    return None


def races(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """One entry per cell: its linear probe on val, and each schedule."""
    request = Request(
        dataset=asked.dataset, backbones=asked.backbones, freeze=asked.freeze, seeds=asked.seeds,
        image_size=asked.image_size, engine="keras", precision="float32",
    )  # fmt: skip
    listing = plan.listing_for(request, progress=_silent)
    dataset, _ = plan.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    resolved, found = engine_choice.resolve(request, RunRecord()), []
    for planned in plan.jobs_for(request, dataset, resolved=resolved, cache=cache_root()):
        weights = WeightsPrefetcher([planned.spec.backbone], cache=cache_root(), mirrors=True).get(
            planned.spec.backbone
        )
        ready = plan.with_pixels(planned.with_spec(weights=weights), listing, progress=_silent)
        cells = [cell for cell in planned_cells(ready.spec) if not cell.fully_frozen and not cell.impossible]
        network = shared_pass(ready.spec, ready.resources, cells, Clock(_silent))
        probe = network.probe.steps[network.probe.chosen]
        for cell in cells:
            schedules = [
                _schedule(network, cell, rate=rate, epochs=epochs) for rate in asked.rates for epochs in asked.epochs
            ]
            entry = {
                "dataset": dataset.name, "backbone": ready.label, "image_size": ready.spec.image_size,
                "freeze": cell.freeze, "seed": cell.seed,
                "probe": {"val_acc": probe.val_acc, "val_score": probe.score}, "schedules": schedules,
            }  # fmt: skip
            found.append(entry)
            print(entry["backbone"], entry["freeze"], entry["seed"], entry["probe"])
            for each in schedules:
                print("  ", {name: round(value, 5) for name, value in each.items()}, flush=True)
    return found


def _schedule(network: Any, cell: Any, *, rate: float, epochs: int) -> dict[str, float]:
    data, began = network.spec.dataset, time.perf_counter()
    keras.utils.set_random_seed(cell.seed)
    part = network.trainable(cell)
    train, val, test = (data.indices(name) for name in ("train", "val", "test"))
    plan_ = fine_tuning.TrainingPlan(epochs, network.spec.batch_size, (rate,), cell.seed)
    try:
        trained = fine_tuning.train(part.model, part.batches, data.labels, train=train, val=val, plan=plan_)
        on_test = fine_tuning.predict(part.model, part.batches, test)
    except FloatingPointError:
        return {"rate": rate, "epochs": epochs, "val_acc": 0.0, "val_score": 0.0, "test_acc": 0.0, "seconds": 0.0}
    finally:
        network.restore()
    return {
        "rate": rate,
        "epochs": epochs,
        "train_loss": trained.last.loss or 0.0,
        "val_acc": trained.last.val_acc,
        "val_score": trained.last.score,
        "test_acc": metrics.accuracy(on_test, data.labels[test]),
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Add the asked races to the stored ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbones", required=True)
    parser.add_argument("--freeze", default="all-1")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-4])
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    cells = races(asked)
    stored = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {"cells": []}
    named = ("dataset", "backbone", "image_size", "freeze", "seed")
    new = {tuple(cell[name] for name in named) for cell in cells}
    kept = [cell for cell in stored["cells"] if tuple(cell[name] for name in named) not in new]
    write_json(asked.out, {"device": hardware.cpu(), "cells": kept + cells})


if __name__ == "__main__":
    main()
