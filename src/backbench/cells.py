"""Cells before they are measured: which there are, and what identifies each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backbench.cache import digest_of
from backbench.errors import RequestError
from backbench.records import PROTOCOL_VERSION, Job


@dataclass(frozen=True)
class Plan:
    """One cell to be measured: its label in the table and the digest of its identity."""

    freeze: str
    seed: int
    cell_id: str
    identity: Mapping[str, Any]


def parse_freeze(text: str) -> tuple[str, ...]:
    """Freeze depths as asked, in order, without repeats. Raises RequestError for one that is not understood."""
    depths = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [depth for depth in depths if depth != "all"]
    if unknown or not depths:
        raise RequestError(
            f"freeze depth '{', '.join(unknown)}' is not measured by this version, which trains heads on fully frozen"
            " backbones: use --freeze all"
        )
    return depths


def plan(job: Job) -> tuple[Plan, ...]:
    """Every cell of a job. What is deterministic is planned once, whatever the number of seeds."""
    if job.backbone is None:
        return tuple(_plan(job, "none", seed) for seed in range(job.seeds))
    seeds = 1 if job.pretrained else job.seeds
    return tuple(_plan(job, freeze, seed) for freeze in job.freeze for seed in range(seeds))


def _plan(job: Job, freeze: str, seed: int) -> Plan:
    identity: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION,
        "dataset": job.dataset.fingerprint,
        "backbone": job.backbone.name if job.backbone else "scratch",
        "weights": "imagenet" if job.pretrained else "none",
        "weights_digest": job.weights.digest if job.weights else None,
        "image_size": job.image_size,
        "resize": job.resize,
        "preprocessing": job.backbone.preprocessing if job.backbone else "tf",
        "freeze": freeze,
        "seed": seed,
        "recipe": None if freeze == "all" else _recipe(job),
        "engine": job.engine,
        "precision": job.precision,
        "backend": job.backend,
    }
    return Plan(freeze, seed, digest_of(identity)[:16], identity)


def _recipe(job: Job) -> dict[str, Any]:
    flips = job.augment != "none" and job.dataset.flips
    return {"epochs": job.epochs, "batch_size": job.batch_size, "augment": job.augment, "flips": flips}


def empty_row(job: Job, cell: Plan) -> dict[str, Any]:
    """The columns that are known before anything is measured."""
    return {
        "dataset": job.dataset.name,
        "backbone": job.backbone.name if job.backbone else "scratch",
        "family": job.backbone.family if job.backbone else "scratch",
        "weights": "imagenet" if job.pretrained else "none",
        "weights_source": job.weights.source if job.weights else ("" if job.pretrained else "random initialisation"),
        "image_size": job.image_size,
        "freeze": cell.freeze,
        "seed": cell.seed,
        "engine": job.engine,
        "precision": job.precision,
        "backend": job.backend,
        "cell_id": cell.cell_id,
    }
