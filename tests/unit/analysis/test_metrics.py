"""Metrics against numbers worked out by hand or published."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backbench.analysis import metrics

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


def test_calibration_counts_confidence_and_hits_of_each_bin() -> None:
    # Confidences 0.7 and 0.8 (right, right) in [0.5, 1], 0.5 (wrong) and 0.6 (wrong) as well; nothing below.
    size, confidence, right = metrics.calibration(PROBABILITIES, LABELS, bins=2)
    assert size.tolist() == [0, 4]
    assert confidence.tolist() == pytest.approx([0.0, 2.6])
    assert right.tolist() == [0, 2]


def test_hits_are_counted_class_by_class() -> None:
    right, items = metrics.right_by_class(PROBABILITIES, LABELS)
    assert right.tolist() == [1, 1, 0]
    assert items.tolist() == [2, 2, 0]


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


def test_wilson_interval_by_hand() -> None:
    # n = 10, 5 right: centre .5, half width z sqrt(.025 + z^2/400) / (1 + z^2/10) with z = 1.959964
    assert metrics.wilson_interval(0.5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)


def two_classes(margins: list[float]) -> np.ndarray:
    """Probabilities [n, 2] in which the right class, 0 of each item, is ahead by so many nats."""
    of_truth = 1 / (1 + np.exp(-np.array(margins)))
    return np.stack([of_truth, 1 - of_truth], axis=1)


def score(margins: list[float]) -> float:
    return metrics.selection_score(two_classes(margins), np.zeros(len(margins), np.int64))


def tempered(probabilities: np.ndarray, power: float) -> np.ndarray:
    """The same opinions, held more firmly where the power is above one."""
    raised = probabilities.astype(np.float64) ** power
    return raised / raised.sum(axis=1, keepdims=True)


def random_candidate(seed: int, n: int = 50, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes)) + rng.uniform(0.5, 3) * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def test_selection_score_of_two_items_at_their_best_temperature() -> None:
    # One item right by 2a nats, one wrong by a. With u = a / T the loss is least where 2 s(-2u) = s(u), s the logistic
    # function: with x = exp(u), x^3 = x + 2, so x = 1.5213797. There p = x^2 / (1 + x^2) and q = 1 / (1 + x).
    x = 1.5213797068
    assert x**3 == pytest.approx(x + 2)
    by_hand = math.sqrt(x**2 / (1 + x**2) / (1 + x))
    for a in (0.3, math.log(x), 2.0, 5.0):
        assert score([2 * a, -a]) == pytest.approx(by_hand, rel=1e-6)


def test_tempered_logs_are_those_of_each_item_at_the_best_temperature() -> None:
    # The two items from above, in either order: logarithms of p and q.
    x = 1.5213797068
    p, q = x**2 / (1 + x**2), 1 / (1 + x)
    found = metrics.tempered_logs(two_classes([4.0, -2.0]), np.zeros(2, np.int64))
    np.testing.assert_allclose(found, [math.log(p), math.log(q)], rtol=1e-4)
    probabilities, labels = random_candidate(3)
    found = metrics.tempered_logs(probabilities, labels)
    assert found.shape == labels.shape
    assert math.exp(found.mean()) == metrics.selection_score(probabilities, labels)
    np.testing.assert_allclose(metrics.tempered_logs(probabilities[::-1], labels[::-1]), found[::-1], rtol=1e-6)


def test_tempered_logs_of_three_right_and_one_wrong() -> None:
    # always sure to 90 %, but right in 3 of 4: the temperature that fits makes it sure to 75 %
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    logs = metrics.tempered_logs(probabilities, np.zeros(4, dtype=int))
    assert np.exp(logs) == pytest.approx([0.75, 0.75, 0.75, 0.25], abs=1e-4)


def test_selection_score_of_equal_confidences_is_that_of_the_share_that_is_right() -> None:
    # The best temperature makes the confidence equal to the accuracy: 2 of 3, then 9 of 10.
    assert score([1.5, 1.5, -1.5]) == pytest.approx((2 / 3 * 2 / 3 * 1 / 3) ** (1 / 3), rel=1e-6)
    assert score([4.0] * 9 + [-4.0]) == pytest.approx((0.9**9 * 0.1) ** (1 / 10), rel=1e-6)


def test_selection_score_of_a_candidate_that_is_calibrated_is_its_likelihood() -> None:
    probabilities = two_classes([math.log(3)] * 3 + [-math.log(3)])  # 3 to 1, and right 3 times of 4
    labels = np.zeros(4, np.int64)
    assert metrics.selection_score(probabilities, labels) == pytest.approx(
        math.exp(-metrics.nll(probabilities, labels)), rel=1e-6
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("power", [0.3, 2.0, 5.0])
def test_selection_score_does_not_ask_how_sure_a_candidate_is_of_itself(seed: int, power: float) -> None:
    probabilities, labels = random_candidate(seed)
    other = tempered(probabilities, power)
    assert metrics.nll(other, labels) != pytest.approx(metrics.nll(probabilities, labels), rel=5e-3)
    assert metrics.selection_score(other, labels) == pytest.approx(
        metrics.selection_score(probabilities, labels), rel=1e-5
    )


def test_selection_score_is_at_least_the_likelihood_and_between_0_and_1() -> None:
    for seed in range(20):
        probabilities, labels = random_candidate(seed, n=1 + seed)
        found = metrics.selection_score(probabilities, labels)
        assert 0 < found <= 1
        assert found >= math.exp(-metrics.nll(probabilities, labels)) * (1 - 1e-6)


def test_selection_score_of_the_perfect_the_clueless_and_the_hopeless() -> None:
    labels = np.array([0, 1, 2, 1])
    assert metrics.selection_score(one_hot([0, 1, 2, 1], 3), labels) == pytest.approx(1.0, abs=1e-9)
    assert metrics.selection_score(np.full((4, 3), 1 / 3), labels) == pytest.approx(1 / 3)
    hopeless = metrics.selection_score(one_hot([1, 2, 0, 0], 3), labels)
    assert 0 < hopeless < 1 / 3, "certain and always wrong is worse than to know nothing"


def test_selection_score_looks_at_what_is_known_and_not_only_at_what_is_right() -> None:
    # The same two of three are right; who doubts where he errs knows more than who is as sure there.
    assert score([2.0, 2.0, -0.1]) > score([2.0, 2.0, -1.0]) > score([2.0, 2.0, -2.0])
    # Much too sure but 9 times of 10 right beats calibrated and 7 times of 10 right; by likelihood alone it would not.
    sure, modest = [9.0] * 9 + [-9.0], [math.log(7 / 3)] * 7 + [-math.log(7 / 3)] * 3
    labels = np.zeros(10, np.int64)
    assert metrics.nll(two_classes(sure), labels) > metrics.nll(two_classes(modest), labels)
    assert score(sure) == pytest.approx((0.9**9 * 0.1) ** (1 / 10), rel=1e-6)
    assert score(modest) == pytest.approx((0.7**7 * 0.3**3) ** (1 / 10), rel=1e-6)
    assert score(sure) > score(modest)


def test_selection_score_bears_a_probability_of_zero_for_the_right_class() -> None:
    probabilities = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [1.0, 0.0]], np.float32)
    found = metrics.selection_score(probabilities, np.array([0, 0, 0, 1]))
    assert 0 < found < 0.5


@pytest.mark.parametrize(
    "metric",
    [
        metrics.accuracy, metrics.top_k_accuracy, metrics.macro_f1, metrics.nll, metrics.ece, metrics.selection_score,
        metrics.tempered_logs, metrics.calibration, metrics.right_by_class,
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


def test_a_temperature_of_three_right_and_one_wrong_at_equal_confidence() -> None:
    # Of four images and one that is anything the share of right ones is (3 + 1/2) / 5, and at equal confidence the best
    # one is that share: a margin of 2 nats becomes ln(3.5 / 1.5).
    probabilities = two_classes([2.0, 2.0, 2.0, -2.0])
    found = metrics.temperature(probabilities, np.zeros(4, np.int64))
    assert found == pytest.approx(2 / math.log(3.5 / 1.5), rel=1e-5)


def test_a_temperature_where_all_are_right_is_that_of_one_image_more() -> None:
    probabilities = two_classes([2.0] * 9)
    assert metrics.temperature(probabilities, np.zeros(9, np.int64)) == pytest.approx(2 / math.log(9.5 / 0.5), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_at_their_temperature_need_no_other_and_answer_the_same(seed: int) -> None:
    probabilities, labels = random_candidate(seed, n=300)
    sharper = tempered(probabilities, 3.0)
    fitted = metrics.temperature(sharper, labels)
    assert fitted == pytest.approx(3 * metrics.temperature(probabilities, labels), rel=1e-4)
    used = metrics.tempered(sharper, fitted)
    assert metrics.temperature(used, labels) == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(used.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(metrics.tempered(used, 1 / fitted), sharper, atol=1e-5)


def test_tempered_by_hand() -> None:
    # Odds of 9 to 1 are 3 to 1 at a temperature of 2.
    np.testing.assert_allclose(metrics.tempered(np.array([[0.9, 0.1]]), 2.0), [[0.75, 0.25]], rtol=1e-6)
