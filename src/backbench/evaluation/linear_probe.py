"""The linear probe: multinomial logistic regression along a path of L2 strengths, to convergence, chosen on val.

Minimised for each strength s: mean cross-entropy + s/2 ||W||^2, bias free, on features standardised on train.
The features are rotated to the eigenbasis of their covariance, which is exact under L2 and makes L-BFGS quick: there a
diagonal scaling by 1/sqrt(curvature x eigenvalue + s) is close to the inverse Hessian. Each strength starts at the
solution of the stronger one before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from threadpoolctl import ThreadpoolController

from backbench.analysis.metrics import accuracy, nll, selection_score
from backbench.core import recipe
from backbench.evaluation.cross_entropy import Likelihood, on_host
from backbench.evaluation.eigenbasis import Doubles, Floats, Rows, Spectrum, blocks, decompose, require_finite

MAX_ITERATIONS = 500

# Of the bias, where every image is classified with certainty.
LEAST_CURVATURE = 1e-6


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features: softmax(X @ weights + bias); weights [d, C], bias [C]."""

    weights: Floats
    bias: Floats

    def __call__(self, features: NDArray[Any], rows: Rows | None = None) -> Floats:
        """Class probabilities [n, C] of features [n, d], or of some rows of them; the features may be memory-mapped."""
        chosen = np.arange(len(features)) if rows is None else rows
        found = np.empty((len(chosen), self.bias.size), np.float32)
        for block in blocks(len(chosen)):
            found[block] = softmax(features[chosen[block]].astype(np.float32) @ self.weights + self.bias, axis=1)
        return found


@dataclass(frozen=True)
class ProbeFit:
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
    """The whole path from strong to weak with its heads, and the step that is best on val."""

    steps: tuple[ProbeFit, ...]
    heads: tuple[Head, ...]
    chosen: int

    @property
    def head(self) -> Head:
        """The head that is best on val: the result of the fully frozen cell."""
        return self.heads[self.chosen]

    def about_as_good(self, val: int) -> float:
        """The least accuracy on `val` images that is about as good as the best step's: within one standard error.

        The rule of Breiman et al. (1984, section 3.4.3) for choosing a simpler model.
        """
        best = max(step.val_acc for step in self.steps)
        return best - math.sqrt(best * (1 - best) / val)

    def gentle(self, val: int) -> int:
        """The step that fine-tuning starts from: the strongest regularisation about as good as the best on val.

        A probe that fits train perfectly leaves no gradient to learn from, and a sharp head pulls hard on what it is
        attached to.
        """
        least = self.about_as_good(val)
        return next(position for position, step in enumerate(self.steps) if step.val_acc >= least)


class _Objective:
    """Value and gradient of one strength, in coordinates scaled by `scale` [k, 1] and `bias_scale` [C]."""

    def __init__(self, likelihood: Likelihood, *, images: int, axes: int, classes: int) -> None:
        self.likelihood, self.images, self.classes = likelihood, images, classes
        self.strength = 1.0
        self.scale = np.ones((axes, 1))
        self.distance = np.inf
        self.gradient = np.inf
        self.accuracy = 0.0
        self.bias_scale = np.ones(classes)
        self.curvature = np.full(classes, (1 - 1 / classes) / classes)  # mean p (1 - p), here of equal probabilities

    def aim(self, strength: float, eigenvalues: Doubles) -> None:
        """Turn to one strength, with coordinates in which the Hessian at the last point is close to the identity."""
        self.strength = strength
        self.scale = 1 / np.sqrt(self.curvature.mean() * eigenvalues + strength)[:, None]
        self.bias_scale = 1 / np.sqrt(np.maximum(self.curvature, LEAST_CURVATURE))

    def unpack(self, flat: Doubles) -> tuple[Doubles, Doubles]:
        weights = flat[: -self.classes].reshape(-1, self.classes) * self.scale
        return weights, flat[-self.classes :] * self.bias_scale

    def pack(self, weights: Doubles, bias: Doubles) -> Doubles:
        return np.concatenate([(weights / self.scale).ravel(), bias / self.bias_scale])

    def __call__(self, flat: Doubles) -> tuple[float, Doubles]:
        weights, bias = self.unpack(flat)
        sums, n = self.likelihood(weights.astype(np.float32), bias), self.images
        by_weights, by_bias = sums.by_weights / n + self.strength * weights, sums.by_bias / n
        self.accuracy, self.curvature = sums.right / n, sums.spread / n
        # The bias is not penalised: its share is weighed by its own curvature in place of the strength.
        share = float(np.sum(by_bias**2 / np.maximum(self.curvature, LEAST_CURVATURE)))
        self.gradient = float(np.sqrt(np.sum(by_weights**2) + self.strength * share))
        self.distance = self.gradient / self.strength / max(float(np.linalg.norm(weights)), 1e-30)
        value = sums.loss / n + self.strength / 2 * float(np.sum(weights**2))
        return value, np.concatenate([(by_weights * self.scale).ravel(), by_bias * self.bias_scale])


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


