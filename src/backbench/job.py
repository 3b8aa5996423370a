"""One job: one backbone, all its cells. The only place where data, model and metrics meet."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import cost, finetune, tails, trained_weights
from backbench.activations import INFERENCE_BATCH, Frozen, Kept, augmented_pass, frozen_pass
from backbench.backbones import graph, scratch, stages
from backbench.backbones.graph import plain_keras
from backbench.backbones.stage_table import stages_of
from backbench.cells import Plan, augment_of, plan
from backbench.clock import Clock, Emit
from backbench.facts import device, environment, failed, finished
from backbench.inputs import FromKept, FromPixels, FromPrefix, Source
from backbench.probe import Head, ProbePath, fit_path
from backbench.records import PROTOCOL_VERSION, SPLITS, Backbone, Job, Note, Summary

SHARED = ("building", "frozen pass", "augmented views")
COST = ("timing", "memory")

# Of the free disk, so that the sweep's other files and the user's own still find room.
SHARE_OF_DISK = 0.8


def run(job: Job, emit: Emit) -> None:
    """Measure every wanted cell of a job and emit each as it is finished, then a summary.

    A cell whose numbers are not finite is emitted as failed; whatever else goes wrong is raised: UnavailableError for
    what cannot be had here, anything else is a failure.
    """
    plain_keras(job.precision)
    wanted = [cell for cell in plan(job) if not cell.impossible and (job.wanted is None or cell.cell_id in job.wanted)]
    clock = Clock(emit)
    if not wanted:
        pass
    elif job.backbone is None:
        _scratch_cells(job, wanted, clock)
    elif job.pretrained:
        _backbone_cells(job, job.backbone, wanted, clock)
    else:
        for seed in dict.fromkeys(cell.seed for cell in wanted):
            _backbone_cells(job, job.backbone, [cell for cell in wanted if cell.seed == seed], clock)
    emit(Summary(job.label, dict(clock.seconds), environment()))


@dataclass(frozen=True)
class _Network:
    """A built backbone after its frozen pass: what all its cells share."""

    backbone: Backbone
    base: keras.Model
    state: list[NDArray[Any]]
    boundaries: dict[int, stages.Boundary]  # by the number of frozen stages
    kept: dict[int, Kept]
    features: NDArray[np.float32]
    path: ProbePath
    start: tails.Start
    pass_seconds: float
    probe_seconds: float


def _backbone_cells(job: Job, backbone: Backbone, wanted: list[Plan], clock: Clock) -> None:
    """One pass for all depths, then the probe, then the fine-tuned cells, which start from it."""
    before, before_cost = clock.spent(*SHARED), clock.spent(*COST)
    too_large: FloatingPointError | None = None
    try:
        network = _network(job, backbone, wanted, clock)
    except FloatingPointError as error:
        too_large = error
    if too_large:  # activations between the first stage and the last: the probe and `none` do not need them
        for cell in wanted:
            if 0 < cell.frozen < cell.stages:
                clock.emit(failed(job, cell, too_large))
        wanted = [cell for cell in wanted if cell.frozen in (0, cell.stages)]
        if not wanted:
            return
        network = _network(job, backbone, wanted, clock)
    columns = cost.columns(
        job, cost.deployed(graph.frozen_part(network.base, backbone), len(job.dataset.class_names)), clock
    )
    shared = (clock.spent(*SHARED) - before + clock.spent(*COST) - before_cost) / len(wanted)
    if all(cell.frozen < cell.stages for cell in wanted):  # else the probe is the fully frozen cell's own
        shared += network.probe_seconds / len(wanted)
    probed = {"path": [asdict(step) for step in network.path.steps], "chosen": network.path.chosen}
    for cell in wanted:
        began = time.perf_counter()
        try:
            if cell.frozen == cell.stages:
                head, data = network.path.head, job.dataset
                found = {name: head(network.features, data.indices(name)) for name in SPLITS}
                row = columns | {
                    "trainable_params": head.weights.size + head.bias.size,
                    "fit_seconds": network.probe_seconds,
                    "wall_seconds": shared + network.probe_seconds + time.perf_counter() - began,
                }
                random = None if job.pretrained else _keep(job, cell, network.base, clock, head=head)
                clock.emit(finished(job, cell, found, row=row, trace={"probe": probed}, head=head, model=random))
            else:
                _fine_tuned(job, network, cell, columns, shared, clock)
        except FloatingPointError as error:
            clock.emit(failed(job, cell, error))


def _network(job: Job, backbone: Backbone, wanted: list[Plan], clock: Clock) -> _Network:
    data, pixels = job.dataset, job.images()
    with clock.phase("building"):
        keras.utils.set_random_seed(wanted[0].seed)
        base = graph.build(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        if not job.pretrained:
            graph.follow_quickly(base)
        depths = sorted({cell.frozen for cell in wanted if 0 < cell.frozen < cell.stages}, reverse=True)
        strides = [stages_of(backbone.name)[depth - 1].stride for depth in depths]
        boundaries = dict(zip(depths, stages.boundaries(base, strides), strict=True))
        kept = _room_for(job, boundaries)
        tensors = [tensor for depth in kept for tensor in boundaries[depth].tensors]
        frozen = Frozen(graph.frozen_part(base, backbone, tensors))
    before = clock.spent("frozen pass")
    with clock.phase("frozen pass") as report:
        key = _features_key(job, backbone, wanted[0])
        features, passed = frozen_pass(
            frozen, pixels, data.rows, key=key, cache=job.cache, kept=list(kept.values()), progress=report
        )
    clock.seconds["frozen pass"] = before + passed  # what it took, should the cache have had it
    train, views = data.indices("train"), _views(job)
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
    before = clock.spent("probe")
    with clock.phase("probe") as report:
        path = fit_path(
            probed,
            labels,
            train=rows,
            val=data.indices("val"),
            classes=len(data.class_names),
            scratch=job.cache,
            progress=report,
        )
    if job.pretrained:
        head = path.heads[path.gentle(len(data.indices("val")))]
        start = tails.start_from(head, features, train)
    else:
        start = tails.start_at_random(features.shape[1], len(data.class_names), seed=wanted[0].seed)
    return _Network(
        backbone,
        base,
        finetune.state_of(base),
        boundaries,
        kept,
        features,
        path,
        start,
        passed,
        clock.spent("probe") - before,
    )


def _room_for(job: Job, boundaries: dict[int, stages.Boundary]) -> dict[int, Kept]:
    """Files for the boundaries that fit into what may be used of the disk, the smallest first."""
    data = job.dataset
    room = min(job.keep_bytes, int(SHARE_OF_DISK * shutil.disk_usage(job.cache).free))
    kept: dict[int, Kept] = {}
    views = _views(job)
    train = data.indices("train")
    for depth, boundary in boundaries.items():  # deepest first: these are the smallest
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in boundary.tensors]
        needed = Kept.bytes_for(shapes, items=len(data.ids), train=len(train), views=views)
        if needed <= room:
            room -= needed
            kept[depth] = Kept(shapes, items=len(data.ids), train=train, views=views, folder=job.cache / "activations")
    return kept


def _views(job: Job) -> int:
    return job.views if augment_of(job, 1) != "none" else 1


def _source(job: Job, network: _Network, cell: Plan) -> tuple[Source, Sequence[float]]:
    """What the trained part of a cell reads, and the scales of its inputs."""
    data, pixels = job.dataset, job.images()
    if cell.frozen == 0:
        augment = augment_of(job, 0) != "none"
        return FromPixels(pixels, data.rows, augment=augment, flips=data.flips), []
    if cell.frozen in network.kept:
        kept = network.kept[cell.frozen]
        return FromKept(kept), kept.scales
    tensors = network.boundaries[cell.frozen].tensors
    prefix = Frozen(graph.frozen_part(network.base, network.backbone, tensors, pooled=False), pooled=False)
    prefix.settle(pixels[data.rows[:INFERENCE_BATCH]])
    return FromPrefix(prefix, pixels, data.rows, views=_views(job), flips=data.flips), prefix.scales


def _fine_tuned(job: Job, network: _Network, cell: Plan, columns: dict[str, Any], shared: float, clock: Clock) -> None:
    """Train what is not frozen, from the probe's solution, then leave the network as it was."""
    data, backbone = job.dataset, network.backbone
    before = clock.spent("fine-tuning", "evaluation")
    began = time.perf_counter()
    keras.utils.set_random_seed(cell.seed)
    try:
        with clock.phase("fine-tuning") as report:
            source, scales = _source(job, network, cell)
            if cell.frozen == 0:
                clock.emit(Note(_estimate(job, cell, network)))
                model = tails.whole(network.base, backbone, network.start, pretrained=job.pretrained)
            else:
                boundary = network.boundaries[cell.frozen]
                model = tails.tail(network.base, boundary, scales, network.start, pretrained=job.pretrained)
            trained = finetune.train(
                model,
                source,
                data.labels,
                train=data.indices("train"),
                val=data.indices("val"),
                epochs=job.epochs,
                batch_size=job.batch_size,
                rates=_rates(job),
                seed=cell.seed,
                progress=report,
            )
        fit_seconds = time.perf_counter() - began
        with clock.phase("evaluation"):
            found = {name: finetune.predict(model, source, data.indices(name)) for name in SPLITS}
        head = tails.raw_head(network.start, *model.get_layer("head").get_weights())
        after = network.boundaries.get(cell.frozen) if job.pretrained else None
        kept = _keep(job, cell, network.base, clock, after=after, head=head)
    finally:
        finetune.restore(network.base, network.state)
    row = columns | {
        "trainable_params": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "fit_seconds": fit_seconds,
        "wall_seconds": shared + clock.spent("fine-tuning", "evaluation") - before,
    }
    path = network.path
    trace = {
        "training": trained.trace(),
        "start_strength": path.steps[path.gentle(len(data.indices("val")))].strength if job.pretrained else None,
        "probe_score": path.steps[path.chosen].score,
        "inputs": type(source).__name__,
    }
    reasons = []
    if trained.best.score <= path.steps[path.chosen].score:
        reasons.append("no learning rate beat the frozen probe on val")
    if isinstance(source, FromPrefix):
        reasons.append("the boundary's activations did not fit the disk budget and were computed anew for every batch")
    clock.emit(finished(job, cell, found, row=row, trace=trace, reason="; ".join(reasons), model=kept))


