"""The Model Confidence Set, by hand and against `arch`, which does the same slowly."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import MCS, StationaryBootstrap

from backbench.analysis.bootstrap import resampled_means
from backbench.analysis.model_confidence_set import confidence_p_values

SEED, ROUNDS = 3, 1000


def arch_p_values(losses: np.ndarray) -> np.ndarray:
    """P-values of belonging to the set, in the order of the columns."""
    mcs = MCS(losses, 0.05, block_size=1, reps=ROUNDS, seed=SEED)
    mcs.compute()
    return np.asarray(mcs.pvalues["Pvalue"].sort_index())


def same_draws(losses: np.ndarray) -> np.ndarray:
    """Accuracies in the very resamples that `arch` draws."""
    drawn = StationaryBootstrap(1, np.arange(len(losses)), seed=SEED).bootstrap(ROUNDS)
    return np.array([1 - losses[data[0][0]].mean(axis=0) for data in drawn])


def losses(seed: int, *, items: int = 250, behind: float = 0.04, candidates: int = 8) -> np.ndarray:
    """Losses of candidates that share the difficulty of the items, each a little worse than the one before."""
    random = np.random.default_rng(seed)
    difficulty = random.normal(size=(items, 1))
    return 0.5 + behind * np.arange(candidates) + 0.2 * difficulty + 0.15 * random.normal(size=(items, candidates))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_draws_give_the_p_values_of_arch(seed: int) -> None:
    sample = losses(seed, behind=0.01)
    ours = confidence_p_values(1 - sample.mean(axis=0), same_draws(sample))
    assert ours == pytest.approx(arch_p_values(sample), abs=2 / ROUNDS)
    assert 1 < (ours > 0.05).sum() < len(ours)


@pytest.mark.parametrize("seed", range(1, 5))
def test_errors_give_the_set_of_arch(seed: int) -> None:
    errors = (losses(seed, items=700, behind=0.02) > 0.75).astype(float)
    expected = arch_p_values(errors)
    ours = confidence_p_values(1 - errors.mean(axis=0), same_draws(errors))
    # Counts often tie: a resample that is level with what was measured reaches it here, in arch by its rounding.
    assert (ours >= expected - 2 / ROUNDS).all()
    small = expected < 0.3
    assert ours[small] == pytest.approx(expected[small], abs=0.03)
    assert np.array_equal(ours > 0.05, expected > 0.05)


def test_two_candidates_by_hand() -> None:
    # the difference deviates by -.1 and +.1 in turn, so its standard deviation is .1
    wobble = np.array([[0.05, -0.05], [-0.05, 0.05]] * 2)

    def p_values(*accuracies: float) -> list[float]:
        result: list[float] = confidence_p_values(np.array(accuracies), np.array(accuracies) + wobble).tolist()
        return result

    assert p_values(0.8, 0.6) == [1.0, 0.0]  # two standard deviations, and no resample reaches more than one
    assert p_values(0.6, 0.8) == [0.0, 1.0]
    assert p_values(0.65, 0.6) == [1.0, 1.0]  # half of one, which every resample reaches


def test_the_order_of_removal_makes_p_values_grow() -> None:
    sample = losses(0)
    p = confidence_p_values(1 - sample.mean(axis=0), same_draws(sample))
    assert p.max() == 1.0
    assert p.argmax() == sample.mean(axis=0).argmin()
    order = np.argsort(sample.mean(axis=0))
    assert (np.diff(p[order]) <= 0).all()


def test_candidates_that_are_alike_count_as_one() -> None:
    errors = losses(1, candidates=3) > 0.55
    alone = confidence_p_values(1 - errors.mean(axis=0), resampled_means(~errors, rng=np.random.default_rng(0)))
    twice = np.column_stack([errors, errors[:, ::-1]])
    both = confidence_p_values(1 - twice.mean(axis=0), resampled_means(~twice, rng=np.random.default_rng(0)))
    assert both.tolist() == [*alone, *alone[::-1]]


def test_a_difference_that_never_varies_is_certain() -> None:
    right = np.zeros((30, 2), dtype=bool)
    right[:, 0] = True
    draws = resampled_means(right, rng=np.random.default_rng(0))
    assert confidence_p_values(right.mean(axis=0), draws).tolist() == [1.0, 0.0]


def test_one_candidate_is_its_own_set() -> None:
    assert confidence_p_values(np.array([0.5]), np.full((5, 1), 0.5)).tolist() == [1.0]
