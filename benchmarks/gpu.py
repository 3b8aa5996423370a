"""The frozen pass on a GPU: images a second, share of the card's best, seconds until it runs; beside timm where it is.

    KERAS_BACKEND=jax python benchmarks/gpu.py
    KERAS_BACKEND=torch python benchmarks/gpu.py --backbones ResNet50,VGG16 --batches 64,256

It needs neither a dataset nor weights (a network at random is as quick as any) nor TensorFlow. Each backbone runs
through the same engine as in a sweep: raw uint8 images from the host in, features back, at several batch sizes in
turns; `on_device` runs the same batch again and again without the way there and back. The best is what the same
framework reaches in products of two square matrices, measured here. timm runs the same architecture with torch.compile
and channels_last in a process of its own. Without a GPU everything runs on the processor, which shows that it works.
The figures go to benchmarks/gpu.json, by device and backend.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Else JAX takes most of the card's memory at once, and timm in its own process finds none.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np

BACKBONES = ("MobileNetV2", "ResNet50", "VGG16", "Xception", "EfficientNetB0", "DenseNet121", "ConvNeXtTiny")
TIMM = {
    "MobileNetV2": "mobilenetv2_100",
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "legacy_xception",
    "InceptionV3": "inception_v3",
    "EfficientNetB0": "efficientnet_b0",
    "DenseNet121": "densenet121",
    "ConvNeXtTiny": "convnext_tiny",
}
ROUNDS = 3


def _seconds(run: Callable[[], Any], rounds: int = ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _images(count: int, side: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def _all(model: Any, batches: list[Any]) -> None:
    from backbench.features.engines import keras_engine

    for _ in keras_engine.forward(model, batches):
        pass


def matrix_flops(precision: str, side: int) -> float:
    """Operations a second in a product of two square matrices, the best of several."""
    import keras

    ones = keras.ops.ones((side, side), dtype=precision)

    def product(times: int) -> None:
        found = ones
        for _ in range(times):
            found = keras.ops.matmul(found, ones) * (1 / side)
        float(keras.ops.convert_to_numpy(keras.ops.cast(found[0, 0], "float32")))

    product(2)
    return max(10 * 2 * side**3 / _seconds(lambda: product(10), 1) for _ in range(ROUNDS))


def keras_backbone(name: str, *, precision: str, batches: list[int], seconds: float) -> dict[str, Any]:
    """Images a second of one backbone through the engine, by batch size."""
    import keras

    from backbench.backbones import graph, parse_backbones
    from backbench.backbones.flops import flops
    from backbench.features.engines import keras_engine

    (backbone,) = parse_backbones(name)
    side = backbone.native_size
    model = graph.features_model(backbone, image_size=side, weights=None, cache=Path())
    found: dict[str, Any] = {"image_size": side, "flops_an_image": flops(model), "batches": {}}
    if precision == "bfloat16":
        model = keras_engine.in_bfloat16(model)
    for size in batches:
        images = _images(size, side)
        began = time.perf_counter()
        next(keras_engine.forward(model, [images]))
        first = time.perf_counter() - began
        once = _seconds(partial(_all, model, [images]))
        count = max(4, int(seconds / once))
        stream = _seconds(partial(_all, model, [images] * count))
        there = keras.ops.convert_to_tensor(images)
        submit = keras_engine.submitting(model)

        def again(submit: Any = submit, there: Any = there, count: int = count) -> None:
            outputs = [submit(there) for _ in range(count)]
            keras.ops.convert_to_numpy(outputs[-1])

        again()
        found["batches"][str(size)] = {
            "seconds_until_ready": first - once,
            "images_per_second": size * count / stream,
            "on_device": size * count / _seconds(again),
        }
    return found


def timm_backbone(name: str, *, side: int, precision: str, batches: list[int], seconds: float) -> dict[str, Any]:
    """The same architecture through timm, compiled, channels last; images a second with and without the way there."""
    import timm
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = timm.create_model(TIMM[name], pretrained=False, num_classes=0).eval().to(device)
    model = torch.compile(plain.to(memory_format=torch.channels_last))
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    found: dict[str, Any] = {}

    def forward(images: Any) -> Any:
        given = images.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)
        with torch.inference_mode(), torch.autocast(device, kind, enabled=kind != torch.float32):
            return model(given.contiguous(memory_format=torch.channels_last))

    def stream(images: Any, count: int) -> None:
        waiting = forward(images)
        for _ in range(count - 1):  # the next batch is on its way before the last one is read
            coming = forward(images)
            waiting.float().cpu()
            waiting = coming
        waiting.float().cpu()

    for size in batches:
        host = torch.from_numpy(_images(size, side))
        host = host.pin_memory() if device == "cuda" else host
        began = time.perf_counter()
        forward(host).float().cpu()
        first = time.perf_counter() - began
        once = _seconds(partial(stream, host, 1))
        count = max(4, int(seconds / once))
        found[str(size)] = {
            "seconds_until_ready": first - once,
            "images_per_second": size * count / _seconds(partial(stream, host, count)),
            "on_device": size * count / _seconds(partial(stream, host.to(device), count)),
        }
    return {"name": TIMM[name], "batches": found}


def _in_own_process(asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one-of-timm", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--batches", default="32,128,512")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, about")
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices that show the card's best")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one-of-timm", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one_of_timm:
        print(json.dumps(timm_backbone(**json.loads(asked.one_of_timm))))
        return
    import keras

    from backbench.core.files import write_json
    from backbench.features.device import device

    name, backend = device(), keras.backend.backend()
    batches = [int(size) for size in asked.batches.split(",")]
    options = {"precision": asked.precision, "batches": batches, "seconds": asked.seconds}
    best = matrix_flops(asked.precision, asked.matrix)
    result: dict[str, Any] = {
        "precision": asked.precision,
        "keras": keras.__version__,
        "matrix_tflops": best / 1e12,
        "backbones": {},
    }
    with_timm = all(importlib.util.find_spec(needed) for needed in ("timm", "torch"))
    for backbone in asked.backbones.split(","):
        found = keras_backbone(backbone, **options)
        quickest = max(each["on_device"] for each in found["batches"].values())
        found["share_of_matrix_product"] = quickest * found["flops_an_image"] / best
        if with_timm and backbone in TIMM:
            found["timm"] = _in_own_process({"name": backbone, "side": found["image_size"], **options})
        result["backbones"][backbone] = found
        print(backbone, json.dumps(found), flush=True)
        known = json.loads(asked.out.read_text()) if asked.out.exists() else {}  # what has been measured is kept
        known[f"{name}, {backend}"] = json.loads(
            json.dumps(result), parse_float=lambda text: float(f"{float(text):.4g}")
        )
        write_json(asked.out, known)


if __name__ == "__main__":
    main()
