"""Paired tests, against values computed by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t, ttest_rel

from backbench.analysis import holm, mcnemar
from backbench.analysis.significance import welch


def test_mcnemar_is_the_exact_binomial_of_the_discordant_items() -> None:
    first = np.array([True] * 8 + [False] * 2 + [True] * 30 + [False] * 5)
    second = np.array([False] * 8 + [True] * 2 + [True] * 30 + [False] * 5)
    # 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10 = 2 * 56 / 1024
    assert mcnemar(first, second) == (8, 2, pytest.approx(0.109375))
    assert mcnemar(second, first) == (2, 8, pytest.approx(0.109375))


def test_mcnemar_is_the_test_of_scipy() -> None:
    for wins, losses in [(0, 1), (1, 1), (3, 3), (2, 3), (0, 40), (17, 40), (400, 500), (0, 2000)]:
        first = np.repeat([True, False], [wins, losses])
        assert mcnemar(first, ~first)[2] == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-9)


def test_mcnemar_of_identical_answers_claims_nothing() -> None:
    same = np.array([True, False, True])
    assert mcnemar(same, same) == (0, 0, 1.0)


def test_welch_shares_the_variance_of_items_and_seeds() -> None:
    first = np.array([[1, 1], [1, 0], [1, 1], [0, 0]], dtype=bool)
    second = np.array([[0], [1], [0], [0]], dtype=bool)
    wins, losses, p = welch(first, second)
    # shares of seeds 1, .5, 1, 0 against 0, 1, 0, 0: differences 1, -.5, 1, 0, their mean .375, its variance .5625 / 4
    # with 3 degrees of freedom; the seeds have .75 and .5: .03125 / 2 with 1
    assert (wins, losses) == (pytest.approx(2.0), pytest.approx(0.5))
    freedom = 0.15625**2 / (0.140625**2 / 3 + 0.015625**2 / 1)
    assert p == pytest.approx(2 * t.sf(0.375 / np.sqrt(0.15625), freedom))
    assert welch(second, first) == (pytest.approx(0.5), pytest.approx(2.0), pytest.approx(p))


def test_welch_without_seeds_is_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((60, 1)) < 0.8, random.random((60, 1)) < 0.6
    expected = ttest_rel(first[:, 0].astype(float), second[:, 0].astype(float)).pvalue
    assert welch(first, second)[2] == pytest.approx(expected)


def test_seeds_that_differ_leave_nothing_to_claim() -> None:
    steady, shaky = np.arange(400)[:, None] < np.full((1, 2), 320), np.arange(400)[:, None] < np.array([[240, 360]])
    worse = np.arange(400)[:, None] < np.array([[280, 280]])
    # ten points ahead, and five, of four hundred items
    assert welch(steady, worse)[2] < 1e-6
    assert welch(shaky, worse)[2] > 0.5


def test_welch_of_what_never_varies_claims_nothing() -> None:
    same = np.array([[True, True], [True, True]])
    assert welch(same, same) == (0.0, 0.0, 1.0)
    assert welch(same[:1], ~same[:1])[2] == 1.0


def test_holm_steps_down_and_stays_monotone() -> None:
    # sorted .01 .03 .04 times 3 2 1 = .03 .06 .04, made monotone .03 .06 .06, back in the given order
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).size == 0
