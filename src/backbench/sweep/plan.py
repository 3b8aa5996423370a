"""From a request to a dataset and to jobs; nothing is computed or written here but the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench.backbones import parse_backbones
from backbench.core import recipe
from backbench.core.cells import parse_freeze
from backbench.core.dataset import Dataset, Listing, Pixels
from backbench.core.errors import UnavailableError
from backbench.core.job import Job, JobSpec, MeasureCells, Resources
from backbench.core.request import Request
from backbench.data import assemble, decoding, open_listing, select, splits, with_copies
from backbench.sweep.options import pretrained_of

Progress = Callable[[str, int, int], None]


def listing_for(request: Request, *, progress: Progress) -> Listing:
    """The items that the sweep will use, with their splits. Raises RequestError for data that cannot be used."""
    found = open_listing(
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
    return select(found, keep, split)


def dataset_for(request: Request, listing: Listing, *, cache: Path, progress: Progress) -> tuple[Dataset, Pixels]:
    """The usable items, and their pixels at the size that is needed first: decoding shows what can be used."""
    size = _image_size(request, listing.image_size, _first_native_size(request))
    found, failures = decoding.decode(
        listing,
        size=size,
        resize=request.resize,
        cache=cache,
        progress=lambda done, total: progress(f"decoding at {size} px", done, total),
    )
    dataset = with_copies(
        assemble(listing, failures),
        listing,
        found,
        progress=lambda done, total: progress("looking for copies", done, total),
    )
    return dataset, found


def jobs_for(request: Request, dataset: Dataset, *, resolved: dict[str, str], cache: Path) -> Iterator[Job]:
    """One job per backbone and kind of weights, in the order asked for; weights and pixels are not there yet."""
    for backbone in parse_backbones(request.backbones):
        for pretrained in (False,) if backbone.from_scratch else pretrained_of(request):
            spec = JobSpec(
                backbone=backbone,
                pretrained=pretrained,
                dataset=dataset,
                image_size=_image_size(request, dataset.image_size, backbone.native_size),
                resize=request.resize,
                freeze=parse_freeze(request.freeze),
                seeds=request.seeds,
                epochs=request.epochs or (recipe.EPOCHS if pretrained else recipe.EPOCHS_FROM_SCRATCH),
                batch_size=request.batch_size,
                augment=request.augment,
                views=request.views,
                engine=resolved["engine"],
                precision=resolved["precision"],
                backend=resolved["backend"],
            )
            yield Job(MeasureCells(spec), Resources(cache=cache, keep_bytes=int(request.keep_gb * 1e9)))


def with_pixels(job: Job, listing: Listing, *, progress: Progress, may_go_on: Callable[[], bool] | None = None) -> Job:
    """The job with its images decoded at its size; with `may_go_on` in the background, as `decoding.decode` does it.

    Raises UnavailableError when images that could be decoded before cannot be any more.
    """
    found, failures = decoding.decode(
        listing,
        size=job.spec.image_size,
        resize=job.spec.resize,
        cache=job.resources.cache,
        progress=lambda done, total: progress(f"decoding at {job.spec.image_size} px", done, total),
        may_go_on=may_go_on,
    )
    lost = sorted(set(failures) & set(job.spec.dataset.rows.tolist()))
    if lost:
        raise UnavailableError(
            f"{len(lost)} images could not be decoded at {job.spec.image_size} px, the first is"
            f" {listing.ids[lost[0]]} ({failures[lost[0]]}): see whether the dataset changed, then run again"
        )
    return job.with_resources(pixels=found)


def screened(job: Job, listing: Listing, *, images: int) -> tuple[Job, Listing]:
    """The job on so many images of train alone, evenly over the classes, and the listing that has no others.

    Its cells keep their identity, which is that of the whole dataset.
    """
    data = job.spec.dataset
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
    return job.with_spec(dataset=few), select(listing, data.rows[chosen], listing.published)


def pixels_of(dataset: Dataset, found: Pixels, items: Iterable[str]) -> Mapping[str, NDArray[np.uint8]]:
    """Pixels of these items by id, without those that cannot be had: the page does without."""
    rows = dict(zip(dataset.ids, dataset.rows.tolist(), strict=True))
    try:
        images = found.open()
    except OSError:  # the cache may be emptied at any time
        return {}
    return {item: images[rows[item]] for item in items if item in rows}


def _image_size(request: Request, of_dataset: int | None, native: int) -> int:
    return request.image_size or of_dataset or native


def _first_native_size(request: Request) -> int:
    first = parse_backbones(request.backbones)[0]
    return first.native_size
