"""What a job will have to do, known before it starts: floating-point operations of each part, and bytes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from backbench.core.cells import PlannedCell, augment_of, cells_to_measure
from backbench.core.job import Job, Schedule

# A training step in forward passes: forward, and backward to the inputs and to the weights.
STEP = 3

# Products of the probe: iterations over its twelve strengths, each with one product forward and one back.
ITERATIONS = 400

# Bytes of a process with a framework and its first GPU context or thread pools, beside the network.
FRAMEWORK = 1.2e9

# Copies of what is trained: weights, gradients and AdamW's two moments; and of activations, kept for the way back.
TRAINED_COPIES, ACTIVATION_COPIES = 4, 6


@dataclass(frozen=True)
class Workload:
    """FLOPs of one job, a multiply-add counted as two, and the bytes that it leaves or needs on disk.

    `frozen` is the frozen pass with its augmented views, `probe` the path of strengths, `training` that of each trained
    cell by its id, evaluation included, at one learning rate. `kept` are activations, which vanish with the job.
    """

    frozen: float
    probe: float
    training: Mapping[str, float]
    features: int
    kept: int


def workload_of(job: Job, wanted: Collection[str]) -> Workload:
    """The work of the cells with these ids."""
    cells = cells_to_measure(job.spec, wanted)
    images = job.spec.dataset.sizes
    everything, train, val = sum(images.values()), images["train"], images["val"]
    if job.spec.backbone.from_scratch or not cells:
        forward = sum(stage_flops(job))
        once = _training(job, forward, 0.0, train, val) + everything * forward
        return Workload(0.0, 0.0, {cell.cell_id: once for cell in cells}, 0, 0)
    flops = stage_flops(job)
    width = job.spec.backbone.stages[-1].shapes[0][-1]
    views = job.spec.views if augment_of(job.spec, 1) != "none" else 1
    rows = everything + (views - 1) * train
    passes = 1 if job.spec.pretrained else len({cell.seed for cell in cells})
    seen = views * train
    rank = min(seen, width)
    probe = (
        4.0 * seen * rank * len(job.spec.dataset.class_names) * ITERATIONS + 2.0 * seen * width * rank + 10.0 * rank**3
    )
    kept = kept_bytes(job, cells, rows)
    training = {}
    for cell in cells:
        if cell.frozen < cell.stages:
            after = sum(flops[cell.frozen :])
            before = sum(flops[: cell.frozen]) if cell.frozen and cell.frozen not in kept else 0.0
            once = everything * (before + after)
            training[cell.cell_id] = _training(job, after, before, train, val) + once
    return Workload(passes * rows * sum(flops), passes * probe, training, 4 * everything * width, sum(kept.values()))


def flops(job: Job) -> float:
    """FLOPs of all of a job that computes with its network."""
    work = workload_of(job, [cell.cell_id for cell in cells_to_measure(job.spec)])
    return work.frozen + sum(work.training.values())


def _training(job: Job, trained: float, recomputed: float, train: int, val: int) -> float:
    epochs = job.spec.epochs
    if isinstance(job.effort, Schedule) and job.effort.epochs:
        epochs = job.effort.epochs
    return epochs * (train * (STEP * trained + recomputed) + val * (trained + recomputed))


def memory_of(job: Job) -> float:
    """Roughly the bytes that the process of a job will take at most, mapped files aside: they can be dropped."""
    if job.spec.backbone.from_scratch:  # its first map is by far the largest
        return FRAMEWORK + ACTIVATION_COPIES * 4.0 * job.spec.batch_size * job.spec.image_size**2 * 16
    cells = cells_to_measure(job.spec)
    trains = any(cell.frozen < cell.stages for cell in cells)
    stages = job.spec.backbone.stages
    largest = max(
        sum(math.ceil(job.spec.image_size / stage.stride) ** 2 * shape[-1] for shape in stage.shapes)
        for stage in stages
    )
    width = stages[-1].shapes[0][-1]
    copies = 1 + (TRAINED_COPIES if trains else 1)
    images = max(job.resources.inference_batch, job.spec.batch_size if trains else 0)
    return FRAMEWORK + 4.0 * (copies * job.spec.backbone.params + ACTIVATION_COPIES * images * largest + 3 * width**2)


def stage_flops(job: Job) -> list[float]:
    """FLOPs of one image in each stage, at the job's image size: convolutions grow with the area.

    The hand-made CNN has a depth by its size, and counts as one stage with its head.
    """
    if job.spec.backbone.from_scratch:
        return [scratch_flops(job.spec.image_size, len(job.spec.dataset.class_names))]
    shrunk = job.spec.image_size / job.spec.backbone.native_size
    return [stage.flops * shrunk**2 for stage in job.spec.backbone.stages]


def scratch_flops(image_size: int, classes: int) -> float:
    """FLOPs of one image in the hand-made CNN (`backbones/scratch_cnn.py`)."""
    side, channels, flops = image_size, 3, 0.0
    for stage in range(max(2, math.ceil(math.log2(image_size / 8)))):
        wider = min(16 * 2**stage, 128)
        flops += 2 * 9 * channels * wider * side**2
        side, channels = side // 2, wider
    return flops + 2 * 256 * (side * side * channels + classes)


def kept_bytes(job: Job, cells: Collection[PlannedCell], rows: int) -> dict[int, int]:
    """Bytes of so many rows of the boundaries that may be kept, by the number of frozen stages, the deepest first."""
    depths = sorted({cell.frozen for cell in cells if 0 < cell.frozen < cell.stages}, reverse=True)
    room, found = job.resources.keep_bytes, {}
    for depth in depths:
        stage = job.spec.backbone.stages[depth - 1]
        side = math.ceil(job.spec.image_size / stage.stride)
        needed = 2 * rows * sum(side * side * shape[-1] for shape in stage.shapes)
        if needed <= room:
            room -= needed
            found[depth] = needed
    return found
