"""What an image costs before a network sees it: reading, decoding, resizing; and whether scaled decoding would pay.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --dataset path/to/photos

JPEG can be decoded at an eighth, a quarter or half of its size almost for free, which libjpeg-turbo does when Pillow
asks for a draft. The sweep asks for one of at least twice the wanted side; how far its pixels are from those of the
whole image stands beside the time saved. Without a dataset photos are generated, of Food-101's usual size (512 x 384)
and of a telephone's (4000 x 3000). Milliseconds an image in one thread, medians of rounds in turns, go to
benchmarks/decoding.json, with what all cores reach together.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backbench.core import hardware
from backbench.core.files import write_json
from backbench.core.request import Request
from backbench.data.decoding import load_square, to_rgb
from backbench.sweep import plan

SIZES = ((512, 384), (4000, 3000))


def _generated(count: int, width: int, height: int) -> list[bytes]:
    """Photos with waves and grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] * (512 / width)
    found = []
    for _ in range(count):
        waves = sum(
            rng.uniform(10, 60)
            * np.sin(rng.uniform(0.002, 0.05) * x + rng.uniform(0.002, 0.05) * y + rng.uniform(0, 6))
            for _ in range(6)
        )
        grain = rng.normal(0, 4, (height, width, 3))
        picture = 128 + waves[..., None] * rng.uniform(0.3, 1, 3) + grain
        stream = io.BytesIO()
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
        found.append(stream.getvalue())
    return found


def _whole(encoded: bytes, size: int) -> np.ndarray[Any, Any]:
    """The square as `load_square` makes it, but from all pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(to_rgb(image).resize((size, size), Image.Resampling.BILINEAR))


def _parts(files: list[Path], size: int) -> dict[str, Callable[[], Any]]:
    held = [path.read_bytes() for path in files]
    decoded = [to_rgb(Image.open(io.BytesIO(encoded))) for encoded in held]
    return {
        "read": lambda: [path.read_bytes() for path in files],
        "digest": lambda: [hashlib.sha256(encoded).hexdigest() for encoded in held],
        "decode": lambda: [to_rgb(Image.open(io.BytesIO(encoded))) for encoded in held],
        "resize": lambda: [image.resize((size, size), Image.Resampling.BILINEAR) for image in decoded],
        "decode_and_resize": lambda: [_whole(encoded, size) for encoded in held],
        "decode_scaled_and_resize": lambda: [load_square(encoded, size, "stretch") for encoded in held],
    }


def _measured(photos: list[bytes], size: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / f"{number}.jpg" for number in range(len(photos))]
        for path, encoded in zip(files, photos, strict=True):
            path.write_bytes(encoded)
        parts = _parts(files, size)
        taken: dict[str, list[float]] = {name: [] for name in [*parts, "all_cores"]}
        for _ in range(rounds):
            for name, run in parts.items():
                began = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - began)
            with ThreadPoolExecutor(hardware.cores()) as pool:
                began = time.perf_counter()
                list(pool.map(lambda encoded: load_square(encoded, size, "stretch"), photos))
                taken["all_cores"].append(time.perf_counter() - began)
    pairs = [(_whole(one, size), load_square(one, size, "stretch")) for one in photos]
    off = np.array([np.abs(full.astype(int) - scaled).mean() for full, scaled in pairs])
    milliseconds = {name: 1000 * statistics.median(each) / len(photos) for name, each in taken.items()}
    return {
        "images": len(photos),
        "kilobytes": statistics.median(map(len, photos)) / 1000,
        "milliseconds_an_image": milliseconds,
        "scaled_decoding_times_faster": milliseconds["decode_and_resize"] / milliseconds["decode_scaled_and_resize"],
        "scaled_decoding_is_off_by": {"mean": off.mean(), "of_the_worst_image": off.max()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="a folder of JPEG photos; without it some are generated")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    photos: dict[str, list[bytes]] = {}
    if asked.dataset:
        listing = plan.listing_for(Request(dataset=asked.dataset), progress=lambda *_: None)
        chosen = np.linspace(0, len(listing.ids) - 1, asked.images).astype(int)
        photos[listing.name] = [listing.images.encoded(int(index)) for index in chosen]
    else:
        for width, height in SIZES:
            fewer = max(8, asked.images * SIZES[0][0] ** 2 // width**2)
            photos[f"generated, {width} x {height}"] = _generated(fewer, width, height)
    result: dict[str, Any] = {
        "what": f"to {asked.image_size} px",
        "device": hardware.cpu(),
        "photos": {name: _measured(those, asked.image_size, asked.rounds) for name, those in photos.items()},
    }
    result = json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.4g}"))
    write_json(asked.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
