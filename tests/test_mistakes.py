"""The mistakes and confusions of a candidate, and its accuracy without copies, worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.tables import cell, frame

from backbench.analysis import grouped, labels
from backbench.analysis.metrics import wilson_interval
from backbench.analysis.mistakes import Answer, confusions, surest_mistakes
from backbench.analysis.uncopied import COLUMNS, without_copies

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


def test_surest_mistakes_come_first() -> None:
    assert surest_mistakes(PROBABILITIES, TRUTH, most=3) == (
        Answer(2, 0, 1, 0.9),
        Answer(9, 2, 0, 0.9),
        Answer(3, 0, 2, 0.7),
    )
    assert [answer.item for answer in surest_mistakes(PROBABILITIES, TRUTH, most=99)] == [2, 9, 3, 1, 4]
    assert surest_mistakes(PROBABILITIES[5:9], TRUTH[5:9], most=3) == ()


def test_confusions_count_both_directions() -> None:
    first, second = confusions(PROBABILITIES, TRUTH, most=5, each=1)
    assert (first.classes, first.mistaken, first.items) == ((0, 1), (2, 1), (4, 3))
    assert first.examples == ((Answer(2, 0, 1, 0.9),), (Answer(4, 1, 0, 0.6),))
    assert (second.classes, second.mistaken, second.items) == ((0, 2), (1, 1), (4, 3))
    assert confusions(PROBABILITIES, TRUTH, most=1, each=1) == (first,)


def test_the_class_that_is_mistaken_more_often_comes_first_and_the_other_shows_what_it_looks_like() -> None:
    (only,) = confusions(np.eye(2)[[0, 0, 0, 0]] * [0.9, 0.1], np.array([1, 1, 0, 0]), most=5, each=2)
    assert (only.classes, only.mistaken, only.items) == ((1, 0), (2, 0), (2, 2))
    assert [answer.item for answer in only.examples[1]] == [2, 3], "right answers, as there are no wrong ones"
    assert all(answer.truth == answer.said == 0 for answer in only.examples[1])


def test_a_single_mistake_is_no_confusion() -> None:
    assert confusions(PROBABILITIES[[0, 1, 4 + 1]], TRUTH[[0, 1, 4 + 1]], most=5, each=1) == ()
    assert confusions(PROBABILITIES[:0], TRUTH[:0], most=5, each=1) == ()


def candidates(*rows: dict[str, object]) -> pd.DataFrame:
    found = grouped(frame(*rows))
    found["label"] = labels(found)
    return found


def test_accuracy_without_copies_by_hand() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a"), cell("B", 0.8, 0.5, cell_id="b"), cell("C", 0.7, 0.5))
    hits = {"a": np.array([1, 1, 1, 1, 0], dtype=bool), "b": np.array([0, 0, 1, 1, 1], dtype=bool)}
    found = without_copies(rows, hits, np.array([1, 1, 0, 0, 0], dtype=bool))
    assert tuple(found.columns) == COLUMNS
    assert found["label"].tolist() == ["A", "B"], "what C answered is not known"
    assert found["test_acc"].tolist() == [0.8, 0.5]
    assert found["kept_acc"].tolist() == [pytest.approx(2 / 3), 1.0]
    assert found["copied_acc"].tolist() == [1.0, 0.0]
    assert (found["kept_lo"][0], found["kept_hi"][0]) == pytest.approx((0.2077, 0.9385), abs=1e-4)  # Wilson, 2 of 3
    assert (found["kept_lo"][1], found["kept_hi"][1]) == wilson_interval(1.0, 3)


def test_seeds_are_averaged_and_all_of_them_are_needed() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a0", seed=0), cell("A", 0.9, 0.6, cell_id="a1", seed=1))
    hits = {"a0": np.array([1, 1, 0], dtype=bool), "a1": np.array([0, 0, 0], dtype=bool)}
    copied = np.array([0, 0, 1], dtype=bool)
    (only,) = without_copies(rows, hits, copied).to_dict("records")
    assert (only["test_acc"], only["kept_acc"], only["copied_acc"]) == (pytest.approx(0.7), 0.5, 0.0)
    assert without_copies(rows, {"a0": hits["a0"]}, copied).empty


def test_nothing_left_is_no_number() -> None:
    rows = candidates(cell("A", 0.9, 0.8, cell_id="a"))
    (only,) = without_copies(rows, {"a": np.array([True, False])}, np.array([True, True])).to_dict("records")
    assert np.isnan([only["kept_acc"], only["kept_lo"], only["kept_hi"]]).all()
    assert only["copied_acc"] == 0.5
    (only,) = without_copies(rows, {"a": np.array([True, False])}, np.array([False, False])).to_dict("records")
    assert (only["kept_acc"], np.isnan(only["copied_acc"])) == (0.5, True)
