"""Which score chooses best on a small val? Resampled on real features, without touching any test set.

    python benchmarks/selection.py --dataset path/to/grocery --image-size 160

Half of train (stratified by nothing but chance, seed fixed) trains a probe per backbone and strength; those are the
candidates. The other half is the population: from it many vals are drawn, each score chooses a candidate on each, and
what the choice has lost is the accuracy of the best candidate on the images not drawn, less that of the chosen one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from numpy.typing import NDArray

from backbench.analysis import metrics
from backbench.core.cache import cache_root
from backbench.core.cells import planned_cells
from backbench.core.files import write_json
from backbench.core.request import Request
from backbench.core.timing import Clock
from backbench.evaluation.linear_probe import fit_path
from backbench.evaluation.shared_pass import shared_pass
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, plan
from backbench.sweep.weights_prefetch import WeightsPrefetcher

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


def _accuracy_first(found: Floats, labels: Labels) -> float:
    """Accuracy, ties broken by the log-likelihood."""
    loss = metrics.nll(found, labels)
    return metrics.accuracy(found, labels) - loss / (1 + loss) / (2 * len(labels))


SCORES: dict[str, Callable[[Floats, Labels], float]] = {
    "accuracy, ties by log-likelihood": _accuracy_first,
    "log-likelihood": lambda found, labels: -metrics.nll(found, labels),
    "log-likelihood after one temperature": metrics.selection_score,
}


def _silent(*_: Any) -> None:
    return None


def _candidates(asked: argparse.Namespace) -> tuple[list[str], list[Floats], Labels]:
    """Names of the candidates, their probabilities [n, C] on the population, and its labels."""
    request = Request(dataset=asked.dataset, backbones=asked.backbones, image_size=asked.image_size, freeze="all")
    listing = plan.listing_for(request, progress=_silent)
    dataset, _ = plan.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    halves = np.random.default_rng(0).permutation(dataset.indices("train"))
    train, population = np.sort(halves[: len(halves) // 2]), np.sort(halves[len(halves) // 2 :])
    names, found = [], []
    resolved = engine_choice.resolve(request, RunRecord())
    for planned in plan.jobs_for(request, dataset, resolved=resolved, cache=cache_root()):
        backbone = planned.spec.backbone
        if backbone.from_scratch:
            continue
        weights = WeightsPrefetcher([backbone], cache=cache_root(), mirrors=True).get(backbone)
        ready = plan.with_pixels(planned.with_spec(weights=weights), listing, progress=_silent)
        network = shared_pass(ready.spec, ready.resources, planned_cells(ready.spec), Clock(_silent))
        path = fit_path(network.features, dataset.labels, train=train, val=population, classes=len(dataset.class_names))
        for step, head in zip(path.steps, path.heads, strict=True):
            names.append(f"{planned.label} at strength {step.strength:.0e}")
            found.append(head(network.features, population))
    return names, found, dataset.labels[population]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbones", default="starter")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    names, found, labels = _candidates(asked)
    rng = np.random.default_rng(1)
    table = []
    for size in asked.sizes:
        lost: dict[str, list[float]] = {name: [] for name in SCORES}
        for _ in range(asked.draws):
            drawn = rng.permutation(len(labels))
            val, rest = drawn[:size], drawn[size:]
            true = np.array([metrics.accuracy(probabilities[rest], labels[rest]) for probabilities in found])
            for name, score in SCORES.items():
                chosen = int(np.argmax([score(probabilities[val], labels[val]) for probabilities in found]))
                lost[name].append(float(true.max() - true[chosen]))
        table.append(
            {"val": size, "points_lost": {name: round(100 * np.mean(values), 3) for name, values in lost.items()}}
        )
        print(json.dumps(table[-1]), flush=True)
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    what = f"{Path(asked.dataset).name} at {asked.image_size} px"
    kept[what] = {"population": len(labels), "candidates": len(names), "draws": asked.draws, "by_size_of_val": table}
    write_json(asked.out, kept)


if __name__ == "__main__":
    main()
