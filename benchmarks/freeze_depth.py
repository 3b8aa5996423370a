"""Cached boundaries against the plain loop of Keras's transfer-learning guide, which calls the base in every epoch.

    python benchmarks/freeze_depth.py --dataset path/to/grocery
    python benchmarks/freeze_depth.py --dataset path/to/grocery --depths none --epochs 2
    python benchmarks/freeze_depth.py --dataset path/to/grocery --only-passes --out benchmarks/boundaries.json

Both sides train the same layers of the same network from the same start, for the same epochs, at the same highest
learning rate and batch size, with val scored after each; the cached side also warms up and decays. The plain loop for
`all` starts its head at random, as the guide does.
The plain loop is Keras in float32; the cached side is measured in that, and in what `auto` chooses for this dataset on
this machine where that is something else, conversion and its check included.
The frozen cell has a pass that keeps nothing; the sums have the one that keeps what `all-1` and `all-2` read. Limits
stand beside it: one bare forward pass against passes that keep two and four boundaries, taken in turns, and for each
fine-tuned depth the bare training steps of a new tail on one batch. Whatever compiles is new on both sides and counts.
Everything runs in this process; the figures go to benchmarks/freeze_depth.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from backbench.analysis import metrics
from backbench.backbones import graph
from backbench.core import hardware, recipe
from backbench.core.cache import cache_root
from backbench.core.cells import planned_cells
from backbench.core.events import Phase
from backbench.core.files import write_json
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.core.timing import Clock
from backbench.evaluation import fine_tuning, trainable_part
from backbench.evaluation.batches import Batches, PixelBatches, StoredActivationBatches
from backbench.evaluation.shared_pass import SharedPass, shared_pass
from backbench.features import frozen_pass
from backbench.features.engines import keras_engine
from backbench.results.run_record import RunRecord
from backbench.sweep import engine_choice, plan
from backbench.sweep.weights_prefetch import WeightsPrefetcher


def _silent(*_: Any) -> None:
    return None


WITH_KERAS, AS_CHOSEN = "keras float32", "auto"
DEPTHS = ("all", "all-1", "all-2", "all-3", "all-4")
PASSES = {"alone": 1, "with_two_boundaries": 3, "with_four_boundaries": 5}  # by how many of the depths are planned


def _planned(dataset: str, backbone: str, size: int) -> dict[str, Job]:
    """The job with Keras in float32, and as `auto` has it."""
    request = Request(dataset=dataset, backbones=backbone, image_size=size, freeze=",".join(DEPTHS))
    listing = plan.listing_for(request, progress=_silent)
    found, _ = plan.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    chosen = engine_choice.resolve(request, RunRecord(), found)
    first = next(plan.jobs_for(request, found, resolved=chosen, cache=cache_root()))
    if first.spec.backbone.from_scratch:
        raise SystemExit("name a pretrained backbone: scratch has no frozen part")
    weights = WeightsPrefetcher([first.spec.backbone], cache=cache_root(), mirrors=True).get(first.spec.backbone)
    job = plan.with_pixels(first.with_spec(weights=weights), listing, progress=_silent)
    with_keras = job.with_spec(engine="keras", precision="float32")
    return {WITH_KERAS: with_keras} if job == with_keras else {WITH_KERAS: with_keras, AS_CHOSEN: job}


def _plain(asked: Job, network: SharedPass, left: int, *, epochs: int, rate: float) -> dict[str, float]:
    """The guide's loop; `left` is the number of stages that are trained besides the head."""
    data, pixels = asked.spec.dataset, asked.resources.images()
    network.restore()
    inside = set()
    if left in range(1, len(network.frozen.boundaries) + 1):
        boundary = network.frozen.boundaries[len(network.frozen.boundaries) + 1 - left]
        inside = {operation.name for operation in boundary.inside}
    for layer in network.base.layers:
        layer.trainable = bool(left) and layer.name not in inside
    images = keras.Input(pixels.shape[1:], dtype="uint8")
    prepared = graph.preprocess(network.spec.backbone, keras.ops.cast(images, "float32"))
    maps = trainable_part.InferenceMode(network.base)(prepared)
    features = keras.layers.GlobalAveragePooling2D()(maps)
    head = keras.layers.Dense(len(data.class_names))
    if left:
        standard = (features - network.head.mean) / network.head.deviation
        model = keras.Model(images, head(standard))
        head.set_weights([network.head.weights, network.head.bias])
    else:
        model = keras.Model(images, head(features))
    model.compile(
        keras.optimizers.AdamW(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
        metrics=["accuracy"],
    )
    one_hot = np.eye(len(data.class_names), dtype=np.float32)
    split = {
        name: (pixels[data.rows[data.indices(name)]], one_hot[data.labels[data.indices(name)]])
        for name in ("train", "val")
    }
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    began = time.perf_counter()
    model.fit(*split["train"], validation_data=split["val"], epochs=epochs, batch_size=asked.spec.batch_size, verbose=0)
    seconds = time.perf_counter() - began
    test = data.indices("test")
    logits = model.predict(pixels[data.rows[test]], batch_size=32, verbose=0)
    for layer in network.base.layers:  # the whole model's own flag was never off, so setting it would change nothing
        layer.trainable = True
    return {
        "seconds": seconds,
        "test_acc": float(np.mean(logits.argmax(axis=1) == data.labels[test])),
        "trained_params": trained,
    }


def _trained(asked: Job, network: SharedPass, depth: int) -> tuple[keras.Model, Batches]:
    """A new tail after so many frozen stages, and what it reads: kept activations, or pixels where none is frozen."""
    network.restore()
    if depth == 0:
        data = asked.spec.dataset
        source: Batches = PixelBatches(asked.resources.images(), data.rows, augment=False, flips=False)
        model = trainable_part.trainable_model(network.base, network.spec.backbone, network.head, pretrained=True)
        return model, source
    kept = network.frozen.stores[depth]
    boundary = network.frozen.boundaries[depth]
    return trainable_part.trainable_tail(
        network.base, boundary, kept.scales, network.head, pretrained=True
    ), StoredActivationBatches(kept)


def _cached(asked: Job, network: SharedPass, left: int, *, epochs: int, rate: float) -> dict[str, float]:
    """The tail on kept activations, after the pass; and its bare training steps on one batch."""
    data = asked.spec.dataset
    train, val, test = (data.indices(name) for name in ("train", "val", "test"))
    depth = len(network.frozen.boundaries) + 1 - left
    with graph.computing_in(network.precision):
        model, source = _trained(asked, network, depth)
    began = time.perf_counter()
    chosen = fine_tuning.TrainingPlan(epochs, asked.spec.batch_size, (rate,), seed=0)
    fine_tuning.train(model, source, data.labels, train=train, val=val, plan=chosen)
    seconds = time.perf_counter() - began
    found = {
        "seconds": seconds,
        "test_acc": metrics.accuracy(fine_tuning.predict(model, source, test), data.labels[test]),
        "trained_params": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
    }
    if depth == 0:  # nothing is shared there, so the plain loop is itself the limit
        return found
    batch = source.clean(train[: asked.spec.batch_size])
    batch = batch if len(batch) > 1 else batch[0]
    truth = np.eye(len(data.class_names), dtype=np.float32)[data.labels[train[: asked.spec.batch_size]]]
    steps = epochs * (len(train) // asked.spec.batch_size)
    with graph.computing_in(network.precision):
        model, _ = _trained(asked, network, depth)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=recipe.WEIGHT_DECAY),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
    )
    began = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(batch, truth)
    bare = time.perf_counter() - began
    return {**found, "bare_steps_seconds": bare, "over_bare": seconds / bare}


