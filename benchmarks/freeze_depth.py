"""Cached boundaries against the plain loop of Keras's transfer-learning guide, which calls the base in every epoch.

    python benchmarks/freeze_depth.py --dataset path/to/grocery
    python benchmarks/freeze_depth.py --dataset path/to/grocery --only-passes --out benchmarks/boundaries.json

Both sides train the same layers of the same network from the same start, for the same epochs, at the same highest
learning rate and batch size, with val scored after each; the cached side also warms up and decays. The plain loop for
`all` starts its head at random, as the guide does.
Three limits stand beside it: one bare forward pass against the pass that also keeps the boundaries of four depths,
taken in turns, and for each fine-tuned depth the bare training steps of a new tail on one batch. Whatever compiles is
new on both sides and counts. Everything runs in this process; the figures go to benchmarks/freeze_depth.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from backbench import activations, finetune, hardware, metrics, planning, tails
from backbench.backbones import graph
from backbench.cache import cache_root, write_json
from backbench.cells import plan
from backbench.clock import Clock
from backbench.engines import keras_engine
from backbench.inputs import FromKept
from backbench.network import Network, pass_through
from backbench.records import Job, Request
from backbench.supply import Supply


def _silent(*_: Any) -> None:
    return None


def _planned(dataset: str, backbone: str, size: int) -> Job:
    request = Request(dataset=dataset, backbones=backbone, image_size=size, freeze="all,all-1,all-2,all-3,all-4")
    listing = planning.listing_for(request, progress=_silent)
    found, _ = planning.dataset_for(request, listing, cache=cache_root(), progress=_silent)
    first = next(planning.jobs_for(request, found, resolved=planning.resolve(request, {}), cache=cache_root()))
    if first.backbone is None:
        raise SystemExit("name a pretrained backbone: scratch has no frozen part")
    weights = Supply([first.backbone], cache=cache_root(), mirrors=True).get(first.backbone)
    return planning.with_pixels(replace(first, weights=weights), listing, progress=_silent)


def _plain(asked: Job, network: Network, left: int, *, epochs: int, rate: float) -> dict[str, float]:
    """The guide's loop; `left` is the number of stages that are trained besides the head."""
    data, pixels = asked.dataset, asked.images()
    finetune.restore(network.base, network.state)
    inside = set()
    if left:
        boundary = network.boundaries[len(network.boundaries) + 1 - left]
        inside = {operation.name for operation in boundary.inside}
    for layer in network.base.layers:
        layer.trainable = bool(left) and layer.name not in inside
    images = keras.Input(pixels.shape[1:], dtype="uint8")
    prepared = graph.preprocess(network.backbone, keras.ops.cast(images, "float32"))
    maps = tails.InferenceMode(network.base)(prepared)
    features = keras.layers.GlobalAveragePooling2D()(maps)
    head = keras.layers.Dense(len(data.class_names))
    if left:
        standard = (features - network.start.mean) / network.start.deviation
        model = keras.Model(images, head(standard))
        head.set_weights([network.start.weights, network.start.bias])
    else:
        model = keras.Model(images, head(features))
    model.compile(
        keras.optimizers.AdamW(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=finetune.SMOOTHING),
        metrics=["accuracy"],
    )
    one_hot = np.eye(len(data.class_names), dtype=np.float32)
    split = {
        name: (pixels[data.rows[data.indices(name)]], one_hot[data.labels[data.indices(name)]])
        for name in ("train", "val")
    }
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    began = time.perf_counter()
    model.fit(*split["train"], validation_data=split["val"], epochs=epochs, batch_size=asked.batch_size, verbose=0)
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


def _cached(asked: Job, network: Network, left: int, *, epochs: int, rate: float) -> dict[str, float]:
    """The tail on kept activations, after the pass; and its bare training steps on one batch."""
    data = asked.dataset
    train, val, test = (data.indices(name) for name in ("train", "val", "test"))
    depth = len(network.boundaries) + 1 - left
    source = FromKept(network.kept[depth])
    finetune.restore(network.base, network.state)
    model = tails.tail(network.base, network.boundaries[depth], source.kept.scales, network.start, pretrained=True)
    began = time.perf_counter()
    finetune.train(
        model,
        source,
        data.labels,
        train=train,
        val=val,
        epochs=epochs,
        batch_size=asked.batch_size,
        rates=(rate,),
        seed=0,
    )
    seconds = time.perf_counter() - began
    accuracy = metrics.accuracy(finetune.predict(model, source, test), data.labels[test])
    batch = source.clean(train[: asked.batch_size])
    batch = batch if len(batch) > 1 else batch[0]
    truth = np.eye(len(data.class_names), dtype=np.float32)[data.labels[train[: asked.batch_size]]]
    steps = epochs * (len(train) // asked.batch_size)
    model = tails.tail(network.base, network.boundaries[depth], source.kept.scales, network.start, pretrained=True)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=finetune.WEIGHT_DECAY),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=finetune.SMOOTHING),
    )
    began = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(batch, truth)
    bare = time.perf_counter() - began
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return {
        "seconds": seconds,
        "bare_steps_seconds": bare,
        "over_bare": seconds / bare,
        "test_acc": accuracy,
        "trained_params": trained,
    }


