"""The errors and confusions of a candidate, worked out by hand."""

from __future__ import annotations

import numpy as np

from backbench.analysis.errors import Prediction, confusions, most_confident_errors

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.6, 0.3],  # 0 taken for 1
        [0.0, 0.9, 0.1],  # 0 taken for 1
        [0.2, 0.1, 0.7],  # 0 taken for 2
        [0.6, 0.4, 0.0],  # 1 taken for 0
        [0.1, 0.8, 0.1],
        [0.0, 0.95, 0.05],
        [0.3, 0.0, 0.7],
        [0.1, 0.1, 0.8],
        [0.9, 0.0, 0.1],  # 2 taken for 0
    ]
)


def test_most_confident_errors_come_first() -> None:
    assert most_confident_errors(PROBABILITIES, TRUTH, most=3) == (
        Prediction(2, 0, 1, 0.9),
        Prediction(9, 2, 0, 0.9),
        Prediction(3, 0, 2, 0.7),
    )
    assert [prediction.item for prediction in most_confident_errors(PROBABILITIES, TRUTH, most=99)] == [2, 9, 3, 1, 4]
    assert most_confident_errors(PROBABILITIES[5:9], TRUTH[5:9], most=3) == ()


def test_confusions_count_both_directions() -> None:
    first, second = confusions(PROBABILITIES, TRUTH, most=5, each=1)
    assert (first.classes, first.errors, first.items) == ((0, 1), (2, 1), (4, 3))
    assert first.examples == ((Prediction(2, 0, 1, 0.9),), (Prediction(4, 1, 0, 0.6),))
    assert (second.classes, second.errors, second.items) == ((0, 2), (1, 1), (4, 3))
    assert confusions(PROBABILITIES, TRUTH, most=1, each=1) == (first,)


def test_confusions_put_the_class_with_more_errors_first_and_show_correct_ones_of_the_other() -> None:
    (only,) = confusions(np.eye(2)[[0, 0, 0, 0]] * [0.9, 0.1], np.array([1, 1, 0, 0]), most=5, each=2)
    assert (only.classes, only.errors, only.items) == ((1, 0), (2, 0), (2, 2))
    assert [prediction.item for prediction in only.examples[1]] == [2, 3], "right answers, as there are no wrong ones"
    assert all(example.truth == example.predicted == 0 for example in only.examples[1])


def test_confusions_need_more_than_one_error() -> None:
    assert confusions(PROBABILITIES[[0, 1, 4 + 1]], TRUTH[[0, 1, 4 + 1]], most=5, each=1) == ()
    assert confusions(PROBABILITIES[:0], TRUTH[:0], most=5, each=1) == ()
