"""The frozen part of a backbone and the boundaries whose activations there is room to store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from backbench.backbones import graph, stages
from backbench.core import hardware
from backbench.core.cells import PROTOCOL_VERSION, PlannedCell, augment_of, planned_cells
from backbench.core.job import JobSpec, Resources
from backbench.features.activation_store import ActivationStore
from backbench.features.device import device, environment
from backbench.features.engines import engine_for
from backbench.features.engines.batch_size import TIMES_ON_GPU, batch_for
from backbench.features.frozen_pass import FrozenModel

# Of the free disk, so that the sweep's other files and the user's own still find room.
SHARE_OF_DISK = 0.8


@dataclass(frozen=True)
class FrozenNetwork:
    """A backbone in float32 with its boundaries, by the number of frozen stages, and what runs as its frozen part.

    `stores` are those of the boundaries whose activations there is room for.
    """

    body: keras.Model
    boundaries: dict[int, stages.Boundary]
    stores: dict[int, ActivationStore]
    model: FrozenModel


def build_frozen(spec: JobSpec, resources: Resources, cells: Sequence[PlannedCell]) -> FrozenNetwork:
    """The network that these cells share, cut at the boundaries of all depths of the job."""
    with graph.computing_in("float32"):
        seed = cells[0].seed
        keras.utils.set_random_seed(seed)
        body = graph.build(spec.backbone, image_size=spec.image_size, weights=spec.weights, cache=resources.cache)
        if not spec.pretrained:
            graph.follow_quickly(body)
        # Of all depths that were asked for, wanted now or not: with other outputs an engine fuses and rounds otherwise.
        depths = sorted({cell.frozen for cell in planned_cells(spec) if 0 < cell.frozen < cell.stages}, reverse=True)
        strides = [spec.backbone.stages[depth - 1].stride for depth in depths]
        boundaries = dict(zip(depths, stages.boundaries(body, strides), strict=True))
        free = shutil.disk_usage(resources.cache).free
        stores = room_for(spec, resources, boundaries, wanted={cell.frozen for cell in cells}, free=free)
        return FrozenNetwork(body, boundaries, stores, frozen_up_to(spec, resources, body, list(stores), seed=seed))


def frozen_up_to(
    spec: JobSpec, resources: Resources, body: keras.Model, depths: Sequence[int], *, seed: int, pooled: bool = True
) -> FrozenModel:
    """The frozen part of `body` with its boundaries at these depths, to be run by the job's engine.

    Converted networks with random weights are not stored: nobody else has the same.
    """
    with graph.computing_in("float32"):
        strides = [spec.backbone.stages[depth - 1].stride for depth in depths]
        tensors = [tensor for boundary in stages.boundaries(body, strides) for tensor in boundary.tensors]
        model = graph.frozen_part(body, spec.backbone, tensors, pooled=pooled)
    outputs = {"strides": strides, "pooled": pooled, "protocol": PROTOCOL_VERSION}
    key = {"network": _network_key(spec, seed), **outputs}
    folder = resources.cache / "converted" if spec.weights else None
    on_gpu = device() != hardware.cpu()
    most = resources.inference_batch * (TIMES_ON_GPU if on_gpu else 1)
    batch = batch_for(model, most=most, free=hardware.free_bytes(on_gpu=on_gpu))
    engine = engine_for(spec.engine, precision=spec.precision, batch=batch, folder=folder, key=key)
    return FrozenModel(model, pooled=pooled, engine=engine, batch=batch)


def room_for(
    spec: JobSpec, resources: Resources, boundaries: dict[int, stages.Boundary], *, wanted: Collection[int], free: int
) -> dict[int, ActivationStore]:
    """Stores of the boundaries for which `free` bytes of disk have room, smallest first; wanted ones get files."""
    data = spec.dataset
    room = min(resources.keep_bytes, int(SHARE_OF_DISK * free))
    stores: dict[int, ActivationStore] = {}
    views = views_of(spec)
    train = data.indices("train")
    for depth, boundary in boundaries.items():  # deepest first: these are the smallest
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in boundary.tensors]
        needed = ActivationStore.bytes_for(shapes, items=len(data.ids), train=len(train), views=views)
        if needed <= room:
            room -= needed
            folder = resources.cache / "activations" if depth in wanted else None
            stores[depth] = ActivationStore(shapes, items=len(data.ids), train=train, views=views, folder=folder)
    return stores


def views_of(spec: JobSpec) -> int:
    """Versions of each train image that a frozen part is given."""
    return spec.views if augment_of(spec, 1) != "none" else 1


def _network_key(spec: JobSpec, seed: int) -> dict[str, Any]:
    """Everything that makes a network what it is."""
    return {
        "backbone": spec.backbone.name,
        "weights": spec.weights.digest if spec.weights else f"random {seed}",
        "preprocessing": spec.backbone.preprocessing,
        "image_size": spec.image_size,
    }


def features_key(spec: JobSpec, resources: Resources, *, seed: int, stores: Collection[int]) -> dict[str, Any]:
    """Everything that could change a feature; the pixels' file is itself named by what is in it.

    An engine that fuses operations rounds differently where it also has to give what is between them.
    """
    return {
        "protocol": PROTOCOL_VERSION,
        "pixels": resources.pixels.path.stem if resources.pixels else None,
        "rows": hashlib.sha256(spec.dataset.rows.tobytes()).hexdigest(),
        **_network_key(spec, seed),
        "pooling": "average",
        "engine": spec.engine,
        "kept": list(stores) if spec.engine != "keras" else None,
        "precision": spec.precision,
        "backend": spec.backend,
        "device": device(),
        "versions": environment(spec.engine),
    }
