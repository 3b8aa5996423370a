"""The errors of a candidate: the most confident ones, and pairs of classes that it confuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

# With fewer errors between two classes they are no confusion.
LEAST_ERRORS = 2


@dataclass(frozen=True)
class Prediction:
    """The prediction for one item: its true class, the predicted class and the probability of the latter."""

    item: int
    truth: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class Confusion:
    """Two classes that are confused with each other, first the one with more errors.

    `errors` counts the items of each class that were predicted as the other, out of `items`. `examples` of each class
    are the most confident of these errors, or, where there are none, the most confident correct predictions.
    """

    classes: tuple[int, int]
    errors: tuple[int, int]
    items: tuple[int, int]
    examples: tuple[tuple[Prediction, ...], tuple[Prediction, ...]]


def most_confident_errors(probabilities: Probabilities, labels: Labels, *, most: int) -> tuple[Prediction, ...]:
    """Wrong predictions, the most confident first, from probabilities [n, C] and labels [n]; ties in item order."""
    predicted = probabilities.argmax(axis=1)
    return _most_confident(probabilities, labels, predicted, np.flatnonzero(predicted != labels), most)


def confusions(probabilities: Probabilities, labels: Labels, *, most: int, each: int) -> tuple[Confusion, ...]:
    """The pairs of classes with the most errors between them, both directions together, with `each` examples of both.

    From probabilities [n, C] and labels [n]. Pairs with a single error are left out; ties in class order.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    low, high = np.minimum(predicted, labels)[wrong], np.maximum(predicted, labels)[wrong]
    pairs, counts = np.unique(np.column_stack([low, high]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    confused = []
    for low_class, high_class in pairs[order[counts[order] >= LEAST_ERRORS]].tolist():
        both = (low_class, high_class), (high_class, low_class)
        directions = [(true, np.flatnonzero((labels == true) & (predicted == other))) for true, other in both]
        directions.sort(key=lambda direction: -len(direction[1]))
        examples = []
        for true, wrong_items in directions:
            correct = np.flatnonzero((labels == true) & (predicted == true))
            shown = wrong_items if len(wrong_items) else correct
            examples.append(_most_confident(probabilities, labels, predicted, shown, each))
        (first, firsts), (second, seconds) = directions
        items = int((labels == first).sum()), int((labels == second).sum())
        confused.append(Confusion((first, second), (len(firsts), len(seconds)), items, (examples[0], examples[1])))
    return tuple(confused)


def _most_confident(
    probabilities: Probabilities, labels: Labels, predicted: Labels, items: NDArray[np.integer[Any]], most: int
) -> tuple[Prediction, ...]:
    confidence = probabilities[items, predicted[items]]
    order = np.argsort(-confidence, kind="stable")[:most]
    return tuple(
        Prediction(item, int(labels[item]), int(predicted[item]), float(confidence[at]))
        for at, item in zip(order, items[order].tolist(), strict=True)
    )
