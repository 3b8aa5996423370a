"""What a candidate got wrong: the mistakes it was surest of, and the classes it takes for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

# Fewer mistakes between two classes are no habit.
LEAST_CONFUSED = 2


@dataclass(frozen=True)
class Answer:
    """What was said of one item: its class, the class it was taken for, and the probability given to the latter."""

    item: int
    truth: int
    said: int
    confidence: float


@dataclass(frozen=True)
class Confusion:
    """Two classes that are taken for each other, the one that is mistaken more often first.

    `mistaken` counts the items of each that were taken for the other, out of `items`. `examples` of each are the surest
    of these, or, where there are none, the surest right answers: what the class looks like.
    """

    classes: tuple[int, int]
    mistaken: tuple[int, int]
    items: tuple[int, int]
    examples: tuple[tuple[Answer, ...], tuple[Answer, ...]]


def surest_mistakes(probabilities: Probabilities, labels: Labels, *, most: int) -> tuple[Answer, ...]:
    """Wrong answers, the surest first, from probabilities [n, C] and labels [n]; of equals the first item."""
    said = probabilities.argmax(axis=1)
    return _surest(probabilities, labels, said, np.flatnonzero(said != labels), most)


def confusions(probabilities: Probabilities, labels: Labels, *, most: int, each: int) -> tuple[Confusion, ...]:
    """The pairs of classes with the most mistakes between them, both directions together, with `each` examples of both.

    From probabilities [n, C] and labels [n]. Pairs with a single mistake are left out; of equals the first classes.
    """
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    low, high = np.minimum(said, labels)[wrong], np.maximum(said, labels)[wrong]
    pairs, counts = np.unique(np.column_stack([low, high]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    found = []
    for low_class, high_class in pairs[order[counts[order] >= LEAST_CONFUSED]].tolist():
        both = (low_class, high_class), (high_class, low_class)
        directions = [(ours, np.flatnonzero((labels == ours) & (said == theirs))) for ours, theirs in both]
        directions.sort(key=lambda direction: -len(direction[1]))
        examples = []
        for ours, taken in directions:
            shown = taken if len(taken) else np.flatnonzero((labels == ours) & (said == ours))
            examples.append(_surest(probabilities, labels, said, shown, each))
        (first, firsts), (second, seconds) = directions
        items = int((labels == first).sum()), int((labels == second).sum())
        found.append(Confusion((first, second), (len(firsts), len(seconds)), items, (examples[0], examples[1])))
    return tuple(found)


def _surest(
    probabilities: Probabilities, labels: Labels, said: Labels, items: NDArray[np.integer[Any]], most: int
) -> tuple[Answer, ...]:
    confidence = probabilities[items, said[items]]
    order = np.argsort(-confidence, kind="stable")[:most]
    return tuple(
        Answer(int(items[at]), int(labels[items[at]]), int(said[items[at]]), float(confidence[at])) for at in order
    )
