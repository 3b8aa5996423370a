"""From a request to a dataset and to jobs; nothing is computed or written here but the cache."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench import datasets, hardware, pixels, splits
from backbench.backbones import keras_cache, parse_backbones
from backbench.backbones.stage_table import stages_of
from backbench.cells import parse_freeze
from backbench.errors import RequestError, UnavailableError
from backbench.options import pretrained_of
from backbench.records import Dataset, Job, Listing, Pixels, Request

BACKENDS = ("tensorflow", "jax", "torch")

# Operations that a network must have to do on all images before it pays to convert it, which takes some seconds.
WORTH_CONVERTING = 5e11

# Most epochs of gradient training: of pretrained networks, which start at the probe, and of what starts at random.
EPOCHS, EPOCHS_FROM_SCRATCH = 10, 25

# What the hand-made CNN takes where neither the user nor the dataset names a size.
SCRATCH_SIZE = 128

Progress = Callable[[str, int, int], None]


def listing_for(request: Request, *, progress: Progress) -> Listing:
    """The items that the sweep will use, with their splits. Raises RequestError for data that cannot be used."""
    found = datasets.open_listing(
        request.dataset,
        image_column=request.image_column,
        label_column=request.label_column,
        progress=lambda done, total: progress("reading images", done, total),
    )
    split = splits.make_splits(
        found.labels, found.published, found.digests, found.class_names, min_per_class=request.min_per_class
    )
    keep = np.arange(len(found.ids))
    if request.limit is not None:
        keep = splits.limit_per_split(found.labels, split, found.digests, request.limit)
    return datasets.select(found, keep, split)


def dataset_for(request: Request, listing: Listing, *, cache: Path, progress: Progress) -> tuple[Dataset, Pixels]:
    """The usable items, and their pixels at the size that is needed first: decoding shows what can be used."""
    size = _image_size(request, listing.image_size, _first_native_size(request))
    found, failures = pixels.decode(
        listing,
        size=size,
        resize=request.resize,
        cache=cache,
        progress=lambda done, total: progress(f"decoding at {size} px", done, total),
    )
    dataset = datasets.with_copies(
        datasets.assemble(listing, failures),
        listing,
        found,
        progress=lambda done, total: progress("looking for copies", done, total),
    )
    return dataset, found


def jobs_for(request: Request, dataset: Dataset, *, resolved: dict[str, str], cache: Path) -> Iterator[Job]:
    """One job per backbone and kind of weights, in the order asked for; weights and pixels are not there yet."""
    for backbone in parse_backbones(request.backbones):
        native = backbone.native_size if backbone else SCRATCH_SIZE
        for pretrained in pretrained_of(request) if backbone else (False,):
            yield Job(
                backbone=backbone,
                pretrained=pretrained,
                dataset=dataset,
                image_size=_image_size(request, dataset.image_size, native),
                resize=request.resize,
                freeze=parse_freeze(request.freeze),
                seeds=request.seeds,
                epochs=request.epochs or (EPOCHS if pretrained else EPOCHS_FROM_SCRATCH),
                batch_size=request.batch_size,
                augment=request.augment,
                views=request.views,
                keep_bytes=int(request.keep_gb * 1e9),
                engine=resolved["engine"],
                precision=resolved["precision"],
                backend=resolved["backend"],
                cache=cache,
            )


def resolve(request: Request, earlier: dict[str, Any], dataset: Dataset | None = None) -> dict[str, str]:
    """Engine, precision, backend and what is kept, in place of `auto`, as an earlier run of the same folder had them.

    A first run with `auto` is computed in bfloat16 by OpenVINO where the CPU can and the `dataset` is large enough:
    either alone gains little. On a GPU that has bfloat16 Keras computes in it. Raises RequestError for an engine or a
    backend that is not installed.
    """
    kept = earlier.get("resolved", {})
    backend = _backend()
    engine, precision = request.engine, request.precision
    if engine == "auto":
        engine = kept.get("engine", "")
    if precision == "auto":
        precision = kept.get("precision", "")
    if not engine:
        quick = precision in ("", "bfloat16") and dataset is not None and _openvino_pays(request, dataset, backend)
        engine = "openvino" if quick else "keras"
    if not precision:
        half = hardware.has_bfloat16() if engine == "openvino" else dataset is not None and _gpu_rounds(backend)
        precision = "bfloat16" if half else "float32"
    if request.engine == "openvino":
        _require_openvino(backend, "--engine openvino", "use --engine keras")
    elif engine == "openvino" and dataset is not None:  # after the comparison with what the folder holds
        _require_openvino(backend, "this folder's engine, OpenVINO,", "choose another folder with --out")
    return {
        "engine": engine,
        "precision": precision,
        "backend": backend,
        "keep_models": request.keep_models or kept.get("keep_models", "best"),
    }


def _openvino_pays(request: Request, dataset: Dataset, backend: str) -> bool:
    """Whether converting the backbones takes less time than OpenVINO saves; without bfloat16 it saves too little."""
    there = backend == "tensorflow" and importlib.util.find_spec("openvino") is not None
    if not there or not hardware.has_bfloat16() or hardware.gpu():
        return False
    backbones = [backbone for backbone in parse_backbones(request.backbones) if backbone]
    work = 0.0
    for backbone in backbones:
        shrunk = _image_size(request, dataset.image_size, backbone.native_size) / backbone.native_size
        work += len(dataset.ids) * shrunk**2 * sum(stage.flops for stage in stages_of(backbone.name))
    return work >= WORTH_CONVERTING * max(1, len(backbones))


def _gpu_rounds(backend: str) -> bool:
    """Whether the backend computes on a GPU that has bfloat16: a driver that answers does not say that it does."""
    return hardware.gpu_has_bfloat16() and hardware.used_by(backend) not in (None, hardware.cpu())


def _require_openvino(backend: str, what: str, instead: str) -> None:
    if importlib.util.find_spec("openvino") is None:
        raise RequestError(f"{what} is not installed: pip install 'backbench[openvino]', or {instead}")
    if backend != "tensorflow":
        raise RequestError(f"{what} reads networks from TensorFlow, not from {backend}: {instead}")


def with_pixels(job: Job, listing: Listing, *, progress: Progress, may_go_on: Callable[[], bool] | None = None) -> Job:
    """The job with its images decoded at its size; with `may_go_on` in the background, as `pixels.decode` does it.

    Raises UnavailableError when images that could be decoded before cannot be any more.
    """
    found, failures = pixels.decode(
        listing,
        size=job.image_size,
        resize=job.resize,
        cache=job.cache,
        progress=lambda done, total: progress(f"decoding at {job.image_size} px", done, total),
        may_go_on=may_go_on,
    )
    lost = sorted(set(failures) & set(job.dataset.rows.tolist()))
    if lost:
        raise UnavailableError(
            f"{len(lost)} images could not be decoded at {job.image_size} px, the first is"
            f" {listing.ids[lost[0]]} ({failures[lost[0]]}): see whether the dataset changed, then run again"
        )
    return replace(job, pixels=found)


def screened(job: Job, listing: Listing, *, images: int) -> tuple[Job, Listing]:
    """The job on so many images of train alone, evenly over the classes, and the listing that has no others.

    Its cells keep their identity, which is that of the whole dataset.
    """
    data = job.dataset
    train = data.indices("train")
    by_class = train[np.argsort(data.labels[train], kind="stable")]
    chosen = np.sort(by_class[np.linspace(0, len(by_class) - 1, min(images, len(by_class))).astype(int)])
    few = replace(
        data,
        ids=tuple(data.ids[item] for item in chosen),
        labels=data.labels[chosen],
        split=data.split[chosen],
        rows=np.arange(len(chosen)),
        copies={},
    )
    return replace(job, dataset=few), datasets.select(listing, data.rows[chosen], listing.published)


def pixels_of(dataset: Dataset, found: Pixels, items: Iterable[str]) -> Mapping[str, NDArray[np.uint8]]:
    """Pixels of these items by id, without those that cannot be had: the page does without."""
    rows = dict(zip(dataset.ids, dataset.rows.tolist(), strict=True))
    try:
        images = found.open()
    except OSError:  # the cache may be emptied at any time
        return {}
    return {item: images[rows[item]] for item in items if item in rows}


def _backend() -> str:
    """Keras's own rule: the environment, else its configuration file, else TensorFlow."""
    chosen = os.environ.get("KERAS_BACKEND")
    settings = keras_cache().parent / "keras.json"
    if not chosen and settings.is_file():
        try:
            chosen = json.loads(settings.read_text(encoding="utf-8")).get("backend")
        except (OSError, ValueError, AttributeError):
            chosen = None
    backend = chosen or "tensorflow"
    if backend not in BACKENDS:
        raise RequestError(f"unknown Keras backend '{backend}': set KERAS_BACKEND to one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        raise RequestError(
            f"the Keras backend '{backend}' is not installed: pip install {backend}, or set KERAS_BACKEND"
        )
    return backend


def _image_size(request: Request, of_dataset: int | None, native: int) -> int:
    return request.image_size or of_dataset or native


def _first_native_size(request: Request) -> int:
    first = parse_backbones(request.backbones)[0]
    return first.native_size if first else SCRATCH_SIZE