def _bare_pass(asked: Job, network: SharedPass) -> float:
    network.restore()
    model = graph.frozen_part(network.base, network.spec.backbone)
    pixels, rows = asked.resources.images(), asked.spec.dataset.rows
    began = time.perf_counter()
    for _ in keras_engine.forward(model, frozen_pass.batches(pixels, rows)):
        pass
    return time.perf_counter() - began


def _passes(
    jobs: dict[str, Job], repeats: int, *, scratch: Path
) -> tuple[dict[str, SharedPass], dict[str, dict[str, float]]]:
    """The networks after passes that keep four boundaries; medians of all passes, of conversion and of the probe."""
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in jobs}
    networks: dict[str, SharedPass] = {}
    for turn in range(repeats):
        for way, asked in jobs.items():
            spent = {}
            for kind, count in PASSES.items():
                clock = Clock(_silent)
                cache = scratch / f"{way} {turn} {kind}"  # nothing converted is left from an earlier pass
                cache.mkdir()
                (cache / "weights").symlink_to(asked.resources.cache / "weights")
                spec, resources = replace(asked.spec, freeze=DEPTHS[:count]), replace(asked.resources, cache=cache)
                with graph.computing_in(spec.precision):
                    networks[way] = shared_pass(spec, resources, planned_cells(spec), clock)
                spent[kind] = clock.spent(Phase.FROZEN_PASS)
            spent |= {"engine": clock.spent(Phase.ENGINE), "probe": clock.spent(Phase.PROBE, Phase.SCORES)}
            if way == WITH_KERAS:
                spent["bare"] = _bare_pass(asked, networks[way])
            for name, seconds in spent.items():
                taken[way].setdefault(name, []).append(seconds)
    return networks, {
        way: {name: statistics.median(seconds) for name, seconds in each.items()} for way, each in taken.items()
    }


