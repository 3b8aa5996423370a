"""How a sweep's time grows: with images, backbones, freeze depths and seeds.

    python benchmarks/growth.py

Whole sweeps of generated photos (coloured shapes on noise, so that a network has something to learn), each from an
empty cache, in turns; weights are fetched before. Beside the wall time stands the work: decoding and the phases of the
jobs, without start-up, building and cost measurement, which do not grow.

- images: 1,000, 4,000 and 16,000; how much longer for twice as many
- backbones: one and four; all in one sweep over the sum of one sweep each
- depths: `all` and `all` to `all-3`; all in one sweep over the sum of one sweep each
- seeds: one and five; what four more cost over their own training

Medians go to benchmarks/growth.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.files import write_json

CLASSES = 10
IMAGES = (1000, 4000, 16000)
BACKBONES = ("MobileNetV2:alpha=0.35", "MobileNet:alpha=0.25", "MobileNetV2", "MobileNet")
DEPTHS = ("all", "all-1", "all-2", "all-3")
SEEDS = (1, 5)


def generate(folder: Path, *, images: int, side: int, classes: int = CLASSES) -> None:
    """A folder of photos in as many classes, each a hue and a shape of its own among noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    for number in range(images):
        kind = number % classes
        x, y, radius = rng.uniform((0.3, 0.3, 0.1), (0.7, 0.7, 0.3))
        power = 1 + kind % 3  # a diamond, a disc, nearly a square
        inside = (np.abs(rows - y) ** power + np.abs(columns - x) ** power) < radius**power
        hue = 0.5 + 0.5 * np.cos(2 * np.pi * (kind / classes + np.array([0, 1 / 3, 2 / 3]) + rng.normal(0, 0.06)))
        noise = rng.uniform(0, 1, (side, side, 3))
        picture = 0.5 * noise + 0.5 * np.where(inside[..., None], hue, rng.uniform(0, 1, 3))
        path = folder / f"class {kind:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * picture).astype(np.uint8)).save(path, quality=85)


def sweep(dataset: Path, weights: Path, *, size: int, **options: Any) -> dict[str, Any]:
    """One sweep from an empty cache: wall seconds, those of the jobs' phases, and those of each cell's own training."""
    with tempfile.TemporaryDirectory() as scratch:
        cache, out = Path(scratch) / "cache", Path(scratch) / "results"
        shutil.copytree(weights, cache / "weights")
        command = [sys.executable, "-m", "backbench.sweep", "--dataset", str(dataset), "--out", str(out)]
        command += ["--image-size", str(size), "--engine", "keras", "--precision", "float32", "--keep-models", "none"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        environment = {**os.environ, "BACKBENCH_CACHE": str(cache), "TF_CPP_MIN_LOG_LEVEL": "2"}
        began = time.perf_counter()
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - began
        if ran.returncode:
            raise SystemExit(f"{' '.join(command[1:])}\nended with {ran.returncode}\n{ran.stdout}{ran.stderr}")
        record = json.loads((out / "run.json").read_text())
        table = pd.read_parquet(out / "table.parquet")
    phases: dict[str, float] = {"decode": sum(record["decode_seconds"].values())}
    for job in record["jobs"]:
        for phase, seconds in job["seconds"].items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    apart = ("building", "timing", "memory", "starting")  # the last is a part of the training, which has its own phase
    work = sum(spent for phase, spent in phases.items() if phase not in apart)
    return {"wall": wall, "work": work, "phases": phases, "fit_seconds": table["fit_seconds"].tolist()}


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Of the wall seconds and of the seconds of work, decoding included, building and cost measurement left out."""
    return {name: statistics.median(run[name] for run in runs) for name in ("wall", "work")}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--side", type=int, default=160, help="of the generated photos, in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    small = BACKBONES[0]
    asked_for: dict[str, dict[str, Any]] = {
        **{f"{count} images": {"images": count, "backbones": small, "freeze": "all"} for count in IMAGES},
        **{f"{name}": {"images": 1000, "backbones": name, "freeze": "all"} for name in BACKBONES},
        "four backbones": {"images": 1000, "backbones": ",".join(BACKBONES), "freeze": "all"},
        **{f"freeze {name}": {"images": 1000, "backbones": small, "freeze": name} for name in DEPTHS},
        "four depths": {"images": 1000, "backbones": small, "freeze": ",".join(DEPTHS)},
        **{
            f"{seeds} seeds": {"images": 1000, "backbones": small, "freeze": "all-1", "seeds": seeds} for seeds in SEEDS
        },
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in asked_for}
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights"
        subprocess.run([sys.executable, "-m", "backbench", "fetch", "--backbones", ",".join(BACKBONES)], check=True)
        shutil.copytree(cache_root() / "weights", weights)
        for count in IMAGES:
            generate(Path(scratch) / str(count), images=count, side=asked.side)
        for turn in range(asked.repeats):
            for name, options in asked_for.items():
                rest = {key: value for key, value in options.items() if key != "images"}
                runs[name].append(sweep(Path(scratch) / str(options["images"]), weights, size=asked.image_size, **rest))
                print(turn, name, {key: round(runs[name][-1][key], 2) for key in ("wall", "work")}, flush=True)
    found = {name: medians(those) for name, those in runs.items()}
    doubling = {
        f"{fewer} to {more}": {
            kind: (found[f"{more} images"][kind] / found[f"{fewer} images"][kind]) ** (np.log(2) / np.log(more / fewer))
            for kind in ("wall", "work")
        }
        for fewer, more in itertools.pairwise(IMAGES)
    }
    extra = [
        (many["work"] - one["work"]) / (sum(many["fit_seconds"]) - sum(one["fit_seconds"]))
        for one, many in zip(runs["1 seeds"], runs["5 seeds"], strict=True)
    ]
    result = {
        "what": f"generated photos of {asked.side} px in {CLASSES} classes at {asked.image_size} px, Keras in float32",
        "device": hardware.cpu(),
        "repeats": asked.repeats,
        "seconds": found,
        "twice_the_images": doubling,
        "four_backbones_over_one_each": {
            kind: found["four backbones"][kind] / sum(found[name][kind] for name in BACKBONES)
            for kind in ("wall", "work")
        },
        "four_depths_over_one_each": {
            kind: found["four depths"][kind] / sum(found[f"freeze {name}"][kind] for name in DEPTHS)
            for kind in ("wall", "work")
        },
        "four_more_seeds_over_their_training": statistics.median(extra),
    }
    result = json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.4g}"))
    write_json(asked.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
