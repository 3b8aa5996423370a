"""Gradient training: several learning rates race, every choice is made on val, the best epoch is restored."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from backbench.analysis import metrics
from backbench.core import recipe
from backbench.core.job import INFERENCE_BATCH
from backbench.evaluation.batches import Arrays, Batches, Items
from backbench.evaluation.lr_selection import BEHIND, DivergedError, Epoch, LearningRateRun
from backbench.features.engines import keras_engine

# Batches that are made ahead of the one that is trained on.
AHEAD = 4


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


def train(
    model: keras.Model,
    source: Batches,
    labels: NDArray[np.int64],
    *,
    train: Items,
    val: Items,
    epochs: int,
    batch_size: int,
    rates: Sequence[float],
    seed: int,
    stop_after: int | None = None,
    inference_batch: int = INFERENCE_BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a model that gives logits, in place, with AdamW, warm-up and cosine; it ends with the best weights on val.

    labels [n] of all items of the dataset, `train` and `val` positions of items; every rate starts at the model's
    present weights and sees the same batches. A model that was trained here before keeps its compiled steps.
    `stop_after` cuts off after so many epochs of a schedule that is made for all of them, so that what it shows is the
    beginning of the whole. Raises DivergedError when every rate diverges before its first epoch is over.
    """
    began = time.perf_counter()
    stepped: list[float] = []
    if not model.compiled:  # else by an earlier call, and its steps are the same
        model.compile(
            optimizer=keras.optimizers.AdamW(rates[0], weight_decay=recipe.WEIGHT_DECAY),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.LABEL_SMOOTHING),
        )
        model.optimizer.build(model.trainable_variables)
    beginning = state_of(model)
    start = Epoch(0, None, *_scores(model, source, labels, val, inference_batch))
    trials: list[LearningRateRun] = []
    chosen, best_state = -1, beginning
    for position, rate in enumerate(rates):
        restore(model, beginning)
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        trial, state = _trial(
            model,
            source,
            labels,
            train=train,
            val=val,
            epochs=epochs,
            stop_after=stop_after or epochs,
            batch_size=batch_size,
            inference_batch=inference_batch,
            rate=rate,
            rng=np.random.default_rng(seed),
            rival=trials[chosen] if chosen >= 0 else None,
            stepped=stepped,
            progress=lambda done, position=position: (
                progress and progress(position * epochs + done, len(rates) * epochs)
            ),  # type: ignore[misc]
        )
        trials.append(trial)
        if state and (chosen < 0 or trial.best > trials[chosen].best):
            chosen, best_state = position, state
    if chosen < 0:
        raise DivergedError(trials)
    restore(model, best_state)
    best = max(trials[chosen].curve, key=lambda point: point.score)  # the first, should there be two
    return Trained(start, tuple(trials), chosen, best, stepped[0] - began)


def _trial(
    model: keras.Model,
    source: Batches,
    labels: NDArray[np.int64],
    *,
    train: Items,
    val: Items,
    epochs: int,
    stop_after: int,
    batch_size: int,
    inference_batch: int,
    rate: float,
    rng: np.random.Generator,
    rival: LearningRateRun | None,
    stepped: list[float],
    progress: Callable[[int], None],
) -> tuple[LearningRateRun, list[NDArray[Any]] | None]:
    """One learning rate until it stops getting better, diverges or falls behind; and the state of its best epoch."""
    patience = max(recipe.LEAST_PATIENCE, round(recipe.PATIENCE * epochs))
    steps = max(1, len(train) // batch_size)  # whole batches: one shape, one compiled step; the rest differs by epoch
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)
    curve: list[Epoch] = []
    kept: list[NDArray[Any]] | None = None
    best = -1
    for epoch in range(1, epochs + 1):
        model.reset_metrics()
        loss = math.nan
        for step, (items, inputs) in enumerate(
            _batches(source, rng.permutation(train)[: steps * batch_size], batch_size, rng)
        ):
            model.optimizer.learning_rate = schedule(rate, (epoch - 1) * steps + step, epochs * steps)
            loss = float(model.train_on_batch(inputs if len(inputs) > 1 else inputs[0], one_hot[labels[items]]))
            if not stepped:
                stepped.append(time.perf_counter())
        finite = math.isfinite(loss)
        val_acc, val_nll, score = _scores(model, source, labels, val, inference_batch) if finite else (math.nan,) * 3
        if not (math.isfinite(loss) and math.isfinite(score)):
            return LearningRateRun(rate, tuple(curve), "diverged"), kept
        if not curve or score > curve[best].score:
            kept, best = state_of(model), len(curve)
        curve.append(Epoch(epoch, loss, val_acc, val_nll, score))
        progress(epoch)
        if epoch in (epochs, stop_after):
            break
        if round((1 - val_acc) * len(val)) <= recipe.LEFT_ON_VAL and len(curve) - 1 == best:
            return LearningRateRun(rate, tuple(curve), "val is as good as solved"), kept
        if len(curve) - 1 - best >= patience:
            return LearningRateRun(rate, tuple(curve), "no longer better"), kept
        trial = LearningRateRun(rate, tuple(curve), BEHIND)
        if rival and trial.behind(rival, epoch):
            return trial, kept
    return LearningRateRun(rate, tuple(curve), "all epochs"), kept


def schedule(rate: float, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) of `steps`: linear warm-up (`recipe.WARM_UP`), then a cosine to zero."""
    warm_up = max(1, round(recipe.WARM_UP * steps))
    if step < warm_up:
        return rate * (step + 1) / warm_up
    return rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def state_of(model: keras.Model) -> list[NDArray[Any]]:
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


def _scores(
    model: keras.Model, source: Batches, labels: NDArray[np.int64], items: Items, batch: int
) -> tuple[float, float, float]:
    found = predict(model, source, items, batch=batch)
    if not np.isfinite(found).all():
        return math.nan, math.nan, math.nan
    truth = labels[items]
    return metrics.accuracy(found, truth), metrics.nll(found, truth), metrics.selection_score(found, truth)


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