def _keep(
    job: Job,
    cell: Plan,
    network: keras.Model,
    clock: Clock,
    *,
    after: stages.Boundary | None = None,
    head: Head | None = None,
) -> Path | None:
    """Trained weights in a file of their own; a disk that is full costs the weights, not the cell."""
    if job.drafts is None:
        return None
    draft = job.drafts / f".{cell.cell_id}.npz"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        trained_weights.save(draft, network, after=after, head=head)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        why = error.strerror or error
        clock.emit(Note(f"{job.label} @ {cell.freeze}: its trained weights could not be kept for export ({why})"))
        return None
    return draft


def _rates(job: Job) -> tuple[float, ...]:
    return finetune.RATES if job.pretrained else finetune.RATES_FROM_SCRATCH


def _estimate(job: Job, cell: Plan, network: _Network) -> str:
    """How long training everything will take at most, from the frozen pass: a training step is about three of it."""
    data, rates = job.dataset, len(_rates(job))
    passes = 3 * len(data.indices("train")) + len(data.indices("val"))
    an_epoch = network.pass_seconds * passes / len(data.ids)
    minutes = max(1, round(an_epoch * job.epochs * rates / 60))
    trials = (
        f"{rates} learning rates, at most {job.epochs} epochs each" if rates > 1 else f"at most {job.epochs} epochs"
    )
    return f"{job.label} @ {cell.freeze}: training all of it takes up to {minutes} min ({trials})"


