"""One job: one backbone, all its cells. The only place where data, model and metrics meet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np

from backbench.backbones import graph, scratch_cnn
from backbench.backbones.graph import plain_keras
from backbench.core import recipe
from backbench.core.backbone import Backbone
from backbench.core.cells import PlannedCell, augment_of
from backbench.core.cells import cells_to_measure as cells_wanted
from backbench.core.dataset import SPLITS
from backbench.core.events import COST_PHASES, SHARED_PHASES, CellStarted, Message, Phase, Summary
from backbench.core.job import Job
from backbench.core.timing import Clock, Emit
from backbench.evaluation import fine_tuning, inference_cost, screening, trainable_part
from backbench.evaluation.batches import Batches, PixelBatches, RecomputedActivationBatches, StoredActivationBatches
from backbench.evaluation.cell_results import failed, finished
from backbench.evaluation.checkpoints import keep_weights
from backbench.evaluation.shared_pass import Network, pass_through
from backbench.features.device import environment
from backbench.features.frozen_model import frozen_up_to, views_of
from backbench.features.frozen_pass import sample


def run(job: Job, emit: Emit) -> None:
    """Measure every wanted cell of a job and emit each as it is finished, then a summary.

    A cell whose numbers are not finite is emitted as failed; whatever else goes wrong is raised: UnavailableError for
    what cannot be had here, anything else is a failure.
    """
    plain_keras(job.precision)
    wanted = cells_wanted(job)
    if asked := job.wanted:  # in the order in which they were asked for
        wanted.sort(key=lambda cell: asked.index(cell.cell_id))
    clock = Clock(emit)
    if not wanted:
        pass
    elif job.trial and job.trial.images and job.backbone:
        screening.screen(job, job.backbone, wanted[0], clock)
    elif job.backbone is None:
        _scratch_cells(job, wanted, clock)
    elif job.pretrained:
        _backbone_cells(job, job.backbone, wanted, clock)
    else:
        for seed in dict.fromkeys(cell.seed for cell in wanted):
            _backbone_cells(job, job.backbone, [cell for cell in wanted if cell.seed == seed], clock)
    emit(Summary(job.label, {**clock.seconds}, environment(job.engine)))


def _backbone_cells(job: Job, backbone: Backbone, wanted: list[PlannedCell], clock: Clock) -> None:
    """One pass for all depths, then the probe, then the fine-tuned cells, which start from it."""
    before, before_cost = clock.spent(*SHARED_PHASES), clock.spent(*COST_PHASES)
    too_large: FloatingPointError | None = None
    try:
        network = pass_through(job, backbone, wanted, clock)
    except FloatingPointError as error:
        too_large = error
    if too_large:  # activations between the first stage and the last: the probe and `none` do not need them
        for cell in wanted:
            if 0 < cell.frozen < cell.stages and not job.is_taken(cell.cell_id):
                clock.emit(failed(job, cell, too_large))
        wanted = [cell for cell in wanted if cell.frozen in (0, cell.stages)]
        if not wanted:
            return
        without = replace(job, freeze=tuple(freeze for freeze in job.freeze if freeze in ("all", "none")))
        network = pass_through(without, backbone, wanted, clock)
    columns = {} if job.trial else _cost(job, network, clock)
    shared = (clock.spent(*SHARED_PHASES) - before + clock.spent(*COST_PHASES) - before_cost) / len(wanted)
    if all(cell.frozen < cell.stages for cell in wanted):  # else the probe is the fully frozen cell's own
        shared += network.probe_seconds / len(wanted)
    probed = {"path": [asdict(step) for step in network.path.steps], "chosen": network.path.chosen}
    for cell in wanted:
        if job.is_taken(cell.cell_id):
            continue
        clock.emit(CellStarted(cell.cell_id))
        began = time.perf_counter()
        try:
            if cell.frozen == cell.stages:
                head, data = network.path.head, job.dataset
                found = {name: head(network.features, data.indices(name)) for name in SPLITS}
                row = columns | {
                    "engine": network.ran.engine,
                    "precision": network.ran.precision,
                    "trainable_params": head.weights.size + head.bias.size,
                    "fit_seconds": network.probe_seconds,
                    "wall_seconds": shared + network.probe_seconds + time.perf_counter() - began,
                    **(network.scores.columns() if network.scores else {}),
                }
                random = None if job.pretrained else keep_weights(job, cell, network.base, clock, head=head)
                trace = {"probe": probed, "engine": asdict(network.ran)}
                trace |= {"transferability": asdict(network.scores)} if network.scores else {}
                why = network.ran.instead()
                clock.emit(finished(job, cell, found, row=row, trace=trace, reason=why, head=head, model=random))
            else:
                _fine_tuned(job, network, cell, columns, shared, clock)
        except FloatingPointError as error:
            clock.emit(failed(job, cell, error))


def _source(job: Job, network: Network, cell: PlannedCell) -> tuple[Batches, Sequence[float]]:
    """What the trained part of a cell reads, and the scales of its inputs."""
    data, pixels = job.dataset, job.images()
    if cell.frozen == 0:
        augment = augment_of(job, 0) != "none"
        return PixelBatches(pixels, data.rows, augment=augment, flips=data.flips), []
    if cell.frozen in network.kept:
        kept = network.kept[cell.frozen]
        return StoredActivationBatches(kept), kept.scales
    prefix = frozen_up_to(job, network.backbone, network.body, [cell.frozen], seed=cell.seed, pooled=False)
    prefix.settle(sample(pixels, data.rows))
    return RecomputedActivationBatches(prefix, pixels, data.rows, views=views_of(job), flips=data.flips), prefix.scales


def _tail(job: Job, network: Network, cell: PlannedCell, scales: Sequence[float]) -> keras.Model:
    """What is trained of the network, its head at the probe's solution. Seeds share it, and what it has compiled."""
    if cell.frozen not in network.tails:
        network.tails.clear()  # each holds the memory of its compiled steps, and the cells come depth by depth
        base, start, options = network.base, network.start, {"pretrained": job.pretrained}
        with graph.computing_in(network.precision):
            if cell.frozen:
                tail = trainable_part.trainable_tail(base, network.boundaries[cell.frozen], scales, start, **options)
            else:
                tail = trainable_part.trainable_model(base, network.backbone, start, **options)
        network.tails[cell.frozen] = tail
    model = network.tails[cell.frozen]
    model.get_layer("head").set_weights([network.start.weights, network.start.bias])
    return model


