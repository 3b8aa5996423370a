"""What is measured on class probabilities: arrays in, numbers out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from backbench.core import recipe

# Temperatures from a hundredth to a hundredfold are tried.
LOG_TEMPERATURE = math.log(100)

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def _checked(probabilities: Probabilities, labels: Labels) -> None:
    if probabilities.ndim != 2 or probabilities.shape[0] != labels.shape[0]:
        raise ValueError(f"probabilities {probabilities.shape} do not fit {labels.shape[0]} labels")
    if labels.shape[0] == 0:
        raise ValueError("no items: a metric of nothing is not defined")


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Top-1 accuracy in 0..1; probabilities [n, C], labels [n]. Raises ValueError without items."""
    _checked(probabilities, labels)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def top_k_accuracy(probabilities: Probabilities, labels: Labels, *, k: int = 5) -> float | None:
    """Share of items whose class is among the k most probable; None with k classes or fewer, where it says nothing."""
    _checked(probabilities, labels)
    if probabilities.shape[1] <= k:
        return None
    top = np.argpartition(-probabilities, k - 1, axis=1)[:, :k]
    return float(np.mean((top == labels[:, None]).any(axis=1)))


def macro_f1(probabilities: Probabilities, labels: Labels) -> float:
    """Unweighted mean of F1 over the classes that occur among the labels."""
    from sklearn.metrics import f1_score  # slow to import, and intervals are wanted without it

    _checked(probabilities, labels)
    present = np.unique(labels)
    predicted = probabilities.argmax(axis=1)
    return float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0))


def nll(probabilities: Probabilities, labels: Labels) -> float:
    """Mean negative log-likelihood in nats; a probability of zero counts as the smallest float32."""
    _checked(probabilities, labels)
    of_truth = probabilities[np.arange(labels.shape[0]), labels].astype(np.float64)
    return float(-np.mean(np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))))


def calibration(
    probabilities: Probabilities, labels: Labels, *, bins: int = recipe.ECE_BINS
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Items by top-1 confidence in equal-width bins: how many, the sum of their confidence, how many are right [bins].

    What a reliability diagram shows (Niculescu-Mizil and Caruana 2005).
    """
    _checked(probabilities, labels)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return (
        np.bincount(index, minlength=bins),
        np.bincount(index, confidence, bins),
        np.bincount(index[right], minlength=bins),
    )


def ece(probabilities: Probabilities, labels: Labels, *, bins: int = recipe.ECE_BINS) -> float:
    """Expected calibration error of the top-1 confidence, equal-width bins (Guo et al. 2017, eq. 3)."""
    _, confidence, right = calibration(probabilities, labels, bins=bins)
    return float(np.abs(confidence - right).sum() / labels.shape[0])


def right_by_class(probabilities: Probabilities, labels: Labels) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each class, how many of its items are classified correctly and how many it has [C], [C]."""
    _checked(probabilities, labels)
    classes = probabilities.shape[1]
    right = probabilities.argmax(axis=1) == labels
    return np.bincount(labels[right], minlength=classes), np.bincount(labels, minlength=classes)


def wilson_interval(share: float, n: int, *, level: float = recipe.INTERVAL_LEVEL) -> tuple[float, float]:
    """Wilson score interval of a share out of n items (Wilson 1927). Raises ValueError when n < 1."""
    if n < 1:
        raise ValueError("an interval needs at least one item")
    z = float(norm.ppf(0.5 + level / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def tempered_logs(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    """Log-probability [n] of each item's class at the one temperature that fits all items best.

    That of softmax(log p / T) for the T with the lowest mean log-loss (Guo et al. 2017, section 4.2).
    """
    _checked(probabilities, labels)
    logs = _logs(probabilities)
    picked = logs[np.arange(len(labels)), labels]
    sharpness = 1 / _fitted(logs, picked)
    return np.asarray(picked * sharpness - np.log(np.exp(logs * sharpness).sum(axis=1)))


def temperature(probabilities: Probabilities, labels: Labels) -> float:
    """The temperature T with which softmax(log p / T) is used on other images; from a hundredth to a hundred.

    That of the lowest mean log-loss (Guo et al. 2017, section 4.2) on labels that are smoothed by 1 / (n + 1), as if
    one image more had been seen whose class is anything (after Platt 1999, section 2.2): where all n images are right
    the best T would be zero, and the first error elsewhere would cost without end.
    """
    _checked(probabilities, labels)
    logs, n = _logs(probabilities), len(labels)
    return _fitted(logs, (n * logs[np.arange(n), labels] + logs.mean(axis=1)) / (n + 1))


def tempered(probabilities: Probabilities, temperature: float) -> NDArray[np.float32]:
    """softmax(log p / T) [n, C]: the same answers, more or less sure of themselves."""
    raised = np.exp(_logs(probabilities) / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _logs(probabilities: Probabilities) -> NDArray[np.float64]:
    """Logarithms below the largest of their row: there nothing can overflow, at any temperature."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return np.asarray(logs - logs.max(axis=1, keepdims=True))


def _fitted(logs: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The temperature of the lowest mean log-loss; `wanted` [n] are the logarithms that the labels pick or weigh."""

    def loss(log_temperature: float) -> float:  # SciPy's logsumexp would look for overflow every time
        sharpness = np.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(logs * sharpness).sum(axis=1)) - wanted * sharpness))

    bounds = (-LOG_TEMPERATURE, LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def selection_score(probabilities: Probabilities, labels: Labels) -> float:
    """What every choice maximises, on val: the probability given to the right class, after one temperature is fitted.

    exp(mean of `tempered_logs`): the geometric mean over items, in 0..1. It looks at every item's probability where
    accuracy only counts items, so that it moves less from one small val to another; the temperature keeps a candidate
    from losing merely for being too sure of itself.
    """
    return float(np.exp(tempered_logs(probabilities, labels).mean()))
