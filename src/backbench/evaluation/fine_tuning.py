"""Gradient training: several learning rates race, every choice is made on val, the best epoch is restored."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from backbench.analysis import metrics
from backbench.core import recipe
from backbench.core.job import INFERENCE_BATCH, JobSpec, Schedule
from backbench.evaluation.batches import Arrays, Batches, Items
from backbench.evaluation.lr_selection import DivergedError, Epoch, LearningRateRun, LearningRateSelection
from backbench.features.engines import keras_engine

# Batches that are made ahead of the one that is trained on.
AHEAD = 4


# Everything that training changes in a model, as `state_of` reads it.
State = list[NDArray[Any]]


@dataclass(frozen=True)
class Trained:
    """What training led to: the score at its start, all trials, which was kept, and the epoch of its weights.

    `starting` are the seconds until the first step was over, most of which go to compiling.
    """

    start: Epoch
    trials: tuple[LearningRateRun, ...]
    chosen: int
    best: Epoch
    starting: float = field(default=0.0, compare=False)

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        return {
            "start": asdict(self.start),
            "trials": [trial.trace() for trial in self.trials],
            "chosen": self.chosen,
            "best_epoch": self.best.epoch,
        }


@dataclass(frozen=True)
class TrainingPlan:
    """How a cell is trained: everything of the recipe that options or a budget set."""

    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    seed: int
    stop_after: int | None = None
    inference_batch: int = INFERENCE_BATCH

    @classmethod
    def of(cls, spec: JobSpec, *, seed: int, schedule: Schedule, inference_batch: int) -> TrainingPlan:
        """The plan of a cell; one that is only tried takes the first learning rate."""
        rates = recipe.LEARNING_RATES if spec.pretrained else recipe.LEARNING_RATES_FROM_SCRATCH
        rates = rates if schedule.complete else rates[:1]
        return cls(spec.epochs, spec.batch_size, rates, seed, schedule.stop_after, inference_batch)


def train(
    model: keras.Model,
    batches: Batches,
    labels: NDArray[np.int64],
    *,
    train: Items,
    val: Items,
    plan: TrainingPlan,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a model that gives logits, in place, with AdamW, warm-up and cosine; it ends with the best weights on val.

    labels [n] of all items of the dataset, `train` and `val` positions of items; every rate starts at the model's
    present weights and sees the same batches. A model that was trained here before keeps its compiled steps.
    `stop_after` cuts off after so many epochs of a schedule that is made for all of them, so that what it shows is the
    beginning of the whole. Raises DivergedError when every rate diverges before its first epoch is over.
    """
    began = time.perf_counter()
    if not model.compiled:  # else by an earlier call, and its steps are the same
        model.compile(
            optimizer=keras.optimizers.AdamW(plan.learning_rates[0], weight_decay=recipe.WEIGHT_DECAY),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
        )
        model.optimizer.build(model.trainable_variables)
    last = plan.stop_after or plan.epochs
    selection = LearningRateSelection(epochs=plan.epochs, stop_after=last, val=len(val))
    run = _Run(model, batches, labels, train, val, plan, selection)
    beginning = best = state_of(model)
    start = run.scored(0, None)
    total = len(plan.learning_rates) * plan.epochs
    for position, rate in enumerate(plan.learning_rates):
        restore(model, beginning)
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        ended, state = run.at(rate, partial(_report, progress, position * plan.epochs, total))
        if selection.take(ended):
            best = state
    if selection.chosen is None:
        raise DivergedError(selection.runs)
    restore(model, best)
    epoch = max(selection.runs[selection.chosen].curve, key=lambda point: point.score)  # the first, should there be two
    return Trained(start, tuple(selection.runs), selection.chosen, epoch, run.first_step - began)


def _report(progress: Callable[[int, int], None] | None, before: int, total: int, epoch: int) -> None:
    if progress:
        progress(before + epoch, total)


