"""A dataset of Food-101's size: memory, disk and time of a sweep, and the probe at full width.

    python benchmarks/large.py

Food-101 has 101,000 images in 101 classes, 75,750 of them for training. Generated photos stand in for them, which
changes nothing of what is measured here:

- a sweep of as many small photos (frozen MobileNetV2:alpha=0.35 at --image-size), with the largest resident memory of
  all its processes together, the part of it that is not mapped from files, and the size of cache and results
- the linear probe of 75,750 x 2048 generated features, hard to tell apart, with 7,575 more for val: its seconds and
  memory, and what share it is beside one forward pass of ResNet50 (2048 features, 224 px) at the speed measured here

The figures go to benchmarks/large.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from growth import generate

from backbench.core import hardware
from backbench.core.cache import cache_root
from backbench.core.files import write_json

IMAGES, TRAIN, VAL, CLASSES, WIDTH = 101_000, 75_750, 7_575, 101, 2048
BACKBONE = "MobileNetV2:alpha=0.35"
PASSES = 8  # batches of the forward pass


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def _memory(pid: int) -> tuple[float, float]:
    """Resident megabytes of a process family: all of it, and without pages of mapped files."""
    resident = private = 0.0
    for member in _family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        sizes = {
            name: float(rest.split()[0]) / 1024
            for name, _, rest in (line.partition(":") for line in lines)
            if name.startswith("Rss") or name == "VmRSS"
        }
        resident += sizes.get("VmRSS", 0.0)
        private += sizes.get("RssAnon", 0.0)
    return resident, private


@contextmanager
def watched(pid: int) -> Iterator[dict[str, float]]:
    """The largest memory of a process family while the block runs."""
    peaks = {"resident_mb": 0.0, "not_mapped_mb": 0.0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            resident, private = _memory(pid)
            peaks["resident_mb"] = max(peaks["resident_mb"], resident)
            peaks["not_mapped_mb"] = max(peaks["not_mapped_mb"], private)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def swept(scratch: Path, *, size: int) -> dict[str, Any]:
    """A whole sweep of generated photos, and what it took."""
    photos, cache, out = scratch / "photos", scratch / "cache", scratch / "results"
    generate(photos, images=IMAGES, side=64, classes=CLASSES)
    fetch = [sys.executable, "-m", "backbench", "fetch", "--backbones", BACKBONE]
    subprocess.run(fetch, check=True)
    shutil.copytree(cache_root() / "weights", cache / "weights")
    command = [sys.executable, "-m", "backbench.sweep", "--dataset", str(photos), "--out", str(out), "--freeze", "all"]
    command += ["--backbones", BACKBONE, "--image-size", str(size)]
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "BACKBENCH_CACHE": str(cache)})
    with watched(process.pid) as peaks:
        code = process.wait()
    wall = time.perf_counter() - began
    if code:
        raise SystemExit(f"{' '.join(command[1:])} ended with {code}")
    record = json.loads((out / "run.json").read_text())
    return {
        "images": IMAGES,
        "image_size": size,
        "wall_seconds": wall,
        "decode_seconds": sum(record["decode_seconds"].values()),
        "phase_seconds": record["jobs"][0]["seconds"],
        **peaks,
        "cache_mb": {
            part.name: _size(part) for part in sorted(cache.iterdir()) if part.is_dir() and part.name != "weights"
        },
        "results_mb": _size(out),
        "page_mb": (out / "leaderboard.html").stat().st_size / 1e6,
    }


def _features(path: Path, labels: np.ndarray[Any, Any]) -> None:
    """Non-negative and correlated like those of a network; a few hundred directions tell the classes apart, barely."""
    rng = np.random.default_rng(0)
    directions = 400
    mixing = rng.standard_normal((directions, WIDTH)) * np.arange(1, directions + 1)[:, None] ** -0.6
    means = 0.2 * rng.standard_normal((CLASSES, directions))
    found = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(labels), WIDTH))
    for start in range(0, len(labels), 4096):
        of = labels[start : start + 4096]
        hidden = means[of] + rng.standard_normal((len(of), directions))
        found[start : start + 4096] = 0.3 * np.maximum(hidden @ mixing + 0.7 * rng.standard_normal((len(of), WIDTH)), 0)
    found.flush()


def _probe(path: Path, labels: np.ndarray[Any, Any], answer: Any) -> None:
    """In a process of its own, so that its memory is its own."""
    from backbench.evaluation.linear_probe import fit_path

    features = np.load(path, mmap_mode="r")
    began = time.perf_counter()
    with watched(os.getpid()) as peaks:
        fitted = fit_path(
            features,
            labels,
            train=np.arange(TRAIN),
            val=np.arange(TRAIN, TRAIN + VAL),
            classes=CLASSES,
            scratch=path.parent,
        )
    answer.send(
        {
            "seconds": time.perf_counter() - began,
            **peaks,
            "iterations": sum(step.iterations for step in fitted.steps),
            "converged": all(step.converged for step in fitted.steps),
            "val_acc": fitted.steps[fitted.chosen].val_acc,
        }
    )


def _forward_seconds_an_image() -> dict[str, float]:
    """Of ResNet50 at 224 px through Keras; random weights are as quick as any."""
    from backbench.backbones import graph, parse_backbones
    from backbench.features.frozen_pass import FrozenModel, batches

    (backbone,) = parse_backbones("ResNet50")
    frozen = FrozenModel(graph.features_model(backbone, image_size=224, weights=None, cache=cache_root()))
    images = np.random.default_rng(0).integers(0, 256, (32 * PASSES, 224, 224, 3), dtype=np.uint8)
    next(frozen.forward(batches(images, np.arange(32))))
    began = time.perf_counter()
    for _ in frozen.forward(batches(images, np.arange(len(images)))):
        pass
    return {"keras float32": (time.perf_counter() - began) / len(images)}


def probed(scratch: Path) -> dict[str, Any]:
    """The probe of features as wide and as many as ResNet50's of Food-101."""
    labels = np.random.default_rng(1).permutation(np.arange(TRAIN + VAL) % CLASSES)
    path = scratch / "features.npy"
    _features(path, labels)
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_probe, args=(path, labels, sending))
    process.start()
    sending.close()
    found: dict[str, Any] = {"rows": TRAIN, "width": WIDTH, "classes": CLASSES, **receiving.recv()}
    process.join()
    path.unlink()
    seconds = {name: each * IMAGES for name, each in _forward_seconds_an_image().items()}
    found["forward_pass_seconds"] = seconds
    found["share_of_pass_and_probe"] = {
        name: found["seconds"] / (found["seconds"] + spent) for name, spent in seconds.items()
    }
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    result: dict[str, Any] = {"device": hardware.cpu()}
    with tempfile.TemporaryDirectory() as scratch:
        result["probe"] = probed(Path(scratch))
        print(json.dumps(result, indent=1), flush=True)
        result["sweep"] = swept(Path(scratch), size=asked.image_size)
    result = json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.4g}"))
    write_json(asked.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
