"""The bootstrap over items and seeds: paired draws, two-way intervals, bands, optimism."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from backbench.analysis.bootstrap import ROUNDS, intervals, optimism, over_seeds, resampled_means, within_chance


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_means_keep_columns_paired_and_stay_around_the_mean() -> None:
    values = np.column_stack([np.arange(50.0), 2 * np.arange(50.0), np.full(50, 3.0)])
    means = resampled_means(values, rng=rng())
    assert means.shape == (ROUNDS, 3)
    assert means[:, 1] == pytest.approx(2 * means[:, 0])
    assert means[:, 2] == pytest.approx(3.0)
    # the mean of 0..49 is 24.5, and the standard error is sqrt((50^2 - 1) / 12) / sqrt(50) = 2.041
    assert means[:, 0].mean() == pytest.approx(24.5, abs=0.2)
    assert means[:, 0].std() == pytest.approx(2.041, rel=0.1)


@pytest.mark.parametrize("limit", ["counts_held", "counts_cached"])
def test_small_blocks_draw_the_same(limit: str) -> None:
    values = np.arange(20.0)[:, None]
    whole = resampled_means(values, rng=rng(), rounds=9)
    assert resampled_means(values, rng=rng(), rounds=9, **{limit: 40}) == pytest.approx(whole)


def test_hits_are_counted_exactly() -> None:
    right = np.arange(70_000) % 7 < 3
    counted = resampled_means(right[:, None], rng=rng(), rounds=3) * len(right)
    assert np.array_equal(counted, resampled_means(right[:, None].astype(float), rng=rng(), rounds=3) * len(right))
    assert counted == pytest.approx(np.round(counted), abs=1e-6)


def test_the_global_state_is_left_alone_and_items_are_needed() -> None:
    before = np.random.get_state()[1].tolist()
    resampled_means(np.ones((5, 1)), rng=rng())
    assert np.random.get_state()[1].tolist() == before
    with pytest.raises(ValueError, match="no items"):
        resampled_means(np.empty((0, 2)), rng=rng())


def test_paired_interval_of_wins_and_losses() -> None:
    # 30 wins, 10 losses, 60 draws: mean .2, variance .4 - .04, standard error .06: .2 -+ 1.96 * .06
    differences = np.repeat([1.0, -1.0, 0.0], [30, 10, 60])[:, None]
    low, high = intervals(resampled_means(differences, rng=rng()))
    assert low[0] == pytest.approx(0.082, abs=0.015)
    assert high[0] == pytest.approx(0.318, abs=0.015)


# --- seeds ------------------------------------------------------------------------------------------------------------


def of_accuracy(*correct: int, of: int = 100) -> np.ndarray:
    """Hits [n, seeds]: each seed has the first so many items right."""
    return np.arange(of)[:, None] < np.array(correct)


def test_fewer_than_five_seeds_are_averaged_as_they_are() -> None:
    hits = of_accuracy(10, 50, 90, 70)
    means = resampled_means(hits, rng=rng(), rounds=8)
    assert over_seeds(hits, means, rng=rng()) == pytest.approx(means.mean(axis=1))


def test_five_seeds_widen_the_interval_by_what_is_beyond_the_items() -> None:
    hits = of_accuracy(10, 30, 50, 70, 90)
    still = np.tile(hits.mean(axis=0), (40_000, 1))  # items that are never drawn anew
    draws = over_seeds(hits, still, rng=rng())
    # Accuracies .1 .3 .5 .7 .9 vary by .1 (over 4). Twenty items each are right in 4, 3, 2 and 1 of the five seeds:
    # 20 (.16 + .24 + .24 + .16) / 100^2 * 5/4 = .002 of that are the items'. The mean of five draws has the standard
    # deviation sqrt(.08 / 5), widened by sqrt(5/4) and by t(4) over the normal.
    expected = np.sqrt(0.08 / 5) * np.sqrt(1 - 0.002 / 0.1) * np.sqrt(5 / 4) * t.ppf(0.975, 4) / norm.ppf(0.975)
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert draws.std() == pytest.approx(expected, rel=0.02)


def test_seeds_that_differ_by_their_items_alone_add_nothing() -> None:
    # Every seed has another 80 of 100 items right: their accuracies agree to the last item.
    hits = np.column_stack([np.roll(np.arange(100) < 80, 20 * seed) for seed in range(5)])
    means = resampled_means(hits, rng=rng(), rounds=50)
    assert over_seeds(hits, means, rng=rng()) == pytest.approx(means.mean(axis=1))
    # One item more and one less is within what the items explain.
    hits[np.flatnonzero(~hits[:, 0])[0], 0] = True
    hits[np.flatnonzero(hits[:, 1])[0], 1] = False
    assert over_seeds(hits, means, rng=rng()) == pytest.approx(means.mean(axis=1))


# --- what val can tell ------------------------------------------------------------------------------------------------


def leads(mean: float, items: int) -> np.ndarray:
    """Leads of 0.2 above and below their mean in turn: their standard deviation is 0.2."""
    return mean + 0.2 * (-1.0) ** np.arange(items)


def undecided(table: np.ndarray) -> list[bool]:
    result: list[bool] = within_chance(table.mean(axis=0), resampled_means(table, rng=rng())).tolist()
    return result


def test_within_chance_leaves_out_a_lead_beyond_the_band() -> None:
    # the standard error is .2 / sqrt(64) = .025: z = 4, .8 and -2
    assert undecided(np.column_stack([leads(0.1, 64), leads(0.02, 64), leads(-0.05, 64)])) == [False, True, True]
    # one alone has a band of about 1.96 standard errors: z = 2.4
    assert undecided(leads(0.06, 64)[:, None]) == [False]
    # among twenty independent ones the band is about 3 wide, and the same lead is no longer clear of chance
    noise = np.random.default_rng(1).normal(0, 0.2, (64, 20))
    assert undecided(np.column_stack([leads(0.06, 64), noise - noise.mean(axis=0)]))[0]


def test_within_chance_holds_equals_and_no_constant_lead() -> None:
    assert undecided(np.column_stack([np.zeros(30), np.full(30, 0.25)])) == [True, False]


def test_optimism_is_the_mean_gain_of_each_resamples_winner() -> None:
    scores = np.array([0.5, 0.4, 0.3])
    draws = np.array([[0.6, 0.4, 0.3], [0.4, 0.5, 0.3], [0.5, 0.4, 0.3], [0.5, 0.4, 0.6]])
    # winners gain .1, .1, 0 and .3
    assert optimism(scores, draws) == pytest.approx(0.125)


def test_optimism_is_zero_for_a_clear_winner_and_not_among_equals() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (400, 50))
    noise -= noise.mean(axis=0)
    draws = resampled_means(noise, rng=rng())
    # of 50 independent equals the largest is 2.25 standard errors of 1/20 above
    assert optimism(np.zeros(50), draws) == pytest.approx(2.25 / 20, rel=0.1)
    ahead = np.r_[1.0, np.zeros(49)]
    assert optimism(ahead, draws + ahead) == pytest.approx(0.0, abs=0.005)
