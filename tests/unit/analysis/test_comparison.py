"""The comparison of two candidates: which pair is meant, the verdict and its numbers, and that it is shown safely."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis import Comparison, PerItem
from backbench.analysis.comparison import compare, pair
from backbench.core.errors import RequestError

TABLE = frame(
    cell("A", 0.9, 0.9, cell_id="aaaa1111"),
    cell("A", 0.8, 0.8, freeze="all-1", seed=0, cell_id="aaaa2222"),
    cell("A", 0.8, 0.9, freeze="all-1", seed=1, cell_id="bbbb3333"),
    cell("A", 0.3, 0.2, weights="none", freeze="all-1", cell_id="cccc4444"),
    cell("MobileNetV2:alpha=0.35", 0.7, 0.7, cell_id="dddd5555"),
    cell("scratch", 0.5, 0.5, cell_id="eeee6666"),
    lost("B", "failed", "out of memory\nTraceback", freeze="all-1"),
)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("A@all", "aaaa1111", "'A@all' and 'aaaa1111' are both A@all: name two different ones"),
        ("A@all-1", "A@all-1#0", "A@all-1#0 is one of the seeds of A@all-1: name two different ones"),
        ("A@all-1#0", "A@all-1", "A@all-1#0 is one of the seeds of A@all-1: name two different ones"),
    ],
)
def test_the_same_twice_is_refused(first: str, second: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        pair(TABLE, first, second)
    assert str(refused.value) == message
    assert [candidate.label for candidate in pair(TABLE, "A@all-1#0", "A@all-1#1")] == ["A@all-1#0", "A@all-1#1"]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def of(first: str, second: str, per_item: dict[str, PerItem], dataset: str = "fruit", among: int = 6) -> Comparison:
    return compare(*pair(TABLE, first, second), per_item, dataset=dataset, among=among)


# 90 against 50 of 100: 45 wins, 5 losses; p = 2 P(at most 5 of 50)
CLEAR = {"aaaa1111": right(range(90), 100), "eeee6666": right(np.r_[:45, 90:95], 100)}


def test_a_win_with_its_numbers() -> None:
    comparison = of("A@all", "scratch", CLEAR)
    assert comparison.verdict == "better"
    assert (comparison.test.wins, comparison.test.losses, comparison.test.name) == (45, 5, "exact McNemar")
    assert comparison.test.p_value == pytest.approx(4.2e-9, rel=0.01)
    # .4 and a standard error of sqrt(.5 - .16) / 10 = .058
    lead = comparison.lead
    assert (lead.mean, lead.low, lead.high) == pytest.approx((0.4, 0.286, 0.514), abs=0.02)
    assert (comparison.test_items, comparison.dataset, comparison.among) == (100, "fruit", 6)


def test_a_loss_is_the_win_turned_round() -> None:
    comparison = of("scratch", "A@all", CLEAR)
    assert comparison.verdict == "worse"
    assert (comparison.test.wins, comparison.test.losses) == (5, 45)
    assert comparison.lead.mean == pytest.approx(-0.4)


def test_no_decision() -> None:
    # 5 wins, 3 losses: p = 186 / 256
    per_item = {"aaaa1111": right(range(52), 100), "dddd5555": right(np.r_[:47, 52:55], 100)}
    comparison = of("A@all", "MobileNetV2:alpha=0.35", per_item)
    assert (comparison.verdict, comparison.test.p_value) == ("tied", pytest.approx(186 / 256))
    assert comparison.lead.low < 0 < comparison.lead.high


def test_a_win_needs_the_test_and_the_interval() -> None:
    six = of("A@all", "scratch", {"aaaa1111": right(range(6), 100), "eeee6666": right([], 100)})
    # 6 wins without a loss: p = 2 / 2^6 = .031, and the interval begins above zero
    assert (six.test.p_value, six.verdict) == (pytest.approx(0.03125), "better")
    five = of("A@all", "scratch", {"aaaa1111": right(range(5), 100), "eeee6666": right([], 100)})
    # 5 wins: the interval alone would call it a win
    assert five.lead.low > 0
    assert (five.test.p_value, five.verdict) == (pytest.approx(0.0625), "tied")


def test_equal_predictions_and_as_many_right() -> None:
    same = of("A@all", "scratch", {"aaaa1111": right(range(6), 10), "eeee6666": right(range(6), 10)})
    assert (same.verdict, same.test.wins, same.test.losses) == ("tied", 0, 0)
    level = of("A@all", "scratch", {"aaaa1111": right(range(6), 10), "eeee6666": right(range(4, 10), 10)})
    assert (level.verdict, level.lead.mean, level.test.wins) == ("tied", 0.0, 4)


def test_two_seeds_count_together() -> None:
    per_item = {
        "aaaa2222": right(range(80), 100),
        "bbbb3333": right(range(90), 100),
        "eeee6666": right(np.r_[:45, 95:100], 100),
    }
    comparison = of("A@all-1", "scratch", per_item)
    test = comparison.test
    assert (test.wins, test.losses, test.name) == (pytest.approx(40), pytest.approx(5), "Welch")
    assert (comparison.first.seeds, comparison.first.test_acc) == (2, pytest.approx(0.85))
    assert (comparison.first.test_acc_min, comparison.first.test_acc_max) == (0.8, 0.9)


def test_missing_predictions_are_refused() -> None:
    with pytest.raises(RequestError, match=r"A@all-1 has no stored predictions .*\(cell bbbb3333\)"):
        of("A@all", "A@all-1", {"aaaa1111": right([], 9), "aaaa2222": right([], 9)})


def test_names_from_data_are_escaped() -> None:
    per_item = {"aaaa1111": right(range(6), 10), "eeee6666": right(range(3), 10)}
    comparison = of("A@all", "scratch", per_item, dataset="<b>\x1b[2J")
    assert "<b>" not in comparison._repr_html_()
    assert "&lt;b&gt;" in comparison._repr_html_()
    assert "\x1b" not in str(comparison)