@dataclass
class _Run:
    """Training at one learning rate after the other; `first_step` is when the very first step was over."""

    model: keras.Model
    batches: Batches
    labels: NDArray[np.int64]
    train: Items
    val: Items
    plan: TrainingPlan
    selection: LearningRateSelection
    first_step: float = 0.0

    def at(self, rate: float, progress: Callable[[int], None]) -> tuple[LearningRateRun, State]:
        """One learning rate until the selection ends it or it diverges; and the state of its best epoch."""
        rng, curve = np.random.default_rng(self.plan.seed), list[Epoch]()
        best = state_of(self.model)
        for epoch in range(1, self.plan.epochs + 1):
            point = self.scored(epoch, self._epoch(epoch, rate, rng))
            if not math.isfinite(point.score):
                return LearningRateRun(rate, tuple(curve), "diverged"), best
            if all(point.score > earlier.score for earlier in curve):
                best = state_of(self.model)
            curve.append(point)
            progress(epoch)
            if why := self.selection.ended(curve):
                return LearningRateRun(rate, tuple(curve), why), best
        raise AssertionError("the selection ends every run with its last epoch")

    def scored(self, epoch: int, loss: float | None) -> Epoch:
        """The point of the learning curve where the network is now; NaN where it has diverged."""
        if loss is not None and not math.isfinite(loss):
            return Epoch(epoch, loss, math.nan, math.nan, math.nan)
        probabilities = predict(self.model, self.batches, self.val, batch=self.plan.inference_batch)
        if not np.isfinite(probabilities).all():
            return Epoch(epoch, loss, math.nan, math.nan, math.nan)
        truth = self.labels[self.val]
        scores = (metric(probabilities, truth) for metric in (metrics.accuracy, metrics.nll, metrics.selection_score))
        return Epoch(epoch, loss, *scores)

    def _epoch(self, epoch: int, rate: float, rng: np.random.Generator) -> float:
        """Train for one epoch of whole batches: one shape, one compiled step; the rest differs by epoch. Its loss."""
        size, model = self.plan.batch_size, self.model
        steps = max(1, len(self.train) // size)
        one_hot = np.eye(model.output_shape[-1], dtype=np.float32)
        model.reset_metrics()
        loss = math.nan
        order = rng.permutation(self.train)[: steps * size]
        for step, (items, inputs) in enumerate(_batches(self.batches, order, size, rng)):
            model.optimizer.learning_rate = schedule(rate, (epoch - 1) * steps + step, self.plan.epochs * steps)
            loss = float(model.train_on_batch(inputs if len(inputs) > 1 else inputs[0], one_hot[self.labels[items]]))
            self.first_step = self.first_step or time.perf_counter()
        return loss


def schedule(rate: float, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) of `steps`: linear warm-up (`recipe.WARM_UP`), then a cosine to zero."""
    warm_up = max(1, round(recipe.WARM_UP * steps))
    if step < warm_up:
        return rate * (step + 1) / warm_up
    return rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def state_of(model: keras.Model) -> State:
    """Everything that training changes: weights, moving statistics, and the seeds of dropout."""
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in _variables(model)]


def restore(model: keras.Model, state: Sequence[NDArray[Any]]) -> None:
    """Put back what `state_of` has read."""
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    counters = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in counters]


def predict(model: keras.Model, source: Batches, items: Items, *, batch: int = INFERENCE_BATCH) -> NDArray[np.float32]:
    """Class probabilities [n, C] of items in inference mode, without augmentation, at most `batch` at a time."""
    parts = (source.clean(items[start : start + batch]) for start in range(0, len(items), batch))
    logits = np.concatenate([output for (output,) in keras_engine.forward(model, parts)])
    probabilities: NDArray[np.float32] = softmax(logits, axis=1).astype(np.float32)
    return probabilities


def _batches(source: Batches, order: Items, size: int, rng: np.random.Generator) -> Iterator[tuple[Items, Arrays]]:
    """Items in the given order with their inputs, a batch at a time; some are made ahead, in a second thread."""
    parts = (order[start : start + size] for start in range(0, len(order), size))
    if not source.threaded:
        yield from ((part, source.training(part, rng)) for part in parts)
        return
    pending: deque[tuple[Items, Future[Arrays]]] = deque()
    with ThreadPoolExecutor(1) as pool:  # one thread: batches are made in their order, so that the draws are the same
        for part in parts:
            pending.append((part, pool.submit(source.training, part, rng)))
            if len(pending) > AHEAD:
                items, inputs = pending.popleft()
                yield items, inputs.result()
        yield from ((items, inputs.result()) for items, inputs in pending)
