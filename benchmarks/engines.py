"""The engines of the frozen part against each other: images a second of each backbone, and what a conversion costs.

    python benchmarks/engines.py --dataset path/to/grocery
    python benchmarks/engines.py --dataset path/to/grocery --backbones VGG16 --image-size 224

Features alone, of decoded images, on the same sample: every engine makes its model ready, runs once unmeasured, and
then they take turns. Medians of all rounds, their ratios to Keras in float32 and the geometric mean of these go to
benchmarks/engines.json, with what the engine's own checks found.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from gpu import matrix_flops

from backbench.backbones import graph, parse_backbones
from backbench.backbones.flops import flops
from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.files import write_json
from backbench.core.request import Request
from backbench.features.engines import engine_for
from backbench.features.frozen_pass import FrozenModel, batches, sample
from backbench.sweep import plan
from backbench.sweep.weights_prefetch import WeightsPrefetcher

ENGINES = (("keras", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))

# Of the square matrices whose product shows what the processor can do at best.
SIDE = 2048


def _silent(*_: Any) -> None:
    return None


def _backbone(name: str, pixels: Any, rows: Any, *, size: int, rounds: int, best: dict[str, float]) -> dict[str, Any]:
    (backbone,) = parse_backbones(name)
    weights = WeightsPrefetcher([backbone], cache=cache_root(), mirrors=True).get(backbone)
    base = graph.build(backbone, image_size=size, weights=weights, cache=cache_root())
    found: dict[str, Any] = {}
    frozen = {}
    for engine, precision in ENGINES:
        part = FrozenModel(graph.frozen_part(base, backbone), engine=engine_for(engine, precision=precision))
        began = time.perf_counter()
        part.settle(sample(pixels, rows))
        next(part.forward(batches(pixels, rows)))
        called = f"{engine} {precision}"
        found[called] = {"seconds_until_ready": time.perf_counter() - began}
        if part.ran.engine != engine:
            found[called]["unfit"] = part.ran.reason
            continue
        found[called] |= {"ran_in": part.ran.precision, **part.ran.checks}
        frozen[called] = part
    taken: dict[str, list[float]] = {called: [] for called in frozen}
    for _ in range(rounds):
        for called, part in frozen.items():
            began = time.perf_counter()
            for _ in part.forward(batches(pixels, rows)):
                pass
            taken[called].append(time.perf_counter() - began)
    for called, seconds in taken.items():
        found[called]["images_per_second"] = len(rows) / statistics.median(seconds)
        done = found[called]["images_per_second"] * flops(base)
        found[called]["share_of_matrix_product"] = done / best[found[called]["ran_in"]]
        found[called]["over_keras"] = statistics.median(taken["keras float32"]) / statistics.median(seconds)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbones", default="starter")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    request = Request(dataset=asked.dataset, backbones=asked.backbones, image_size=asked.image_size)
    listing = plan.listing_for(request, progress=_silent)
    dataset, decoded = plan.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    rows = dataset.rows[np.linspace(0, len(dataset.rows) - 1, asked.images).astype(int)]
    best = {precision: matrix_flops(precision, SIDE) for precision in ("float32", "bfloat16")}
    result: dict[str, Any] = {
        "what": f"{asked.images} images of {dataset.name} at {asked.image_size} px",
        "device": hardware.cpu(),
        "rounds": asked.rounds,
        "matrix_gflops": {precision: rate / 1e9 for precision, rate in best.items()},
        "backbones": {},
    }
    for backbone in parse_backbones(asked.backbones):
        if backbone:
            options = {"size": asked.image_size, "rounds": asked.rounds, "best": best}
            found = _backbone(backbone.name, decoded.open(), rows, **options)
            result["backbones"][backbone.name] = found
            print(backbone.name, json.dumps(found, indent=1), flush=True)
    result["geometric_means_over_keras"] = {
        f"{engine} {precision}": statistics.geometric_mean(
            found[f"{engine} {precision}"].get("over_keras", 1.0) for found in result["backbones"].values()
        )
        for engine, precision in ENGINES
    }
    print(json.dumps(result["geometric_means_over_keras"], indent=1))
    write_json(asked.out, json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.4g}")))


if __name__ == "__main__":
    main()
