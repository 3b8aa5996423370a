"""What a job asks of a node, and how many jobs a cluster has room for: from the sizes of its nodes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """What one machine of a cluster has to give: cores, GPUs, bytes of memory."""

    cpus: float
    gpus: float
    memory: float


@dataclass(frozen=True)
class TaskResources:
    """What each job asks for, at most `memory` bytes with it, and how many jobs there is room for at a time."""

    cpus: float
    gpus: float
    memory: float
    room: int


def demand(nodes: Sequence[Node], workers: int | None) -> TaskResources:
    """One job a GPU, with its share of the cores, where any node has GPUs; else one job a node, with all its cores.

    More `workers` than nodes without GPUs share the cores of a node, and fewer leave the others idle. What is asked for
    is what the smallest node can give. Raises ValueError for a cluster that has neither cores nor GPUs.
    """
    able = [node for node in nodes if node.gpus >= 1] or [node for node in nodes if node.cpus >= 1]
    if not able:
        raise ValueError("no node has a core or a GPU to give")
    gpus = 1.0 if able[0].gpus >= 1 else 0.0
    together = 1 if workers is None else math.ceil(workers / len(able))
    shares = [max(1, int(node.gpus)) if gpus else min(together, int(node.cpus)) for node in able]
    cpus = min(math.floor(node.cpus / share) for node, share in zip(able, shares, strict=True))
    memory = min(node.memory / share for node, share in zip(able, shares, strict=True))
    room = sum(_fits(node, cpus, gpus) for node in able)
    return TaskResources(float(cpus), gpus, memory, room if workers is None else min(workers, room))


def _fits(node: Node, cpus: float, gpus: float) -> int:
    """How many jobs a node has room for."""
    return math.floor(min(node.gpus / gpus if gpus else math.inf, node.cpus / cpus if cpus else math.inf))
