"""Metrics against numbers worked out by hand or published."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from backbench import metrics

# Four items, three classes; right, right, wrong (says 0), wrong (says 2).
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]], np.float32)
LABELS = np.array([0, 1, 1, 0])


def one_hot(predicted: list[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


def test_accuracy_is_the_share_of_items_whose_most_probable_class_is_right() -> None:
    assert metrics.accuracy(PROBABILITIES, LABELS) == 0.5
    assert metrics.accuracy(PROBABILITIES[:3], LABELS[:3]) == pytest.approx(2 / 3)


def test_top_5_counts_the_five_most_probable_classes() -> None:
    # Probabilities fall with the class number: classes 0 to 4 are the top five of seven.
    falling = np.tile(np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05], np.float32), (4, 1))
    assert metrics.top_k_accuracy(falling, np.array([0, 4, 5, 6])) == 0.5
    assert metrics.top_k_accuracy(falling[:, ::-1], np.array([0, 1, 2, 6])) == 0.5
    assert metrics.top_k_accuracy(falling, np.array([0, 1, 2, 3]), k=2) == 0.5


def test_top_5_is_missing_with_five_classes_and_there_with_six() -> None:
    assert metrics.top_k_accuracy(one_hot([0, 1], 5), np.array([0, 1])) is None
    assert metrics.top_k_accuracy(one_hot([0, 1], 6), np.array([0, 1])) == 1.0


def test_macro_f1_averages_over_the_classes_among_the_labels_only() -> None:
    # Class 0: 2 right of 2 said and 3 there -> 2*2/(2+3) = 0.8. Class 1: 1 right of 2 said and 1 there -> 2/3.
    # Class 2 is said once and never true: it lowers nobody's precision but its own, and has no share in the mean.
    labels = np.array([0, 0, 0, 1, 1])
    predicted = [0, 0, 1, 1, 2]
    of_class_0, of_class_1 = 2 * 2 / (2 + 3), 2 * 1 / (2 + 2)
    assert metrics.macro_f1(one_hot(predicted, 4), labels) == pytest.approx((of_class_0 + of_class_1) / 2)


def test_macro_f1_counts_a_class_that_is_never_recognised_as_zero() -> None:
    assert metrics.macro_f1(one_hot([0, 0, 0], 3), np.array([0, 0, 1])) == pytest.approx((2 * 2 / (3 + 2) + 0) / 2)


def test_nll_is_the_mean_surprise_in_nats() -> None:
    by_hand = -(math.log(0.7) + math.log(0.8) + math.log(0.4) + math.log(0.2)) / 4
    assert metrics.nll(PROBABILITIES, LABELS) == pytest.approx(by_hand, rel=1e-6)


def test_nll_of_a_probability_of_zero_is_large_but_finite() -> None:
    smallest = float(np.finfo(np.float32).tiny)
    assert metrics.nll(one_hot([1], 2), np.array([0])) == pytest.approx(-math.log(smallest))


def test_ece_weighs_the_gap_of_each_bin_by_its_items() -> None:
    # Four bins. [0.25, 0.5): one item at 0.4, wrong, gap 0.4. [0.5, 0.75): 0.6 right and 0.7 wrong, gap 0.65 - 0.5.
    # [0.75, 1]: 0.8 wrong, 0.9 right, 1.0 right, gap 0.9 - 2/3. Weighted by 1, 2 and 3 of 6 items.
    probabilities = np.array(
        [[0.4, 0.3, 0.3], [0.6, 0.4, 0], [0.7, 0.3, 0], [0.8, 0.2, 0], [0.9, 0.1, 0], [1.0, 0, 0]], np.float64
    )
    labels = np.array([1, 0, 1, 1, 0, 0])
    by_hand = (1 * 0.4 + 2 * (0.65 - 0.5) + 3 * (0.9 - 2 / 3)) / 6
    assert metrics.ece(probabilities, labels, bins=4) == pytest.approx(by_hand)
    assert metrics.ece(probabilities, labels, bins=1) == pytest.approx(4.4 / 6 - 3 / 6)


def test_ece_is_nought_for_the_certain_and_right_and_one_for_the_certain_and_wrong() -> None:
    assert metrics.ece(one_hot([0, 1], 2), np.array([0, 1])) == 0.0
    assert metrics.ece(one_hot([0, 1], 2), np.array([1, 0])) == 1.0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    found = metrics.wilson_interval(hits / n, n)
    assert found == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_mirrors_and_stays_within_0_and_1() -> None:
    assert metrics.wilson_interval(1.0, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
    low, high = metrics.wilson_interval(0.3, 50)
    assert metrics.wilson_interval(0.7, 50) == pytest.approx((1 - high, 1 - low))
    assert metrics.wilson_interval(0.3, 50, level=0.99)[0] < low


@pytest.mark.parametrize("n", [1, 2, 7, 196, 5000])
def test_the_tie_break_of_the_selection_score_weighs_less_than_half_an_image(n: int) -> None:
    labels = np.zeros(n, np.int64)
    surest = one_hot([0] * n, 2)
    hopeless = surest[:, ::-1]  # all wrong with certainty: the largest loss there is
    for probabilities, accuracy in ((surest, 1.0), (hopeless, 0.0)):
        taken = accuracy - metrics.selection_score(probabilities, labels)
        assert 0 <= taken < 0.5 / n


def test_one_image_more_outweighs_any_loss_and_equal_counts_go_to_the_lower_loss() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 1, 0])
    candidates = []
    for hits, confidence in product(range(7), (0.5001, 0.7, 0.99, 1.0)):
        right = rng.permutation(np.arange(6) < hits)
        of_truth = np.where(right, confidence, 1 - confidence)
        probabilities = np.empty((6, 2))
        probabilities[np.arange(6), labels] = of_truth
        probabilities[np.arange(6), 1 - labels] = 1 - of_truth
        candidates.append((hits, metrics.nll(probabilities, labels), metrics.selection_score(probabilities, labels)))
    for (hits, loss, score), (other_hits, other_loss, other_score) in product(candidates, repeat=2):
        if hits > other_hits or (hits == other_hits and loss < other_loss):
            assert score > other_score


@pytest.mark.parametrize(
    "metric",
    [
        metrics.accuracy, metrics.top_k_accuracy, metrics.macro_f1, metrics.nll, metrics.ece, metrics.selection_score,
    ],
)  # fmt: skip
def test_a_metric_of_nothing_raises(metric: object) -> None:
    with pytest.raises(ValueError, match="no items"):
        metric(np.zeros((0, 7), np.float32), np.zeros(0, np.int64))  # type: ignore[operator]
    with pytest.raises(ValueError, match="do not fit 3 labels"):
        metric(np.zeros((2, 7), np.float32), np.zeros(3, np.int64))  # type: ignore[operator]


def test_an_interval_of_nothing_raises() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        metrics.wilson_interval(0.5, 0)
