"""The linear probe: multinomial logistic regression along a path of L2 strengths, to convergence, chosen on val.

Minimised for each strength s: mean cross-entropy + s/2 ||W||^2, bias free, on features standardised on train.
The features are rotated to the eigenbasis of their covariance, which is exact under L2 and makes L-BFGS quick: there a
diagonal scaling by 1/sqrt(curvature x eigenvalue + s) is close to the inverse Hessian. Each strength starts at the
solution of the stronger one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from threadpoolctl import ThreadpoolController

from backbench.metrics import accuracy, nll, selection_score

# Twelve strengths, two per decade, from too strong to too weak.
STRENGTHS = tuple(float(s) for s in 10.0 ** (0.5 - np.arange(12) / 2))

# The objective is s-strongly convex in W: a gradient of norm g puts W within g/s of the optimum and the value within
# g^2/(2s) of the smallest. Stopping at g <= TOLERANCE s ||W|| leaves less than TOLERANCE^2, a thousandth, of the penalty.
TOLERANCE = 3e-2
MAX_ITERATIONS = 500

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features: softmax(X @ weights + bias); weights [d, C], bias [C]."""

    weights: Floats
    bias: Floats

    def __call__(self, features: NDArray[Any]) -> Floats:
        """Class probabilities [n, C] of features [n, d]."""
        logits = np.asarray(features, np.float32) @ self.weights + self.bias
        return np.asarray(softmax(logits, axis=1), np.float32)


@dataclass(frozen=True)
class Step:
    """One strength of the path: how well it was solved and what it gives."""

    strength: float
    iterations: int
    objective: float
    gradient: float
    converged: bool
    train_acc: float
    val_acc: float
    val_nll: float
    score: float


@dataclass(frozen=True)
class ProbePath:
    """The whole path from strong to weak, the chosen step and its head."""

    steps: tuple[Step, ...]
    chosen: int
    head: Head


@dataclass(frozen=True)
class _Basis:
    """Standardisation and rotation: (X - mean) @ rotation has covariance diag(eigenvalues)."""

    mean: Doubles
    rotation: Doubles
    eigenvalues: Doubles


def _basis(features: Floats) -> _Basis:
    n, d = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    scale = 1.0 / np.where(deviation > 0, deviation, 1.0)
    centred = ((features - mean) * scale).astype(np.float32)
    gram = centred.T @ centred if n > d else centred @ centred.T
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    kept = values > max(values[-1], 1e-30) * 1e-7
    values, vectors = values[kept], vectors[:, kept]
    if n <= d:  # eigenvectors of X X' give those of X' X
        vectors = (centred.T @ vectors.astype(np.float32)) / np.sqrt(values)
    return _Basis(mean, scale[:, None] * vectors, values / n)


class _Objective:
    """Value and gradient of one strength, in coordinates scaled by `scale` [k, 1]."""

    def __init__(self, rotated: Floats, labels: NDArray[np.int64], classes: int) -> None:
        self.rotated, self.labels, self.classes = rotated, labels, classes
        self.rows = np.arange(labels.shape[0])
        self.strength = 1.0
        self.scale = np.ones((rotated.shape[1], 1))
        self.distance = np.inf
        self.gradient = np.inf
        self.probabilities = np.full((labels.shape[0], classes), 1 / classes)

    def unpack(self, flat: Doubles) -> tuple[Doubles, Doubles]:
        weights = flat[: -self.classes].reshape(-1, self.classes) * self.scale
        return weights, flat[-self.classes :]

    def __call__(self, flat: Doubles) -> tuple[float, Doubles]:
        weights, bias = self.unpack(flat)
        n = self.labels.shape[0]
        # Only the products are float32: a loss summed in float32 is too rough for the line search at weak strengths.
        logits = (self.rotated @ weights.astype(np.float32)).astype(np.float64) + bias
        logits -= logits.max(axis=1, keepdims=True)
        of_truth = logits[self.rows, self.labels].copy()
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - of_truth)
        logits /= total
        self.probabilities = logits
        residual = logits.copy()
        residual[self.rows, self.labels] -= 1
        by_weights = (self.rotated.T @ residual.astype(np.float32)).astype(np.float64) / n + self.strength * weights
        by_bias = residual.sum(axis=0) / n
        self.gradient = float(np.sqrt(np.sum(by_weights**2) + np.sum(by_bias**2)))
        self.distance = self.gradient / self.strength / max(float(np.linalg.norm(weights)), 1e-30)
        value = float(loss) + self.strength / 2 * float(np.sum(weights**2))
        return value, np.concatenate([(by_weights * self.scale).ravel(), by_bias])