def _depths(
    jobs: dict[str, Job],
    networks: dict[str, SharedPass],
    passes: dict[str, dict[str, float]],
    *,
    depths: list[str],
    frozen_epochs: int,
    epochs: int,
    rate: float,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The frozen cell, the two shallowest trained ones and `none`, each against its plain loop."""
    with_keras, network = jobs[WITH_KERAS], networks[WITH_KERAS]
    data = with_keras.spec.dataset
    test = data.indices("test")
    alone, frozen = (
        {way: each[kind] + each["engine"] + each["probe"] for way, each in passes.items()}
        for kind in ("alone", "with_two_boundaries")
    )
    if "all" in depths:
        plain = _plain(with_keras, network, 0, epochs=frozen_epochs, rate=1e-3)
        cells: dict[str, dict[str, float]] = {}
        for way, each in networks.items():
            accuracy = metrics.accuracy(each.probe.head(each.features, test), data.labels[test])
            cells[way] = {"seconds": alone[way], "test_acc": accuracy, "times_faster": plain["seconds"] / alone[way]}
        yield "all", {"epochs": frozen_epochs, "plain": plain, "cells": cells}
    for depth, left in (("all-1", 1), ("all-2", 2), ("none", len(network.frozen.boundaries) + 1)):
        if depth not in depths:
            continue
        plain = _plain(with_keras, network, left, epochs=epochs, rate=rate)
        cells = {}
        for way, asked in jobs.items():
            cells[way] = _cached(asked, networks[way], left, epochs=epochs, rate=rate)
            cells[way]["times_faster"] = plain["seconds"] / (frozen[way] + cells[way]["seconds"])
            cells[way]["times_faster_where_the_pass_is_shared"] = plain["seconds"] / cells[way]["seconds"]
        yield depth, {"epochs": epochs, "rate": rate, "plain": plain, "cells": cells}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--frozen-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--depths", default="all,all-1,all-2,none", help="others stay as the file has them")
    parser.add_argument("--only-passes", action="store_true", help="leave the plain loops out: minutes, not an hour")
    parser.add_argument("--rate", type=float, default=recipe.LEARNING_RATES[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    jobs = _planned(asked.dataset, asked.backbone, asked.image_size)
    planned = jobs[WITH_KERAS]
    with tempfile.TemporaryDirectory() as scratch:
        networks, passes = _passes(jobs, asked.repeats, scratch=Path(scratch))
        keras_pass = passes[WITH_KERAS]
        reports = {way: network.frozen.model.ran for way, network in networks.items()}
        result: dict[str, Any] = {
            "what": f"{asked.backbone}, {len(planned.spec.dataset.ids)} images of {planned.spec.dataset.name}"
            f" at {asked.image_size} px, batch {planned.spec.batch_size}",
            "device": hardware.cpu(),
            "repeats": asked.repeats,
            "ran_in": {way: f"{ran.engine} {ran.precision}" for way, ran in reports.items()},
            "trained_in": {way: network.precision for way, network in networks.items()},
            "pass_seconds": passes,
            "boundaries_over_bare_pass": keras_pass["with_four_boundaries"] / keras_pass["bare"],
        }
        print(json.dumps(result, indent=1), flush=True)
        if asked.only_passes:
            _write(asked.out, result)
            return
        depths = asked.depths.split(",")
        if "all" not in depths and asked.out.is_file():
            result = {**json.loads(asked.out.read_text()), "measured_apart": depths}
        chosen = {"frozen_epochs": asked.frozen_epochs, "epochs": asked.epochs, "rate": asked.rate}
        for depth, found in _depths(jobs, networks, passes, depths=depths, **chosen):
            result.setdefault("depths", {})[depth] = found
            print(depth, json.dumps(found, indent=1), flush=True)
            _write(asked.out, result)


def _write(path: Path, result: dict[str, Any]) -> None:
    write_json(path, json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4)))


if __name__ == "__main__":
    main()
