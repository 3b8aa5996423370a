"""The frozen part of a backbone and the boundaries whose activations there is room to store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Sequence
from typing import Any

import keras

from backbench.backbones import graph, stages
from backbench.core import hardware
from backbench.core.backbone import Backbone
from backbench.core.cells import PROTOCOL_VERSION, PlannedCell, augment_of, planned_cells
from backbench.core.events import Phase
from backbench.core.job import Job
from backbench.core.timing import Clock
from backbench.features.activation_store import ActivationStore
from backbench.features.device import device, environment
from backbench.features.engines import engine_for
from backbench.features.engines.batch_size import TIMES_ON_GPU, batch_for
from backbench.features.frozen_pass import FrozenModel

# Of the free disk, so that the sweep's other files and the user's own still find room.
SHARE_OF_DISK = 0.8


def _built(
    job: Job, backbone: Backbone, wanted: list[PlannedCell], clock: Clock
) -> tuple[keras.Model, dict[int, stages.Boundary], dict[int, ActivationStore], FrozenModel]:
    """The network in float32, its boundaries, those that are kept, and its frozen part."""
    with clock.phase(Phase.BUILDING), graph.computing_in("float32"):
        keras.utils.set_random_seed(wanted[0].seed)
        body = graph.build(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        if not job.pretrained:
            graph.follow_quickly(body)
        # Of all depths that were asked for, wanted now or not: with other outputs an engine fuses and rounds otherwise.
        depths = sorted({cell.frozen for cell in planned_cells(job) if 0 < cell.frozen < cell.stages}, reverse=True)
        strides = [backbone.stages[depth - 1].stride for depth in depths]
        boundaries = dict(zip(depths, stages.boundaries(body, strides), strict=True))
        kept = room_for(job, boundaries, wanted={cell.frozen for cell in wanted})
        frozen = frozen_up_to(job, backbone, body, list(kept), seed=wanted[0].seed)
    return body, boundaries, kept, frozen


def frozen_up_to(
    job: Job, backbone: Backbone, body: keras.Model, depths: Sequence[int], *, seed: int, pooled: bool = True
) -> FrozenModel:
    """The frozen part of `body` with its boundaries at these depths, to be run by the job's engine.

    Converted networks with random weights are not kept: nobody else has the same.
    """
    with graph.computing_in("float32"):
        strides = [backbone.stages[depth - 1].stride for depth in depths]
        tensors = [tensor for found in stages.boundaries(body, strides) for tensor in found.tensors]
        model = graph.frozen_part(body, backbone, tensors, pooled=pooled)
    outputs = {"strides": strides, "pooled": pooled, "protocol": PROTOCOL_VERSION}
    key = {"network": _network_key(job, backbone, seed), **outputs}
    folder = job.cache / "converted" if job.weights else None
    on_gpu = device() != hardware.cpu()
    most = job.inference_batch * (TIMES_ON_GPU if on_gpu else 1)
    batch = batch_for(model, most=most, free=hardware.free_bytes(on_gpu=on_gpu))
    engine = engine_for(job.engine, precision=job.precision, batch=batch, folder=folder, key=key)
    return FrozenModel(model, pooled=pooled, engine=engine, batch=batch)


def room_for(
    job: Job, boundaries: dict[int, stages.Boundary], *, wanted: Collection[int]
) -> dict[int, ActivationStore]:
    """The boundaries that fit into what may be used of the disk, smallest first; those that are wanted have files."""
    data = job.dataset
    room = min(job.keep_bytes, int(SHARE_OF_DISK * shutil.disk_usage(job.cache).free))
    kept: dict[int, ActivationStore] = {}
    views = views_of(job)
    train = data.indices("train")
    for depth, boundary in boundaries.items():  # deepest first: these are the smallest
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in boundary.tensors]
        needed = ActivationStore.bytes_for(shapes, items=len(data.ids), train=len(train), views=views)
        if needed <= room:
            room -= needed
            folder = job.cache / "activations" if depth in wanted else None
            kept[depth] = ActivationStore(shapes, items=len(data.ids), train=train, views=views, folder=folder)
    return kept


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


def features_key(job: Job, backbone: Backbone, cell: PlannedCell, kept: Collection[int]) -> dict[str, Any]:
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