@contextmanager
def _one_thread_for_scipy() -> Iterator[None]:
    """SciPy and NumPy each bring a BLAS with threads of its own; taking turns, they slow each other down threefold."""
    scipys = [lib for lib in ThreadpoolController().lib_controllers if "scipy.libs" in lib.filepath]
    before = [lib.num_threads for lib in scipys]
    for lib in scipys:
        lib.set_num_threads(1)
    try:
        yield
    finally:
        for lib, threads in zip(scipys, before, strict=True):
            lib.set_num_threads(threads)


def fit_path(
    train: NDArray[Any],
    train_labels: NDArray[np.int64],
    val: NDArray[Any],
    val_labels: NDArray[np.int64],
    *,
    classes: int,
    strengths: tuple[float, ...] = STRENGTHS,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, int], None] | None = None,
) -> ProbePath:
    """Solve the probe at every strength and choose one on val.

    train [n, d] and val [m, d] are features, labels are in 0..classes-1. `strengths` descend. Of equal scores the
    stronger regularisation wins. Raises ValueError for features that are not finite.
    """
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        raise ValueError("the features hold NaN or infinite values")
    features = np.asarray(train, np.float32)
    basis = _basis(features)
    rotated = ((features - basis.mean) @ basis.rotation).astype(np.float32)
    objective = _Objective(rotated, train_labels, classes)
    weights: Doubles = np.zeros((rotated.shape[1], classes))
    bias: Doubles = np.zeros(classes)

    def close_enough(_: Doubles) -> None:
        if objective.distance <= tolerance:
            raise StopIteration

    steps: list[Step] = []
    best = Head(np.zeros((features.shape[1], classes), np.float32), np.zeros(classes, np.float32))
    for position, strength in enumerate(strengths):
        curvature = float(np.mean(objective.probabilities * (1 - objective.probabilities)))
        objective.strength = strength
        objective.scale = 1 / np.sqrt(curvature * basis.eigenvalues + strength)[:, None]
        start = np.concatenate([(weights / objective.scale).ravel(), bias])
        with _one_thread_for_scipy():
            solved = minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                callback=close_enough,
                options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "ftol": 0.0, "gtol": 0.0},
            )
        value, _ = objective(solved.x)  # the last point tried by the line search need not be the solution
        weights, bias = objective.unpack(solved.x)
        outer = basis.rotation @ weights
        head = Head(outer.astype(np.float32), (bias - basis.mean @ outer).astype(np.float32))
        on_val = head(val)
        step = Step(
            strength=strength,
            iterations=int(solved.nit),
            objective=value,
            gradient=objective.gradient,
            converged=objective.distance <= tolerance,
            train_acc=accuracy(objective.probabilities, train_labels),
            val_acc=accuracy(on_val, val_labels),
            val_nll=nll(on_val, val_labels),
            score=selection_score(on_val, val_labels),
        )
        if not steps or step.score > max(earlier.score for earlier in steps):
            best = head
        steps.append(step)
        if progress:
            progress(position + 1, len(strengths))
    chosen = int(np.argmax([step.score for step in steps]))
    return ProbePath(tuple(steps), chosen, best)
