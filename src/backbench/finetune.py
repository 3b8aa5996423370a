"""Gradient training: every choice on val, the best epoch restored, the curve kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench import metrics
from backbench.activations import batches
from backbench.augment import light
from backbench.engines import keras_engine

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
WARM_UP = 0.1
# Epochs without a better one on val before training stops, as a share of all epochs.
PATIENCE = 0.2


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curve; the training loss is the running mean of the epoch, for looking at only."""

    epoch: int
    loss: float
    val_acc: float
    val_nll: float
    score: float


@dataclass(frozen=True)
class Trained:
    """What training led to: the curve and the epoch that was kept."""

    curve: tuple[Epoch, ...]
    best_epoch: int

    def trace(self) -> dict[str, Any]:
        """The same as JSON-able content."""
        return {"curve": [asdict(epoch) for epoch in self.curve], "best_epoch": self.best_epoch}


class Shuffled(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Training batches, augmented if asked, from memory-mapped pixels, in a new order every epoch."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        batch_size: int,
        augment: str,
        flips: bool,
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        self.pixels, self.rows, self.labels = pixels, rows, labels
        self.batch_size, self.augment, self.flips, self.rng = batch_size, augment, flips, rng
        self.order = rng.permutation(len(rows))

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.pixels[self.rows[chosen]]
        if self.augment == "light":
            images = light(images, flips=self.flips, rng=self.rng)
        return images, self.labels[chosen]

    def on_epoch_end(self) -> None:
        """Called by Keras: shuffle anew."""
        self.order = self.rng.permutation(len(self.rows))


class _KeepBest(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Scores val after every epoch, keeps the best weights and stops when they no longer improve."""

    def __init__(
        self,
        score: Callable[[], tuple[float, float, float]],
        *,
        patience: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        super().__init__()
        self.score, self.patience, self.progress = score, patience, progress
        self.curve: list[Epoch] = []
        self.best: list[NDArray[Any]] = []
        self.best_epoch = -1

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        loss = float((logs or {}).get("loss", np.nan))
        if not np.isfinite(loss):
            self.model.stop_training = True
            return
        val_acc, val_nll, score = self.score()
        if not np.isfinite(score):
            self.model.stop_training = True
            return
        if self.best_epoch < 0 or score > self.curve[self.best_epoch].score:
            self.best, self.best_epoch = self.model.get_weights(), len(self.curve)
        self.curve.append(Epoch(epoch + 1, loss, val_acc, val_nll, score))
        if len(self.curve) - 1 - self.best_epoch >= self.patience:
            self.model.stop_training = True
        if self.progress:
            self.progress(epoch + 1)


def train(
    model: keras.Model,
    training: Shuffled,
    *,
    pixels: NDArray[np.uint8],
    val_rows: NDArray[np.int64],
    val_labels: NDArray[np.int64],
    epochs: int,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Train in place with AdamW, warm-up and cosine; the model ends with the weights of its best epoch on val.

    Raises FloatingPointError when the loss diverges before the first epoch is over.
    """
    steps = epochs * len(training)
    warm_up = max(1, round(WARM_UP * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, steps - warm_up), warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(),
    )

    def score() -> tuple[float, float, float]:
        found = predict(model, pixels, val_rows)
        return (
            metrics.accuracy(found, val_labels),
            metrics.nll(found, val_labels),
            metrics.selection_score(found, val_labels),
        )

    keeper = _KeepBest(score, patience=max(3, round(PATIENCE * epochs)), progress=progress)
    model.fit(training, epochs=epochs, verbose=0, callbacks=[keeper])
    if keeper.best_epoch < 0:
        raise FloatingPointError("the loss was not finite in the first epoch: training diverged")
    model.set_weights(keeper.best)
    return Trained(tuple(keeper.curve), keeper.curve[keeper.best_epoch].epoch)


def predict(model: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Class probabilities [n, C] of `pixels[rows]` in inference mode, without augmentation."""
    return np.concatenate(list(keras_engine.forward(model, batches(pixels, rows))))