def _solved(objective: _Objective, start: Doubles, *, tolerance: float) -> tuple[Any, float]:
    """SciPy's result from a starting point on, and the objective there, which then stands at the solution."""

    def close_enough(_: Doubles) -> None:
        if objective.distance <= tolerance:
            raise StopIteration

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
    return solved, value


def fit_path(
    features: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    train: Rows,
    val: Rows,
    classes: int,
    strengths: tuple[float, ...] = recipe.PROBE_STRENGTHS,
    tolerance: float = recipe.PROBE_TOLERANCE,
    spectrum: Spectrum | None = None,
    likelihood: Callable[[Floats, NDArray[np.int64], int], Likelihood] = on_host,
    scratch: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProbePath:
    """Solve the probe on some rows at every strength and choose one on others.

    features [n, d], which may be memory-mapped, and labels [n] in 0..classes-1; `train` and `val` are rows of them.
    `spectrum` is that of the train rows, where it is known already, `likelihood` where it is computed, and `scratch` a
    folder for what does not fit into memory. `strengths` descend; the path ends PROBE_BEYOND_BEST behind the best
    score, or at the weakest; of equal scores the stronger regularisation wins. Raises ValueError for features that are
    not finite.
    """
    require_finite(features, val)
    basis = spectrum or decompose(features, train, scratch=scratch)
    axes = basis.eigenvalues.size
    summing = likelihood(basis.rotated, labels[train], classes)
    objective = _Objective(summing, images=len(train), axes=axes, classes=classes)
    weights: Doubles = np.zeros((axes, classes))
    bias: Doubles = np.zeros(classes)

    exact: Likelihood | None = None
    steps: list[ProbeFit] = []
    heads: list[Head] = []
    for position, strength in enumerate(strengths):
        objective.aim(strength, basis.eigenvalues)
        solved, value = _solved(objective, objective.pack(weights, bias), tolerance=tolerance)
        if objective.distance > tolerance and likelihood is not on_host:
            # In float32 the loss is too rough for the last steps at weak strengths: the host finishes them.
            objective.likelihood = exact = exact or on_host(basis.rotated, labels[train], classes)
            solved, value = _solved(objective, solved.x, tolerance=tolerance)
            objective.likelihood = summing
        weights, bias = objective.unpack(solved.x)
        outer = basis.rotation @ weights
        head = Head(outer.astype(np.float32), (bias - basis.mean @ outer).astype(np.float32))
        on_val = head(features, val)
        step = ProbeFit(
            strength=strength,
            iterations=int(solved.nit),
            objective=value,
            gradient=objective.gradient,
            converged=objective.distance <= tolerance,
            train_acc=objective.accuracy,
            val_acc=accuracy(on_val, labels[val]),
            val_nll=nll(on_val, labels[val]),
            score=selection_score(on_val, labels[val]),
        )
        steps.append(step)
        heads.append(head)
        chosen = int(np.argmax([step.score for step in steps]))
        over = position - chosen >= recipe.PROBE_BEYOND_BEST
        if progress:
            progress(len(strengths) if over else position + 1, len(strengths))
        if over:
            break
    return ProbePath(tuple(steps), tuple(heads), chosen)