def _bare_pass(asked: Job, network: Network) -> float:
    finetune.restore(network.base, network.state)
    model = graph.frozen_part(network.base, network.backbone)
    pixels, rows = asked.images(), asked.dataset.rows
    began = time.perf_counter()
    for _ in keras_engine.forward(model, activations.batches(pixels, rows)):
        pass
    return time.perf_counter() - began


def _passes(asked: Job, repeats: int) -> tuple[Network, dict[str, float]]:
    """The network after its pass that keeps four boundaries; medians of that pass, the probe and a bare pass."""
    taken: dict[str, list[float]] = {"with_four_boundaries": [], "probe": [], "bare": []}
    for _ in range(repeats):
        clock = Clock(_silent)
        network = pass_through(asked, asked.backbone, list(plan(asked)), clock)  # type: ignore[arg-type]
        taken["with_four_boundaries"].append(clock.spent("frozen pass"))
        taken["probe"].append(clock.spent("probe"))
        taken["bare"].append(_bare_pass(asked, network))
    return network, {name: statistics.median(seconds) for name, seconds in taken.items()}


def _depths(
    asked: Job, network: Network, passes: dict[str, float], *, frozen_epochs: int, epochs: int, rate: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The frozen cell and the two shallowest trained ones, each against its plain loop."""
    data = asked.dataset
    test = data.indices("test")
    frozen = passes["with_four_boundaries"] + passes["probe"]
    probe = network.path.head(network.features, test)
    plain = _plain(asked, network, 0, epochs=frozen_epochs, rate=1e-3)
    yield (
        "all",
        {
            "epochs": frozen_epochs,
            "plain": plain,
            "cell": {"seconds": frozen, "test_acc": metrics.accuracy(probe, data.labels[test])},
            "times_faster": plain["seconds"] / frozen,
        },
    )
    for left in (1, 2):
        cell = _cached(asked, network, left, epochs=epochs, rate=rate)
        plain = _plain(asked, network, left, epochs=epochs, rate=rate)
        yield (
            f"all-{left}",
            {
                "epochs": epochs,
                "rate": rate,
                "plain": plain,
                "cell": cell,
                "times_faster": plain["seconds"] / (frozen + cell["seconds"]),
                "times_faster_where_the_pass_is_shared": plain["seconds"] / cell["seconds"],
            },
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--frozen-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only-passes", action="store_true", help="leave the plain loops out: minutes, not half an hour"
    )
    parser.add_argument("--rate", type=float, default=finetune.RATES[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    finetune.PATIENCE, finetune.LEFT_ON_VAL = 1.0, -1  # both sides run all epochs
    planned = _planned(asked.dataset, asked.backbone, asked.image_size)
    network, passes = _passes(planned, asked.repeats)
    result: dict[str, Any] = {
        "what": f"{asked.backbone}, {len(planned.dataset.ids)} images of {planned.dataset.name}"
        f" at {asked.image_size} px, batch {planned.batch_size}",
        "device": hardware.cpu(),
        "repeats": asked.repeats,
        "pass_seconds": passes,
        "boundaries_over_bare_pass": passes["with_four_boundaries"] / passes["bare"],
    }
    print(json.dumps(result, indent=1), flush=True)
    if not asked.only_passes:
        chosen = {"frozen_epochs": asked.frozen_epochs, "epochs": asked.epochs, "rate": asked.rate}
        result["depths"] = {}
        for depth, found in _depths(planned, network, passes, **chosen):
            result["depths"][depth] = found
            print(depth, json.dumps(found, indent=1), flush=True)
    write_json(asked.out, json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4)))


if __name__ == "__main__":
    main()
