"""Does training in bfloat16 pay on this machine? Steps of each backbone's last stage, in both precisions.

    python benchmarks/precision.py

Batches of random activations at the boundary before the last stage; the two precisions take turns, and medians of all
steps and their ratio go to benchmarks/precision.json. Weights are random: they take the same time.
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

import keras
import numpy as np

from backbench.backbones import graph, parse_backbones, stages
from backbench.core import hardware, recipe
from backbench.core.backbone import Backbone
from backbench.core.files import write_json
from backbench.evaluation import trainable_part

PRECISIONS = ("float32", "bfloat16")
CLASSES = 34


def _steps(backbone: Backbone, precision: str, *, size: int, batch: int) -> Any:
    """A function that makes one training step of the last stage."""
    graph.plain_keras(precision)
    base = graph.build(backbone, image_size=size, weights=None, cache=Path())
    (boundary,) = stages.boundaries(base, [backbone.stages[-2].stride])
    start = trainable_part.start_at_random(int(base.output_shape[-1]), CLASSES, seed=0)
    model = trainable_part.trainable_tail(base, boundary, [1.0] * len(boundary.tensors), start, pretrained=True)
    model.compile(
        keras.optimizers.AdamW(recipe.LEARNING_RATES[0], weight_decay=recipe.WEIGHT_DECAY),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
    )
    rng = np.random.default_rng(0)
    inputs = [rng.random((batch, *tensor.shape[1:])).astype(np.float16) for tensor in boundary.tensors]
    truth = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch)]
    return lambda: model.train_on_batch(inputs if len(inputs) > 1 else inputs[0], truth)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", default="MobileNetV2,MobileNet,VGG16,Xception,ResNet50")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for backbone in parse_backbones(asked.backbones):
        if backbone is None:
            raise SystemExit("name pretrained backbones: scratch has no stages")
        step = {p: _steps(backbone, p, size=asked.image_size, batch=asked.batch_size) for p in PRECISIONS}
        taken: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for precision in PRECISIONS:
            step[precision]()  # compiles
        for _ in range(asked.rounds):
            for precision in PRECISIONS:
                began = time.perf_counter()
                step[precision]()
                taken[precision].append(time.perf_counter() - began)
        float32, bfloat16 = (1000 * statistics.median(taken[precision]) for precision in PRECISIONS)
        found[backbone.name] = {
            "float32_ms": round(float32, 1),
            "bfloat16_ms": round(bfloat16, 1),
            "times_faster_in_bfloat16": round(float32 / bfloat16, 2),
        }
        print(backbone.name, found[backbone.name], flush=True)
    what = f"training steps of the last stage at {asked.image_size} px, batch {asked.batch_size}"
    result = {
        "what": what,
        "device": hardware.cpu(),
        "backend": keras.backend.backend(),
        "rounds": asked.rounds,
        "steps": found,
    }
    write_json(asked.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