def _scratch_cells(job: Job, wanted: list[Plan], clock: Clock) -> None:
    """The hand-made CNN, trained from pixels once per seed."""
    data, pixels = job.dataset, job.images()
    source = FromPixels(pixels, data.rows, augment=augment_of(job, 0) != "none", flips=data.flips)
    columns: dict[str, Any] = {}
    own = ("building", "training", "evaluation")
    for cell in wanted:
        before = clock.spent(*own)
        keras.utils.set_random_seed(cell.seed)
        with clock.phase("building"):
            model = scratch.build(image_size=job.image_size, classes=len(data.class_names))
        columns = columns or cost.columns(job, cost.deployed(model), clock)
        began = time.perf_counter()
        try:
            with clock.phase("training") as report:
                trained = finetune.train(
                    model,
                    source,
                    data.labels,
                    train=data.indices("train"),
                    val=data.indices("val"),
                    epochs=job.epochs,
                    batch_size=job.batch_size,
                    rates=finetune.RATES_FROM_SCRATCH,
                    seed=cell.seed,
                    progress=report,
                )
            fit_seconds = time.perf_counter() - began
            with clock.phase("evaluation"):
                found = {name: finetune.predict(model, source, data.indices(name)) for name in SPLITS}
            row = columns | {
                "trainable_params": model.count_params(),
                "fit_seconds": fit_seconds,
                "wall_seconds": clock.spent(*own) - before + clock.spent(*COST) / len(wanted),
            }
            kept = _keep(job, cell, model, clock)
            clock.emit(finished(job, cell, found, row=row, trace={"training": trained.trace()}, model=kept))
        except FloatingPointError as error:
            clock.emit(failed(job, cell, error))


def _features_key(job: Job, backbone: Backbone, cell: Plan) -> dict[str, Any]:
    """Everything that could change a feature; the pixels' file is itself named by what is in it."""
    return {
        "protocol": PROTOCOL_VERSION,
        "pixels": job.pixels.path.stem if job.pixels else None,
        "rows": hashlib.sha256(job.dataset.rows.tobytes()).hexdigest(),
        "backbone": backbone.name,
        "weights": job.weights.digest if job.weights else f"random {cell.seed}",
        "preprocessing": backbone.preprocessing,
        "pooling": "average",
        "image_size": job.image_size,
        "engine": job.engine,
        "precision": job.precision,
        "backend": job.backend,
        "device": device(),
        "versions": environment(),
    }
