"""A finished sweep as a search would have met it: what each step would have cost, and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from backbench.analysis import metrics
from backbench.budget.protocol import Arm, Measurement, PerItemScores
from backbench.core.cells import Cell, CellKey, Status
from backbench.core.columns import measured
from backbench.core.errors import RequestError
from backbench.core.job import Screening
from backbench.results import store

# In place of a score of zero, whose logarithm would be infinite.
TINY = 1e-12


@dataclass(frozen=True)
class Curve:
    """Score by epoch of the first learning rate of a trained cell, and the seconds of one epoch."""

    scores: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class SweepHistory:
    """Arms of a sweep that measured everything, and what is known of their cells by id.

    `final` has log-probabilities [n] on the val images, in one order; `seconds` those of a cell's own training,
    `shared` those of what all cells of a network have in common; `test` the test accuracy of an arm, over its seeds.
    `tried` has by cell and epochs what a trial of it showed, where the sweep once had a budget.
    """

    arms: tuple[Arm, ...]
    final: Mapping[str, PerItemScores]
    curves: Mapping[str, Curve]
    seconds: Mapping[str, float]
    shared: Mapping[str, float]
    test: Mapping[Arm, float]
    tried: Mapping[tuple[str, int], PerItemScores] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return sum(self.seconds.values()) + sum(self.shared.values())

    def cost(self, step: Measurement) -> float:
        """Seconds of a step, without what its network shares."""
        if isinstance(step.effort, Screening):
            return 0.0
        if step.effort.epochs is None:
            return self.seconds[step.cell]
        curve = self.curves[step.cell]
        return curve.seconds * min(step.effort.epochs, len(curve.scores))

    def seen(self, step: Measurement) -> PerItemScores:
        """What a step would have come to."""
        final = self.final[step.cell]
        if isinstance(step.effort, Screening) or step.effort.epochs is None:
            return final  # of a screening, whose images were not recorded, the probe that it stands for
        if (step.cell, step.effort.epochs) in self.tried:
            return self.tried[step.cell, step.effort.epochs]
        return as_tried(final, self.curves[step.cell].scores, epochs=step.effort.epochs)


def as_tried(final: PerItemScores, scores: Sequence[float], *, epochs: int) -> PerItemScores:
    """What a trial of so many epochs stands for in a replay, where none was recorded: the best of the first `scores`.

    These are of a longer schedule, and lower than those of a trial, which is a whole one. Single images are taken to
    differ from their mean as they do when the training is over.
    """
    return final - float(final.mean()) + math.log(max(*scores[:epochs], TINY))


def first_curve(cell: Cell) -> tuple[float, ...]:
    """Scores by epoch at the first learning rate of a trained cell."""
    return tuple(float(point["score"]) for point in cell.trace["training"]["trials"][0]["curve"]) or (0.0,)


def past(directory: Path) -> SweepHistory:
    """What the finished cells of a results folder tell. Raises RequestError where there are not enough of them."""
    stored = store.read_cells(directory)
    if left := sum(cell.status == Status.PRUNED for cell in stored):
        raise RequestError(
            f"{directory} was measured under a budget, {left} cells are pruned, and a replay needs all of them: run the"
            " sweep once more without --budget"
        )
    cells = [cell for cell in stored if cell.status == Status.OK]
    groups: dict[CellKey, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.row.seed):
        groups.setdefault(replace(cell.key, seed=0), []).append(cell)
    if len(groups) < 2:
        raise RequestError(
            f"{directory} has {len(groups)} finished candidates, and a search needs some to choose from:"
            " replay a sweep of several backbones or freeze depths"
        )
    several = len({cell.row.image_size for cell in cells}) > 1
    arms, test = [], {}
    for members in groups.values():
        arm = _arm(members, several=several)
        arms.append(arm)
        test[arm] = fmean(measured(member.row.test_acc) for member in members)
    seeds = {len(arm.cells) for arm in arms if arm.epochs}
    if len(seeds) > 1:
        raise RequestError(
            f"{directory} has candidates with {min(seeds)} and with {max(seeds)} seeds, and a replay needs as many of"
            " each: run the sweep once more"
        )
    shared: dict[str, float] = {}
    for arm in arms:
        for cell in groups_of(arm, cells):
            rest = measured(cell.row.wall_seconds) - measured(cell.row.fit_seconds)
            shared[arm.network] = shared.get(arm.network, 0.0) + max(0.0, rest)
    return SweepHistory(
        tuple(arms),
        _final(directory, cells),
        {cell.cell_id: _curve(cell) for cell in cells if "training" in cell.trace},
        {cell.cell_id: measured(cell.row.fit_seconds) for cell in cells},
        shared,
        test,
        _tried(directory, cells),
    )


def groups_of(arm: Arm, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of an arm."""
    return [cell for cell in cells if cell.cell_id in arm.cells]


def _arm(members: Sequence[Cell], *, several: bool) -> Arm:
    first, row, recipe = members[0], members[0].row, members[0].identity["recipe"]
    network = first.key.network
    if several:
        network += f" {row.image_size} px"
    return Arm(
        network,
        str(row.family),
        row.freeze,
        tuple(member.cell_id for member in members),
        int(recipe["epochs"]) if "training" in first.trace else 0,
        row.imagenet_top1 or 0.0,
    )


def _curve(cell: Cell) -> Curve:
    trials = cell.trace["training"]["trials"]
    epochs = sum(len(trial["curve"]) for trial in trials)
    return Curve(first_curve(cell), measured(cell.row.fit_seconds) / max(1, epochs))


def _final(directory: Path, cells: Sequence[Cell]) -> dict[str, PerItemScores]:
    found, order = {}, None
    for cell in cells:
        try:
            stored = store.read_predictions(directory, cell.cell_id)
        except FileNotFoundError:
            raise RequestError(
                f"{directory} has no predictions of {cell.cell_id}: replay the folder in which the sweep ran"
            ) from None
        ids = sorted(stored["val_ids"].tolist())
        order = order or ids
        if order != ids:
            raise RequestError(f"{directory} has cells with other val images: a replay needs them to be the same")
        rows = np.argsort(stored["val_ids"])
        found[cell.cell_id] = metrics.tempered_logs(stored["val_probs"][rows], stored["val_labels"][rows])
    return found


def _tried(directory: Path, cells: Sequence[Cell]) -> dict[tuple[str, int], PerItemScores]:
    """What trials have shown of the trained cells, in the order of `_final`."""
    found = {}
    for cell in cells:
        trial = cell.trace.get("trial", {})
        if trial.get("epochs"):
            rows = np.argsort(store.read_predictions(directory, cell.cell_id)["val_ids"])
            found[cell.cell_id, trial["epochs"]] = np.array(trial["items"])[rows]
    return found
