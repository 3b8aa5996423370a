"""How much a frozen cell costs beyond its floor: decoding the images and one bare forward pass over them.

    python benchmarks/frozen_cell.py --dataset path/to/grocery

    python benchmarks/frozen_cell.py --dataset path/to/grocery --backbone starter --engine openvino

Both sides run in this process, interleaved, each from an empty cache, with the same engine; medians and ratios go to
benchmarks/frozen_cell.json. What is started once is on neither side and listed apart: building the network, making the
engine ready (which for Keras is nothing: what it compiles counts) and measuring its cost (latency, memory).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.dataset import Dataset, Listing
from backbench.core.events import CellFinished, CellStarted, Event, Progress, Summary
from backbench.core.files import write_json
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.data import decoding
from backbench.results import store
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, plan
from backbench.sweep.weights_prefetch import WeightsPrefetcher


def _silent(_text: str, _done: int, _total: int) -> None:
    return None


def _plan(request: Request) -> tuple[Listing, Dataset, list[Job]]:
    listing = plan.listing_for(request, progress=_silent)
    dataset, _ = plan.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    resolved = engine_choice.resolve(request, RunRecord(), dataset)
    jobs = list(plan.jobs_for(request, dataset, resolved=resolved, cache=cache_root()))
    backbones = [job.spec.backbone for job in jobs]
    if any(backbone.from_scratch for backbone in backbones):
        raise SystemExit("name pretrained backbones: scratch has no frozen part")
    supply = WeightsPrefetcher(backbones, cache=cache_root(), mirrors=True)
    return listing, dataset, [job.with_spec(weights=supply.get(job.spec.backbone)) for job in jobs]


def _cell(job: Job, listing: Listing, scratch: Path) -> dict[str, float]:
    """Decode, forward, probe and store as the sweep does; seconds of its parts, and of all that count."""
    from backbench.evaluation import job as jobs

    seconds: dict[str, float] = {}

    def take(event: Event) -> None:
        if isinstance(event, CellFinished):
            began = time.perf_counter()
            store.write_cell(scratch / "results", event)
            seconds["store"] = time.perf_counter() - began
        elif isinstance(event, Summary):
            seconds.update(event.seconds)
        elif not isinstance(event, Progress | CellStarted):
            raise RuntimeError(event)

    # Converted weights are no part of either side.
    shutil.copytree(job.resources.cache / "weights", scratch / "weights")
    began = time.perf_counter()
    decoded = plan.with_pixels(job.with_resources(cache=scratch), listing, progress=_silent)
    seconds["decode"] = time.perf_counter() - began
    jobs.run(decoded, take)
    total = time.perf_counter() - began
    apart = ("building", "engine", "timing", "memory")
    seconds["cell"] = total - sum(seconds[phase] for phase in apart)
    return seconds


def _floor(job: Job, listing: Listing, scratch: Path) -> dict[str, float]:
    """Decode the same images and run the bare network over them, keeping nothing."""
    from backbench.backbones import graph
    from backbench.features import frozen_model, frozen_pass

    began = time.perf_counter()
    found, _ = decoding.decode(listing, size=job.spec.image_size, resize=job.spec.resize, cache=scratch)
    decoded = time.perf_counter()
    images = found.open()
    rows = np.arange(len(images))
    with graph.computing_in("float32" if job.spec.engine == "openvino" else job.spec.precision):
        spec = job.spec
        base = graph.build(spec.backbone, image_size=spec.image_size, weights=spec.weights, cache=cache_root())
    frozen = frozen_model.frozen_up_to(spec, job.resources, base, [], seed=0)
    frozen.settle(frozen_pass.sample(images, rows))
    built = time.perf_counter()
    for _ in frozen.forward(frozen_pass.batches(images, rows)):
        pass
    return {"decode": decoded - began, "forward": time.perf_counter() - built}


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--limit", type=int, help="images per split")
    parser.add_argument("--engine", default="keras")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    request = Request(
        dataset=asked.dataset,
        backbones=asked.backbone,
        image_size=asked.image_size,
        limit=asked.limit,
        freeze="all",
        engine=asked.engine,
        precision=asked.precision,
    )
    listing, dataset, jobs = _plan(request)
    result: dict[str, Any] = {
        "what": f"{len(dataset.ids)} images of {dataset.name} at {asked.image_size} px",
        "device": hardware.cpu(),
        "engine": jobs[0].spec.engine,
        "precision": jobs[0].spec.precision,
        "repeats": asked.repeats,
        "backbones": {},
    }
    for job in jobs:
        cells, floors = [], []
        for _ in range(asked.repeats):
            for runs, measure in ((floors, _floor), (cells, _cell)):
                with tempfile.TemporaryDirectory() as scratch:
                    runs.append(measure(job, listing, Path(scratch)))
        cell, floor = _medians(cells), _medians(floors)
        ratio = round(cell["cell"] / (floor["decode"] + floor["forward"]), 3)
        result["backbones"][job.label] = {"floor_seconds": floor, "cell_seconds": cell, "cell_over_floor": ratio}
        print(job.label, json.dumps(result["backbones"][job.label], indent=1), flush=True)
    every = result["backbones"].values()
    floor_seconds = sum(sum(found["floor_seconds"].values()) for found in every)
    result["cells_over_floors"] = round(sum(found["cell_seconds"]["cell"] for found in every) / floor_seconds, 3)
    write_json(asked.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
