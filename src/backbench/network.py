"""A backbone after its one frozen pass: network, features, kept boundaries and the probe, which all its cells share."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import finetune, hardware, spectrum, tails, transferability
from backbench.activations import Frozen, augmented_pass, batches, frozen_pass, sample, write_all
from backbench.backbones import graph, stages
from backbench.backbones.stage_table import stages_of
from backbench.cells import Plan, augment_of, plan
from backbench.clock import Clock
from backbench.engines import Ran, engine_for, keras_engine
from backbench.engines.fitting import TIMES_ON_GPU, batch_for
from backbench.facts import device, environment
from backbench.kept import Kept
from backbench.likelihood_on_device import where_it_fits
from backbench.probe import ProbePath, fit_path
from backbench.race import Trial
from backbench.records import PROTOCOL_VERSION, Backbone, Job
from backbench.shards import Shapes, sign, together, writing

# Of the free disk, so that the sweep's other files and the user's own still find room.
SHARE_OF_DISK = 0.8


@dataclass(frozen=True)
class Network:
    """What the cells of a job share. `kept` lacks the boundaries for which the disk has no room.

    `body` is what the frozen pass starts from, in float32, since engines do their rounding themselves; `base` is what
    is trained: the same, or its like in bfloat16 where the frozen part stood the check in it.
    """

    backbone: Backbone
    base: keras.Model
    body: keras.Model
    state: list[NDArray[Any]]
    boundaries: dict[int, stages.Boundary]  # by the number of frozen stages
    kept: dict[int, Kept]
    features: NDArray[np.float32]
    path: ProbePath
    scores: transferability.Scores | None  # where there is a fully frozen cell to go with them
    start: tails.Start
    ran: Ran
    pass_seconds: float
    probe_seconds: float
    # Of cells whose learning rates are trained one by one, those that were trained here, by their place.
    raced: dict[str, dict[int, Trial]] = field(default_factory=dict)
    # What was last trained of it, by the number of frozen stages, with its compiled steps.
    tails: dict[int, keras.Model] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """What `base` computes in."""
        return "float32" if self.base is self.body else "bfloat16"


def pass_through(job: Job, backbone: Backbone, wanted: list[Plan], clock: Clock) -> Network:
    """Build a backbone, send all images through it once and fit the probe.

    Raises FloatingPointError where activations at a boundary cannot be kept, or features hold NaN.
    """
    data, pixels = job.dataset, job.images()
    body, boundaries, kept, frozen = _built(job, backbone, wanted, clock)
    train, views = data.indices("train"), views_of(job)
    before = clock.spent("frozen pass")
    with clock.phase("frozen pass") as report:
        key = features_key(job, backbone, wanted[0], kept)
        shapes: dict[int, Shapes] = {depth: boundary.shapes for depth, boundary in kept.items() if boundary.files}
        shapes[len(stages_of(backbone.name))] = [(frozen.width,)]
        features, passed = frozen_pass(
            frozen,
            pixels,
            data.rows,
            key=key,
            cache=job.cache,
            kept=list(kept.values()),
            elsewhere=together(job.shards, key=key, rows=len(data.rows), shapes=shapes),
            progress=report,
        )
        for file in _files(job):  # they are copies, and a process that is ended leaves them behind
            file.unlink()
        if views > 1:  # by the same images, should the cache have had the features
            frozen.settle(sample(pixels, data.rows))
    clock.seconds["frozen pass"] = before + passed  # what it took, should the cache have had it
    clock.seconds["engine"] = clock.spent("engine") + frozen.ready_seconds
    probed, labels, rows = features, data.labels, train
    if views > 1:
        with clock.phase("augmented views") as report:
            probed = augmented_pass(
                frozen,
                pixels,
                data.rows,
                features=features,
                train=train,
                views=views,
                flips=data.flips,
                folder=job.cache / "activations",
                kept=list(kept.values()),
                progress=report,
            )
        labels = np.concatenate([labels, np.tile(labels[train], views - 1)])
        rows = np.concatenate([train, np.arange(len(features), len(probed))])
    before, classes, scores = clock.spent("probe"), len(data.class_names), None
    with clock.phase("probe") as report:
        of_train = spectrum.decompose(features, train, scratch=job.cache) if views == 1 else None
        path = fit_path(
            probed,
            labels,
            train=rows,
            val=data.indices("val"),
            classes=classes,
            spectrum=of_train,
            likelihood=where_it_fits,
            scratch=job.cache,
            progress=report,
        )
    if any(cell.frozen == cell.stages for cell in wanted):
        with clock.phase("scores"):
            of_train = of_train or spectrum.decompose(features, train, scratch=job.cache)
            scores = transferability.score(of_train, features, data.labels, rows=train, classes=classes)
    base = body
    # What is too coarse for the frozen part is so for the rest. Of cells that train nothing only Keras's own need it.
    used = job.engine == "keras" or any(cell.frozen < cell.stages for cell in wanted)
    if used and job.precision == frozen.ran.precision == "bfloat16":
        with clock.phase("building"):
            base = keras_engine.in_bfloat16(body)
        own = stages.boundaries(base, [boundary.stride for boundary in boundaries.values()])
        boundaries = dict(zip(boundaries, own, strict=True))
    if job.pretrained:
        head = path.heads[path.gentle(len(data.indices("val")))]
        start = tails.start_from(head, features, train)
    else:
        start = tails.start_at_random(features.shape[1], len(data.class_names), seed=wanted[0].seed)
    return Network(
        backbone,
        base,
        body,
        finetune.state_of(base),
        boundaries,
        {depth: boundary for depth, boundary in kept.items() if boundary.files},
        features,
        path,
        scores,
        start,
        frozen.ran,
        passed,
        clock.spent("probe") - before,
    )


def pass_shard(
    job: Job, backbone: Backbone, wanted: list[Plan], clock: Clock, *, first: int, last: int
) -> dict[int, Path]:
    """Files of the frozen pass of the rows from `first` up to `last`, as `pass_through` would compute them, by depth.

    Raises FloatingPointError where activations at a boundary cannot be kept, ValueError without a place for the files.
    """
    if job.drafts is None:
        raise ValueError(f"{job.label}: a shard needs a folder for its files")
    data, pixels = job.dataset, job.images()
    *_, kept, frozen = _built(job, backbone, wanted, clock)
    deepest = len(stages_of(backbone.name))
    depths = {cell.frozen for cell in wanted}
    shapes: dict[int, Shapes] = {depth: found.shapes for depth, found in kept.items() if depth in depths}
    shapes[deepest] = [(frozen.width,)]
    job.drafts.mkdir(parents=True, exist_ok=True)
    paths = {depth: job.drafts / f"{first}-{last}.{depth}.h5" for depth in shapes}
    with clock.phase("frozen pass") as report:
        frozen.settle(sample(pixels, data.rows))
        began = time.perf_counter()
        with writing(paths, rows=last - first, shapes=shapes) as filling:
            outputs = frozen.forward(batches(pixels, data.rows[first:last], size=frozen.batch))
            at_boundaries = [filling.get(depth, kept[depth]) for depth in kept]  # without files they keep nothing
            write_all(outputs, frozen.scales, filling[deepest], at_boundaries, rows=last - first, progress=report)
            key = features_key(job, backbone, wanted[0], kept)
            sign(filling, key, first=first, ran=frozen.ran, seconds=time.perf_counter() - began)
    return paths


def _built(
    job: Job, backbone: Backbone, wanted: list[Plan], clock: Clock
) -> tuple[keras.Model, dict[int, stages.Boundary], dict[int, Kept], Frozen]:
    """The network in float32, its boundaries, those that are kept, and its frozen part."""
    with clock.phase("building"), graph.computing_in("float32"):
        keras.utils.set_random_seed(wanted[0].seed)
        body = graph.build(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        if not job.pretrained:
            graph.follow_quickly(body)
        # Of all depths that were asked for, wanted now or not: with other outputs an engine fuses and rounds otherwise.
        depths = sorted({cell.frozen for cell in plan(job) if 0 < cell.frozen < cell.stages}, reverse=True)
        strides = [stages_of(backbone.name)[depth - 1].stride for depth in depths]
        boundaries = dict(zip(depths, stages.boundaries(body, strides), strict=True))
        with_files = set() if job.shard else {cell.frozen for cell in wanted}
        kept = room_for(job, boundaries, wanted=with_files)
        frozen = frozen_up_to(job, backbone, body, list(kept), seed=wanted[0].seed)
    return body, boundaries, kept, frozen


def frozen_up_to(
    job: Job, backbone: Backbone, body: keras.Model, depths: Sequence[int], *, seed: int, pooled: bool = True
) -> Frozen:
    """The frozen part of `body` with its boundaries at these depths, to be run by the job's engine.

    Converted networks with random weights are not kept: nobody else has the same.
    """
    with graph.computing_in("float32"):
        strides = [stages_of(backbone.name)[depth - 1].stride for depth in depths]
        tensors = [tensor for found in stages.boundaries(body, strides) for tensor in found.tensors]
        model = graph.frozen_part(body, backbone, tensors, pooled=pooled)
    outputs = {"strides": strides, "pooled": pooled, "protocol": PROTOCOL_VERSION}
    key = {"network": _network_key(job, backbone, seed), **outputs}
    folder = job.cache / "converted" if job.weights else None
    on_gpu = device() != hardware.cpu()
    most = job.inference_batch * (TIMES_ON_GPU if on_gpu else 1)
    batch = batch_for(model, most=most, free=hardware.free_bytes(on_gpu=on_gpu))
    engine = engine_for(job.engine, precision=job.precision, batch=batch, folder=folder, key=key)
    return Frozen(model, pooled=pooled, engine=engine, batch=batch)


def room_for(job: Job, boundaries: dict[int, stages.Boundary], *, wanted: Collection[int]) -> dict[int, Kept]:
    """The boundaries that fit into what may be used of the disk, smallest first; those that are wanted have files."""
    data = job.dataset
    free = shutil.disk_usage(job.cache).free + sum(path.stat().st_size for path in _files(job))
    room = min(job.keep_bytes, int(SHARE_OF_DISK * free))
    kept: dict[int, Kept] = {}
    views = views_of(job)
    train = data.indices("train")
    for depth, boundary in boundaries.items():  # deepest first: these are the smallest
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in boundary.tensors]
        needed = Kept.bytes_for(shapes, items=len(data.ids), train=len(train), views=views)
        if needed <= room:
            room -= needed
            folder = job.cache / "activations" if depth in wanted else None
            kept[depth] = Kept(shapes, items=len(data.ids), train=train, views=views, folder=folder)
    return kept


def _files(job: Job) -> list[Path]:
    """Those of a job's shards that are there, until they have been read."""
    return [path for shard in job.shards for path in shard.values() if path.is_file()]


def views_of(job: Job) -> int:
    """Versions of each train image that a cached prefix is given."""
    return job.views if augment_of(job, 1) != "none" else 1


def _network_key(job: Job, backbone: Backbone, seed: int) -> dict[str, Any]:
    """Everything that makes a network what it is."""
    return {
        "backbone": backbone.name,
        "weights": job.weights.digest if job.weights else f"random {seed}",
        "preprocessing": backbone.preprocessing,
        "image_size": job.image_size,
    }


def features_key(job: Job, backbone: Backbone, cell: Plan, kept: Collection[int]) -> dict[str, Any]:
    """Everything that could change a feature; the pixels' file is itself named by what is in it.

    An engine that fuses operations rounds differently where it also has to give what is between them.
    """
    return {
        "protocol": PROTOCOL_VERSION,
        "pixels": job.pixels.path.stem if job.pixels else None,
        "rows": hashlib.sha256(job.dataset.rows.tobytes()).hexdigest(),
        **_network_key(job, backbone, cell.seed),
        "pooling": "average",
        "engine": job.engine,
        "kept": list(kept) if job.engine != "keras" else None,
        "precision": job.precision,
        "backend": job.backend,
        "device": device(),
        "versions": environment(job.engine),
    }
