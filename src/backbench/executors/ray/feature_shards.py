"""The frozen pass of a large job by several workers first, a shard each, before any of them begins with its cells.

Whoever measures cells of the job then reads what the shards left, and makes the pass itself where that cannot be had.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backbench.core.cells import augment_of
from backbench.core.events import Event, Progress
from backbench.core.job import INFERENCE_BATCH, Job
from backbench.evaluation.workload import Workload, workload_of
from backbench.executors.ray.lr_splits import FEW
from backbench.executors.retry import Attempt, JobFailure, owed

# References to what a shard left, by depth.
Left = Mapping[int, Sequence[Any]]

# Of a worker's share of all work a shard is at most this part: everything large has to wait for the last of them.
PARTS = 64

# Where a shard may begin: at a multiple of the images of one call, on a GPU too.
ALIGNED = 8 * INFERENCE_BATCH


def cuts(job: Job, share: float, *, work: Workload | None = None) -> list[tuple[int, int]]:
    """Shards of a job's frozen pass, by the positions of images: none where one worker is to do all of the job.

    `share` is a worker's share of all jobs' work in FLOPs. A job of more than that will be done by several, who else
    would each make the pass, where that is worth a process of its own. Augmented views and random weights are passes of
    their own, which nobody shares.
    """
    plain = job.views == 1 or augment_of(job, 1) == "none"
    if not (job.backbone and job.pretrained and plain) or job.trial:
        return []
    work = work or workload_of(job, owed(job))
    if work.frozen + sum(work.training.values()) <= share or work.frozen < FEW:
        return []
    rows = len(job.dataset.rows)
    count = min(math.ceil(PARTS * work.frozen / share), math.floor(work.frozen / FEW))
    size = ALIGNED * math.ceil(rows / count / ALIGNED)
    return [(first, min(rows, first + size)) for first in range(0, rows, size)]


class Passes:
    """Jobs that wait for the shards of their frozen pass, and references to what these have left."""

    def __init__(self) -> None:
        self._waiting: dict[int, Job] = {}
        self._done: dict[int, Counter[tuple[int, int]]] = {}
        self._blocks: dict[int, dict[tuple[int, int], Left | None]] = {}

    def begin(self, position: int, job: Job, shards: Sequence[tuple[int, int]]) -> list[Attempt]:
        """The shards of a job, which itself has to wait for them."""
        self._waiting[position], self._done[position] = job, Counter()
        self._blocks[position] = dict.fromkeys(shards)
        return [Attempt(replace(job, shard=shard)) for shard in shards]

    def tell(self, position: int, attempt: Attempt, events: Sequence[Event | JobFailure]) -> list[Event | JobFailure]:
        """Of what a shard says, how far all of them are; not that it broke, for the job will make the pass itself."""
        told: list[Event | JobFailure] = []
        shard, done = attempt.job.shard, self._done[position]
        for event in events:
            if shard and isinstance(event, Progress) and event.phase == "frozen pass" and event.total > 1:
                done[shard] = event.done
                told.append(Progress(event.phase, done.total(), len(attempt.job.dataset.rows)))
        return told

    def end(self, position: int, job: Job, blocks: Left) -> Job | None:
        """A shard is over and left these blocks, none where it broke; the job that now begins, after the last."""
        left = self._blocks[position]
        if job.shard:
            left[job.shard] = blocks
        if None in left.values():
            return None
        if not all(left.values()):  # those that are there will not be read
            self._blocks[position] = {}
        return self._waiting.pop(position)

    def blocks(self, position: int) -> list[Left]:
        """Those of all shards, none unless all are there."""
        found = self._blocks.get(position, {})
        return [left for left in found.values() if left] if all(found.values()) else []

    def forget(self, position: int) -> None:
        """Let go of them: the job is over."""
        self._blocks.pop(position, None)