def _fine_tuned(
    job: Job, network: Network, cell: PlannedCell, columns: dict[str, Any], shared: float, clock: Clock
) -> None:
    """Train what is not frozen, from the probe's solution, then leave the network as it was."""
    data = job.dataset
    before = clock.spent(Phase.FINE_TUNING, Phase.EVALUATION)
    began = time.perf_counter()
    keras.utils.set_random_seed(cell.seed)
    try:
        with clock.phase(Phase.FINE_TUNING) as report:
            source, scales = _source(job, network, cell)
            if cell.frozen == 0 and not job.trial:
                clock.emit(Message(_estimate(job, cell, network)))
            model = _tail(job, network, cell, scales)
            trained = fine_tuning.train(
                model,
                source,
                data.labels,
                train=data.indices("train"),
                val=data.indices("val"),
                epochs=job.epochs,
                batch_size=job.batch_size,
                rates=_rates(job),
                seed=cell.seed,
                stop_after=job.trial.epochs if job.trial else None,
                inference_batch=job.inference_batch,
                progress=report,
            )
        fit_seconds = time.perf_counter() - began
        clock.seconds[Phase.STARTING] = clock.spent(Phase.STARTING) + trained.starting
        if job.trial:
            clock.emit(screening.trained(job, cell, model, source, seconds=fit_seconds))
            return
        with clock.phase(Phase.EVALUATION):
            found = {
                name: fine_tuning.predict(model, source, data.indices(name), batch=job.inference_batch)
                for name in SPLITS
            }
        head = trainable_part.raw_head(network.start, *model.get_layer("head").get_weights())
        after = network.boundaries.get(cell.frozen) if job.pretrained else None
        kept = keep_weights(job, cell, network.base, clock, after=after, head=head)
    finally:
        fine_tuning.restore(network.base, network.state)
    ran = source.prefix.ran if isinstance(source, RecomputedActivationBatches) else network.ran if cell.frozen else None
    row = columns | {
        "engine": ran.engine if ran else "keras",
        "precision": network.precision,
        "trainable_params": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "fit_seconds": fit_seconds,
        "wall_seconds": shared + clock.spent(Phase.FINE_TUNING, Phase.EVALUATION) - before,
    }
    path = network.path
    trace = {
        "training": trained.trace(),
        "start_strength": path.steps[path.gentle(len(data.indices("val")))].strength if job.pretrained else None,
        "probe_score": path.steps[path.chosen].score,
        "inputs": type(source).__name__,
        "engine": asdict(ran) if ran else None,
    }
    rest = network.precision if network.precision != job.precision else ""
    telling = ran if ran and ran.reason else network.ran  # a prefix may stand a check that the features did not
    reasons = [telling.instead(frozen=telling is ran, trained=rest)]
    if trained.best.score <= path.steps[path.chosen].score:
        reasons.append("no learning rate beat the frozen probe on val")
    if isinstance(source, RecomputedActivationBatches):
        reasons.append("the boundary's activations did not fit the disk budget and were computed anew for every batch")
    clock.emit(finished(job, cell, found, row=row, trace=trace, reason="; ".join(filter(None, reasons)), model=kept))


