"""Gradient training: whole schedules and their last weights; another learning rate only where one has failed."""

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
from backbench.evaluation.lr_selection import Epoch, LearningRateRun, best
from backbench.features.engines import keras_engine

# Batches that are made ahead of the one that is trained on.
AHEAD = 4


# Everything that training changes in a model, as `state_of` reads it.
State = list[NDArray[Any]]


@dataclass(frozen=True)
class Trained:
    """What training led to: the score at its start, all learning rates that were tried, and which was kept.

    `starting` are the seconds until the first step was over, most of which go to compiling.
    """

    start: Epoch
    runs: tuple[LearningRateRun, ...]
    chosen: int
    starting: float = field(default=0.0, compare=False)

    @property
    def last(self) -> Epoch:
        """The end of the schedule that was kept."""
        return self.runs[self.chosen].curve[-1]

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        return {
            "start": asdict(self.start),
            "trials": [run.trace() for run in self.runs],
            "chosen": self.chosen,
            "epoch": self.last.epoch,
        }


@dataclass(frozen=True)
class TrainingPlan:
    """How a cell is trained: everything of the recipe that options or a budget set.

    `goal` is the accuracy on val that a learning rate has to reach, or the next one is tried.
    """

    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    seed: int
    goal: float = -math.inf
    inference_batch: int = INFERENCE_BATCH

    @classmethod
    def of(cls, spec: JobSpec, *, seed: int, schedule: Schedule, goal: float, inference_batch: int) -> TrainingPlan:
        """The plan of a cell; one that is only tried takes the first learning rate and a shorter schedule."""
        rates = recipe.LEARNING_RATES if spec.pretrained else recipe.LEARNING_RATES_FROM_SCRATCH
        rates = rates if schedule.complete else rates[:1]
        return cls(schedule.epochs or spec.epochs, spec.batch_size, rates, seed, goal, inference_batch)


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
    """Train a model that gives logits, in place, with AdamW, warm-up and cosine, to the end of the schedule.

    The last weights count: val, which may have two hundred images, cannot tell one epoch from the next, nor one sound
    learning rate from another. A second is tried only where the first ends below `plan.goal`, a third where both do;
    of several the one that ends best on val is kept. Every rate starts at the model's present weights and sees the same
    batches. labels [n] of all items of the dataset, `train` and `val` positions of items. A model that was trained here
    before keeps its compiled steps. Raises DivergedError when every rate diverges.
    """
    began = time.perf_counter()
    if not model.compiled:  # else by an earlier call, and its steps are the same
        model.compile(
            optimizer=keras.optimizers.AdamW(
                plan.learning_rates[0], weight_decay=recipe.WEIGHT_DECAY, global_clipnorm=recipe.GRADIENT_NORM
            ),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
        )
        model.optimizer.build(model.trainable_variables)
    schedules = _Schedules(model, batches, labels, train, val, plan)
    beginning = final = state_of(model)
    start, runs = schedules.scored(0, None), list[LearningRateRun]()
    for position, rate in enumerate(plan.learning_rates):
        restore(model, beginning)
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        runs.append(schedules.run(rate, partial(_report, progress, position * plan.epochs)))
        if not runs[-1].diverged and best(runs) == position:
            final = state_of(model)
        if not runs[-1].diverged and runs[-1].curve[-1].val_acc >= plan.goal:
            break
    chosen = best(runs)
    restore(model, final)
    return Trained(start, tuple(runs), chosen, schedules.first_step - began)


def _report(progress: Callable[[int, int], None] | None, before: int, epoch: int, epochs: int) -> None:
    if progress:
        progress(before + epoch, before + epochs)


@dataclass
class _Schedules:
    """Training at one learning rate after the other; `first_step` is when the very first step was over."""

    model: keras.Model
    batches: Batches
    labels: NDArray[np.int64]
    train: Items
    val: Items
    plan: TrainingPlan
    first_step: float = 0.0

    def run(self, rate: float, progress: Callable[[int, int], None]) -> LearningRateRun:
        """The whole schedule of one learning rate, unless it diverges."""
        rng, curve = np.random.default_rng(self.plan.seed), list[Epoch]()
        for epoch in range(1, self.plan.epochs + 1):
            point = self.scored(epoch, self._epoch(epoch, rate, rng))
            if not math.isfinite(point.score):
                return LearningRateRun(rate, tuple(curve), diverged=True)
            curve.append(point)
            progress(epoch, self.plan.epochs)
        return LearningRateRun(rate, tuple(curve))

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
