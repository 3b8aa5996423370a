"""One job, in the process of its own: a backbone's cells from the frozen pass to their numbers.

`measure` is the way of every cell: what a network's cells share, what inference costs, then cell by cell the linear
probe or the training of what is not frozen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import keras

from backbench.backbones.graph import plain_keras
from backbench.core.cells import PlannedCell, cells_to_measure
from backbench.core.dataset import SPLITS
from backbench.core.events import COST_PHASES, SHARED_PHASES, CellFinished, CellStarted, Message, Phase, Summary
from backbench.core.job import Job, MeasureCells, Resources, ScreenBackbone
from backbench.core.timing import Clock, Emit
from backbench.evaluation import fine_tuning, inference_cost
from backbench.evaluation.cell_results import failed, finished, tried_training
from backbench.evaluation.checkpoints import keep_weights
from backbench.evaluation.scratch import ScratchNetwork
from backbench.evaluation.screening import screen
from backbench.evaluation.shared_pass import SharedPass, shared_pass
from backbench.features.device import environment

Network = SharedPass | ScratchNetwork


def run(job: Job, emit: Emit) -> None:
    """Do a job's task and emit each cell as it is finished, then a summary.

    A cell whose numbers are not finite is emitted as failed; whatever else goes wrong is raised: UnavailableError for
    what cannot be had here, anything else is a failure.
    """
    plain_keras(job.spec.precision)
    clock = Clock(emit)
    match job.task:
        case ScreenBackbone() as task:
            emit(screen(task, job.resources, clock))
        case MeasureCells() as task:
            for cell in measure(task, job.resources, clock):
                emit(cell)
    emit(Summary(job.label, {**clock.seconds}, environment(job.spec.engine)))


def measure(task: MeasureCells, resources: Resources, clock: Clock) -> Iterator[CellFinished]:
    """The cells of a task, each as soon as it is finished; those that others have taken over meanwhile are left out."""
    for cells in _by_network(task):
        before = clock.spent(*SHARED_PHASES, *COST_PHASES)
        network, unusable = _prepared(task, resources, cells, clock)
        for cell, error in unusable.items():
            if not resources.is_taken(cell.cell_id):
                yield failed(task.spec, cell, error)
        if network is None:
            continue
        cells = [cell for cell in cells if cell not in unusable]
        cost = _cost(task, resources, network, clock)
        share = (clock.spent(*SHARED_PHASES, *COST_PHASES) - before) / len(cells)
        if all(not cell.fully_frozen for cell in cells):  # else the probe is the fully frozen cell's own
            share += network.probe_seconds / len(cells)
        for cell in cells:
            if resources.is_taken(cell.cell_id):
                continue
            clock.emit(CellStarted(cell.cell_id))
            try:
                if isinstance(network, SharedPass) and cell.fully_frozen:
                    yield _probed(network, cell, cost, share, clock)
                else:
                    yield _trained(task, network, cell, cost, share, clock)
            except FloatingPointError as error:
                yield failed(task.spec, cell, error)


def _by_network(task: MeasureCells) -> list[list[PlannedCell]]:
    """The cells in the order in which they were asked for, together where they share a network.

    With random weights every seed has a network of its own; the hand-made CNN is built anew for each cell anyway.
    """
    cells = cells_to_measure(task.spec, task.cells)
    if order := task.cells:
        cells.sort(key=lambda cell: order.index(cell.cell_id))
    if task.spec.pretrained or task.spec.backbone.from_scratch:
        return [cells] if cells else []
    return [[cell for cell in cells if cell.seed == seed] for seed in dict.fromkeys(cell.seed for cell in cells)]


def _prepared(
    task: MeasureCells, resources: Resources, cells: list[PlannedCell], clock: Clock
) -> tuple[Network | None, Mapping[PlannedCell, FloatingPointError]]:
    """What the cells share, and the cells that cannot be measured since activations at their boundary are too large.

    The probe and `none` do not need these activations. Without a cell that is left there is no network.
    """
    spec = task.spec
    if spec.backbone.from_scratch:
        return ScratchNetwork(spec, resources), {}
    too_large: FloatingPointError
    try:
        return shared_pass(spec, resources, cells, clock), {}
    except FloatingPointError as error:
        too_large = error
    unusable = {cell: too_large for cell in cells if 0 < cell.frozen < cell.stages}
    left = [cell for cell in cells if cell not in unusable]
    if not left:
        return None, unusable
    uncut = replace(spec, freeze=tuple(freeze for freeze in spec.freeze if freeze in ("all", "none")))
    return shared_pass(uncut, resources, left, clock), unusable


def _cost(task: MeasureCells, resources: Resources, network: Network, clock: Clock) -> dict[str, Any]:
    """What inference costs, for the row of each cell; cells that are only tried have no such row."""
    if not task.schedule.complete:
        return {}
    with clock.phase(Phase.BUILDING):
        model, precision = network.deployed()
    return inference_cost.columns(task.spec, resources, model, clock, precision=precision)


def _probed(
    network: SharedPass, cell: PlannedCell, cost: Mapping[str, Any], share: float, clock: Clock
) -> CellFinished:
    """The fully frozen cell: the best linear probe on val."""
    began, spec, data = time.perf_counter(), network.spec, network.spec.dataset
    head, ran = network.probe.head, network.frozen.model.ran
    probabilities = {name: head(network.features, data.indices(name)) for name in SPLITS}
    model = None
    if not spec.pretrained:  # no file of pretrained weights holds such a network
        model = keep_weights(spec, network.resources, cell, network.base, clock, head=head)
    row = {
        **cost,
        "engine": ran.engine,
        "precision": ran.precision,
        "trainable_params": head.weights.size + head.bias.size,
        "fit_seconds": network.probe_seconds,
        "wall_seconds": share + network.probe_seconds + time.perf_counter() - began,
    }
    probe = {"path": [asdict(step) for step in network.probe.steps], "chosen": network.probe.chosen}
    trace: dict[str, Any] = {"probe": probe, "engine": asdict(ran)}
    if network.scores:
        row |= network.scores.columns()
        trace["transferability"] = asdict(network.scores)
    reason = ran.instead()
    return finished(spec, cell, probabilities, row=row, trace=trace, reason=reason, head=head, model=model)


def _trained(
    task: MeasureCells, network: Network, cell: PlannedCell, cost: Mapping[str, Any], share: float, clock: Clock
) -> CellFinished:
    """A cell of which something is trained; the network is left as it was."""
    spec, data, batch = task.spec, task.spec.dataset, network.resources.inference_batch
    before, began = clock.spent(network.phase, Phase.EVALUATION), time.perf_counter()
    keras.utils.set_random_seed(cell.seed)
    plan = fine_tuning.TrainingPlan.of(
        spec, seed=cell.seed, schedule=task.schedule, goal=network.goal, inference_batch=batch
    )
    try:
        with clock.phase(network.phase) as report:
            if task.schedule.complete and (text := network.announcement(cell, plan)):
                clock.emit(Message(text))
            part = network.trainable(cell)
            train, val = data.indices("train"), data.indices("val")
            trained = fine_tuning.train(
                part.model, part.batches, data.labels, train=train, val=val, plan=plan, progress=report
            )
        fit_seconds = time.perf_counter() - began
        clock.seconds[Phase.STARTING] = clock.spent(Phase.STARTING) + trained.starting
        if not task.schedule.complete:
            return tried_training(task, cell, part, batch=batch, seconds=fit_seconds)
        with clock.phase(Phase.EVALUATION):
            probabilities = {
                name: fine_tuning.predict(part.model, part.batches, data.indices(name), batch=batch) for name in SPLITS
            }
        weights = keep_weights(
            spec, network.resources, cell, part.network, clock, after=part.after, head=part.fitted_head()
        )
    finally:
        network.restore()
    ran = part.batches.engine
    row = {
        **cost,
        "engine": ran.engine if ran else "keras",
        "precision": network.precision,
        "trainable_params": part.parameters,
        "fit_seconds": fit_seconds,
        "wall_seconds": share + clock.spent(network.phase, Phase.EVALUATION) - before,
    }
    trace = {"training": trained.trace(), **network.trace(part)}
    reason = network.reason(part, trained)
    return finished(spec, cell, probabilities, row=row, trace=trace, reason=reason, model=weights)