def _rates(job: Job) -> tuple[float, ...]:
    rates = recipe.LEARNING_RATES if job.pretrained else recipe.LEARNING_RATES_FROM_SCRATCH
    return rates[:1] if job.trial else rates


def _cost(job: Job, network: Network, clock: Clock) -> dict[str, Any]:
    own = job.engine == "keras"  # exports of what another engine ran are float32
    body = graph.frozen_part(network.base if own else network.body, network.backbone)
    model = inference_cost.deployed(body, len(job.dataset.class_names))
    return inference_cost.columns(job, model, clock, precision=network.precision if own else "float32")


def _estimate(job: Job, cell: PlannedCell, network: Network) -> str:
    """How long training everything will take at most, from the frozen pass: a training step is about three of it."""
    data, rates = job.dataset, len(_rates(job))
    passes = 3 * len(data.indices("train")) + len(data.indices("val"))
    an_epoch = network.pass_seconds * passes / len(data.ids)
    minutes = max(1, round(an_epoch * job.epochs * rates / 60))
    trials = (
        f"{rates} learning rates, at most {job.epochs} epochs each" if rates > 1 else f"at most {job.epochs} epochs"
    )
    return f"{job.label} @ {cell.freeze}: training all of it takes up to {minutes} min ({trials})"


def _scratch_cells(job: Job, wanted: list[PlannedCell], clock: Clock) -> None:
    """The hand-made CNN, trained from pixels once per seed."""
    data, pixels = job.dataset, job.images()
    source = PixelBatches(pixels, data.rows, augment=augment_of(job, 0) != "none", flips=data.flips)
    columns: dict[str, Any] = {}
    own = (Phase.BUILDING, Phase.TRAINING, Phase.EVALUATION)
    for cell in wanted:
        if job.is_taken(cell.cell_id):
            continue
        clock.emit(CellStarted(cell.cell_id))
        before = clock.spent(*own)
        keras.utils.set_random_seed(cell.seed)
        with clock.phase(Phase.BUILDING):
            model = scratch_cnn.build(image_size=job.image_size, classes=len(data.class_names))
        columns = (
            {}
            if job.trial
            else columns or inference_cost.columns(job, inference_cost.deployed(model), clock, precision=job.precision)
        )
        began = time.perf_counter()
        try:
            with clock.phase(Phase.TRAINING) as report:
                trained = fine_tuning.train(
                    model,
                    source,
                    data.labels,
                    train=data.indices("train"),
                    val=data.indices("val"),
                    epochs=job.epochs,
                    batch_size=job.batch_size,
                    rates=recipe.LEARNING_RATES_FROM_SCRATCH,
                    seed=cell.seed,
                    stop_after=job.trial.epochs if job.trial else None,
                    inference_batch=job.inference_batch,
                    progress=report,
                )
            fit_seconds = time.perf_counter() - began
            clock.seconds[Phase.STARTING] = clock.spent(Phase.STARTING) + trained.starting
            if job.trial:
                clock.emit(screening.trained(job, cell, model, source, seconds=fit_seconds))
                continue
            with clock.phase(Phase.EVALUATION):
                found = {
                    name: fine_tuning.predict(model, source, data.indices(name), batch=job.inference_batch)
                    for name in SPLITS
                }
            row = columns | {
                "engine": "keras",
                "trainable_params": model.count_params(),
                "fit_seconds": fit_seconds,
                "wall_seconds": clock.spent(*own) - before + clock.spent(*COST_PHASES) / len(wanted),
            }
            kept = keep_weights(job, cell, model, clock)
            clock.emit(finished(job, cell, found, row=row, trace={"training": trained.trace()}, model=kept))
        except FloatingPointError as error:
            clock.emit(failed(job, cell, error))
