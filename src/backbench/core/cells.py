"""Cells before they are measured: which there are, and what identifies each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from backbench.core.backbone import RANDOM_WEIGHTS, SCRATCH, Backbone
from backbench.core.columns import CellRow
from backbench.core.errors import RequestError
from backbench.core.files import digest_of
from backbench.core.job import JobSpec

# One network: backbone, weights, image size.
Series = tuple[str, str, int]


@dataclass(frozen=True)
class PlannedCell:
    """One cell to be measured: its place in the table and the digest of its identity.

    `frozen` of `stages` stages are frozen; `impossible` says why it cannot be measured, and is empty where it can.
    """

    freeze: str
    frozen: int
    stages: int
    seed: int
    cell_id: str
    identity: Mapping[str, Any] = field(hash=False)  # its digest, the id, counts
    impossible: str = ""

    @property
    def fully_frozen(self) -> bool:
        """Whether only the head is fitted: the linear probe."""
        return self.frozen == self.stages

    @property
    def key(self) -> CellKey:
        """What tells it from the other cells of a sweep."""
        return CellKey.of(self.identity)


def parse_freeze(text: str) -> tuple[str, ...]:
    """Freeze depths as asked, in order, without repeats. Raises RequestError for one that is not understood."""
    depths = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [depth for depth in depths if not re.fullmatch(r"all(-[1-9]\d*)?|none|every", depth)]
    if unknown or not depths:
        raise RequestError(
            f"unknown freeze depth '{', '.join(unknown)}': use --freeze all (everything frozen), all-1 (all but the"
            " last stage), all-2, ..., none or every"
        )
    return depths


def planned_cells(spec: JobSpec) -> tuple[PlannedCell, ...]:
    """Every cell of a job, depths in the order asked for. What is deterministic is planned once, whatever the seeds."""
    stages = len(spec.backbone.stages)
    freeze = ("none",) if spec.backbone.from_scratch else spec.freeze
    return tuple(
        _plan(spec, label, frozen, stages, seed)
        for label, frozen in _depths(freeze, stages)
        for seed in range(1 if frozen == stages and spec.pretrained else spec.seeds)
    )


def cells_to_measure(spec: JobSpec, among: Collection[str] | None = None) -> list[PlannedCell]:
    """The cells that can be measured, or those `among` these ids, in the order of the plan."""
    possible = [cell for cell in planned_cells(spec) if not cell.impossible]
    return possible if among is None else [cell for cell in possible if cell.cell_id in among]


def frozen_share(backbone: Backbone, frozen: int) -> float:
    """Per cent of a backbone's parameters in its first `frozen` stages."""
    stages = backbone.stages
    return 100.0 * sum(stage.params for stage in stages[:frozen]) / sum(stage.params for stage in stages)


def _depths(asked: tuple[str, ...], stages: int) -> Iterator[tuple[str, int]]:
    """Labels with their number of frozen stages; what a backbone of so few stages lacks is at or below zero."""
    every = ("all", *(f"all-{left}" for left in range(1, stages)), "none")
    labels = dict.fromkeys(label for depth in asked for label in (every if depth == "every" else (depth,)))
    for label in labels:
        yield label, 0 if label == "none" else stages - int(label[4:] or 0)


def _plan(spec: JobSpec, freeze: str, frozen: int, stages: int, seed: int) -> PlannedCell:
    impossible = ""
    if freeze != "none" and frozen < 1:
        impossible = (
            f"{spec.backbone.name} has {stages} stages, so {freeze} would leave none of them frozen:"
            " ask for none to train everything"
        )
    identity: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION,
        "dataset": spec.dataset.fingerprint,
        "backbone": spec.backbone.name,
        "weights": "imagenet" if spec.pretrained else "none",
        "weights_digest": spec.weights.digest if spec.weights else None,
        "image_size": spec.image_size,
        "resize": spec.resize,
        "preprocessing": spec.backbone.preprocessing,
        "freeze": freeze,
        "seed": seed,
        "recipe": _recipe(spec, frozen, probe=freeze == "all"),
        "engine": spec.engine,
        "precision": spec.precision,
        "backend": spec.backend,
    }
    return PlannedCell(freeze, max(0, frozen), stages, seed, digest_of(identity)[:16], identity, impossible)


def but_weights(identity: Mapping[str, Any]) -> str:
    """Digest of all that identifies a cell but its weights, which are not always known."""
    return digest_of({name: value for name, value in identity.items() if name != "weights_digest"})


def augment_of(spec: JobSpec, frozen: int) -> str:
    """What was asked for, else light where training starts at the pixels: there an augmented image costs nothing."""
    return spec.augment or ("none" if frozen > 0 else "light")


def _recipe(spec: JobSpec, frozen: int, *, probe: bool) -> dict[str, Any]:
    augment = augment_of(spec, frozen)
    recipe = {
        "augment": augment,
        "flips": augment != "none" and spec.dataset.flips,
        "views": spec.views if augment != "none" and frozen > 0 else 1,
    }
    return recipe if probe else {"epochs": spec.epochs, "batch_size": spec.batch_size, **recipe}


def empty_row(spec: JobSpec, cell: PlannedCell) -> CellRow:
    """The columns that are known before anything is measured."""
    return CellRow(
        dataset=spec.dataset.name,
        backbone=spec.backbone.name,
        family=spec.backbone.family,
        weights="imagenet" if spec.pretrained else "none",
        weights_source=spec.weights.source if spec.weights else ("" if spec.pretrained else "random initialisation"),
        image_size=spec.image_size,
        freeze=cell.freeze,
        freeze_depth=cell.frozen,
        stages=cell.stages,
        frozen_params_pct=frozen_share(spec.backbone, cell.frozen),
        seed=cell.seed,
        engine=spec.engine,
        precision=spec.precision,
        backend=spec.backend,
        cell_id=cell.cell_id,
        imagenet_top1=spec.backbone.imagenet_top1 if spec.pretrained else None,
    )


class Status(StrEnum):
    """How a cell ended: measured, broken, not possible here, or left out by a budget."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    PRUNED = "pruned"


@dataclass(frozen=True)
class CellKey:
    """What tells the cells of one results folder apart, under the names of the columns."""

    backbone: str
    weights: str
    image_size: int
    freeze: str
    seed: int

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> CellKey:
        """The key in a cell's identity."""
        parts: dict[str, Any] = {part.name: identity[part.name] for part in fields(cls)}
        return cls(**parts)

    @property
    def series(self) -> Series:
        """The network, which all its freeze depths and seeds share."""
        return self.backbone, self.weights, self.image_size

    @property
    def network(self) -> str:
        """The network's name for people: `VGG16`, `VGG16 (random weights)` or `scratch`."""
        at_random = self.weights == "none" and self.backbone != SCRATCH
        return f"{self.backbone} ({RANDOM_WEIGHTS})" if at_random else self.backbone

    def label(self) -> str:
        """The cell's name for people, all seeds alike: `VGG16 (random weights) @ all-1`."""
        return f"{self.network} @ {self.freeze}"


# Part of every cell's identity: raise it when the protocol changes what a number means.
PROTOCOL_VERSION = 5


@dataclass(frozen=True)
class Cell:
    """One finished fact: identity, status and everything measured. Immutable once stored.

    `trace` is what stands behind the columns of the `row` (regularisation path, learning curve).
    """

    cell_id: str
    status: Status
    reason: str
    identity: Mapping[str, Any]
    row: CellRow
    trace: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> CellKey:
        """What tells it from the other cells of its folder."""
        return CellKey(*(getattr(self.row, part.name) for part in fields(CellKey)))
