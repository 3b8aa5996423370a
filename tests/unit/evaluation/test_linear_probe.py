"""The probe on real scans, against scikit-learn and against a direct solve in double precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from backbench.core.recipe import PROBE_BEYOND_BEST
from backbench.core.recipe import PROBE_STRENGTHS as STRENGTHS
from backbench.evaluation import eigenbasis, linear_probe
from backbench.evaluation.linear_probe import ProbePath, fit_path

CLASSES = 10


@dataclass(frozen=True)
class Data:
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    val: NDArray[np.int64]

    @property
    def train_labels(self) -> NDArray[np.int64]:
        return self.labels[self.train]

    @property
    def val_labels(self) -> NDArray[np.int64]:
        return self.labels[self.val]

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each feature on train."""
        chosen = self.features[self.train]
        return chosen.mean(axis=0, dtype=np.float64), chosen.std(axis=0, dtype=np.float64)

    def standardised(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Train and val in doubles; constant features are left at nought."""
        mean, scale = self.moments()
        everything = (self.features - mean) / np.where(scale > 0, scale, 1)
        return everything[self.train], everything[self.val]

    def fit(self, **options: Any) -> ProbePath:
        return fit_path(self.features, self.labels, train=self.train, val=self.val, classes=CLASSES, **options)


@pytest.fixture(scope="module")
def digits() -> Data:
    """Pixels of real scans, every third to choose on and the others to train on; three of the 64 never change."""
    pixels, labels = load_digits(return_X_y=True)
    third = np.arange(len(pixels)) % 3 == 0
    return Data(pixels.astype(np.float32), labels, np.flatnonzero(~third), np.flatnonzero(third))


@pytest.fixture(scope="module")
def wide(digits: Data) -> Data:
    """More features than items: 40 scans with the 528 products of half of their pixels."""
    first, second = np.triu_indices(32)
    products = digits.features[:, 16:48][:, first] * digits.features[:, 16:48][:, second]
    return Data(products, digits.labels, digits.train[:40], digits.val)


@pytest.fixture(scope="module")
def path(digits: Data) -> ProbePath:
    return digits.fit()


def objective(
    X: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64], bias: NDArray[np.float64], s: float
) -> float:
    logits = log_softmax(X @ weights + bias, axis=1)
    return float(-logits[np.arange(len(labels)), labels].mean() + s / 2 * np.sum(weights**2))


def direct(X: NDArray[np.float64], labels: NDArray[np.int64], s: float) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Plain L-BFGS on the standardised features themselves, in doubles, far beyond what the probe asks for."""
    n, d = X.shape
    truth = np.eye(CLASSES)[labels]

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = flat[:-CLASSES].reshape(d, CLASSES), flat[-CLASSES:]
        residual = (softmax(X @ weights + bias, axis=1) - truth) / n
        gradient = np.concatenate([(X.T @ residual + s * weights).ravel(), residual.sum(axis=0)])
        return objective(X, labels, weights, bias, s), gradient

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 0.0, "gtol": 1e-7, "maxcor": 20}
    solved = minimize(value, np.zeros((d + 1) * CLASSES), jac=True, method="L-BFGS-B", options=options)
    return solved.x[:-CLASSES].reshape(d, CLASSES), solved.x[-CLASSES:], float(solved.fun)


@pytest.mark.parametrize("strength", [STRENGTHS[0], STRENGTHS[4], STRENGTHS[7]])
def test_agrees_with_scikit_learn(digits: Data, path: ProbePath, strength: float) -> None:
    X, X_val = digits.standardised()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = LogisticRegression(C=1 / (len(X) * strength), tol=1e-8, max_iter=5000)
        reference.fit(X, digits.train_labels)
    smallest = objective(X, digits.train_labels, reference.coef_.T, reference.intercept_, strength)
    position = STRENGTHS.index(strength)
    step = path.steps[position]
    assert step.strength == strength
    assert step.objective == pytest.approx(smallest, rel=1e-3)
    assert step.objective >= smallest * (1 - 1e-6)
    assert step.val_acc == pytest.approx(reference.score(X_val, digits.val_labels), abs=0.01)
    # Solved further, the head of this very strength says the same of every scan.
    head = digits.fit(strengths=(strength,), tolerance=1e-4).head
    expected = reference.predict_proba(X_val)
    found = head(digits.features, digits.val)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_array_equal(found.argmax(axis=1), reference.predict(X_val))


@pytest.mark.parametrize("shape", ["more items than features", "more features than items"])
@pytest.mark.parametrize("strength", [1.0, 1e-2])
def test_agrees_with_a_direct_solve(digits: Data, wide: Data, shape: str, strength: float) -> None:
    data = digits if shape == "more items than features" else wide
    n, d = len(data.train), data.features.shape[1]
    assert (n > d) == (shape == "more items than features")
    X, X_val = data.standardised()
    weights, bias, smallest = direct(X, data.train_labels, strength)
    found = data.fit(strengths=(10 * strength, strength), tolerance=1e-4)
    assert found.steps[1].objective == pytest.approx(smallest, rel=1e-5)
    at_strength = data.fit(strengths=(strength,), tolerance=1e-4)
    expected = softmax(X_val @ weights + bias, axis=1)
    np.testing.assert_allclose(at_strength.head(data.features, data.val), expected, atol=2e-3)
    np.testing.assert_array_equal(
        at_strength.head(data.features, data.train).argmax(axis=1), (X @ weights + bias).argmax(axis=1)
    )


def test_the_head_on_raw_features_is_the_standardised_solution(digits: Data) -> None:
    strength = 0.1
    X, _ = digits.standardised()
    weights, bias, _ = direct(X, digits.train_labels, strength)
    head = digits.fit(strengths=(strength,), tolerance=1e-5).head
    mean, scale = digits.moments()
    standardised = head.weights * scale[:, None]  # of constant features: nought
    np.testing.assert_allclose(standardised, np.where(scale[:, None] > 0, weights, 0), atol=1e-4)
    moved = head.bias + mean @ head.weights
    np.testing.assert_allclose(moved - moved.mean(), bias - bias.mean(), atol=1e-3)
    assert objective(X, digits.train_labels, standardised, moved, strength) == pytest.approx(
        objective(X, digits.train_labels, weights, bias, strength), rel=1e-5
    )


def test_every_step_is_within_a_thousandth_of_the_smallest_objective(digits: Data, path: ProbePath) -> None:
    further = digits.fit(tolerance=1e-3)
    for step, solved in zip(path.steps, further.steps, strict=True):
        assert step.objective <= solved.objective * 1.001, f"strength {step.strength}"


def test_every_step_of_the_path_converges_and_is_recorded(digits: Data, path: ProbePath) -> None:
    assert len(STRENGTHS) == 12
    assert STRENGTHS[0] / STRENGTHS[-1] == pytest.approx(10**5.5)
    assert tuple(step.strength for step in path.steps) == STRENGTHS[: path.chosen + 1 + PROBE_BEYOND_BEST]
    assert [step.converged for step in path.steps] == [True] * len(path.steps)
    assert all(0 < step.iterations < linear_probe.MAX_ITERATIONS for step in path.steps)
    objectives = [step.objective for step in path.steps]
    assert objectives == sorted(objectives, reverse=True), "a weaker penalty has a smaller minimum"
    assert path.steps[-1].train_acc == 1.0


def test_the_chosen_step_scores_best_on_val_and_its_head_is_the_one_returned(digits: Data, path: ProbePath) -> None:
    scores = [step.score for step in path.steps]
    assert scores[path.chosen] == max(scores)
    assert 0 < path.chosen < len(scores) - 1, "neither end of the path is best on these scans"
    found = path.head(digits.features, digits.val)
    chosen = path.steps[path.chosen]
    of_truth = found[np.arange(len(found)), digits.val_labels]
    assert np.mean(found.argmax(axis=1) == digits.val_labels) == chosen.val_acc
    assert -np.log(of_truth.astype(np.float64)).mean() == pytest.approx(chosen.val_nll, rel=1e-6)
    on_train = path.head(digits.features, digits.train).argmax(axis=1)
    assert np.mean(on_train == digits.train_labels) == pytest.approx(chosen.train_acc, abs=1 / len(on_train))


def test_there_is_a_head_for_every_step_of_the_path(digits: Data, path: ProbePath) -> None:
    assert len(path.heads) == len(path.steps)
    assert path.head is path.heads[path.chosen]
    for step, head in zip(path.steps, path.heads, strict=True):
        found = head(digits.features, digits.val)
        assert np.mean(found.argmax(axis=1) == digits.val_labels) == step.val_acc
        of_truth = found[np.arange(len(found)), digits.val_labels].astype(np.float64)
        assert -np.log(of_truth).mean() == pytest.approx(step.val_nll, rel=1e-5)
    norms = [float(np.linalg.norm(head.weights)) for head in path.heads]
    assert norms == sorted(norms), "the weaker the penalty, the larger the weights"


def with_val_accuracies(path: ProbePath, *accuracies: float) -> ProbePath:
    steps = tuple(replace(step, val_acc=value) for step, value in zip(path.steps, accuracies, strict=False))
    return ProbePath(steps, path.heads[: len(steps)], chosen=0)


@pytest.mark.parametrize(
    ("accuracies", "val", "expected"),
    [
        # One standard error of .75 on 196 images is sqrt(.75 x .25 / 196) = .0309: .7191 is the least.
        ((0.50, 0.71, 0.72, 0.75, 0.74), 196, 2),
        ((0.50, 0.7190, 0.7192, 0.75, 0.74), 196, 2),
        # On 12 images it is .125: .625.
        ((0.50, 0.63, 0.72, 0.75, 0.74), 12, 1),
        # On a million images only the best will do, the first of two.
        ((0.50, 0.71, 0.75, 0.75, 0.74), 10**6, 2),
        # Without a single mistake there is no error to allow for.
        ((0.90, 0.99, 1.00, 1.00, 1.00), 4, 2),
        ((0.00, 0.00, 0.00, 0.00, 0.00), 4, 0),
    ],
)
def test_fine_tuning_starts_at_the_strongest_penalty_within_one_standard_error(
    path: ProbePath, accuracies: tuple[float, ...], val: int, expected: int
) -> None:
    assert with_val_accuracies(path, *accuracies).gentle(val) == expected


def test_the_gentle_step_is_never_less_regularised_than_the_most_accurate(digits: Data, path: ProbePath) -> None:
    accuracies = [step.val_acc for step in path.steps]
    assert 0 < path.gentle(len(digits.val)) <= accuracies.index(max(accuracies))


@pytest.mark.parametrize(
    ("scores", "solved", "chosen"),
    [
        ([0.5, 0.7, 0.6, 0.6, 0.9, 0.9], 4, 1),  # two behind the best: what is beyond is not looked at
        ([0.7, 0.6, 0.8, 0.7, 0.7, 0.9], 5, 2),  # a better one in time
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6, 5),
        ([0.7, 0.7, 0.7, 0.9, 0.9, 0.9], 3, 0),  # no better is as good as worse
    ],
)
def test_the_path_ends_behind_its_best(
    digits: Data, monkeypatch: pytest.MonkeyPatch, scores: list[float], solved: int, chosen: int
) -> None:
    given = iter(scores)
    monkeypatch.setattr(linear_probe, "selection_score", lambda *_: next(given))
    told: list[tuple[int, int]] = []
    found = digits.fit(strengths=STRENGTHS[:6], progress=lambda done, total: told.append((done, total)))
    assert (len(found.steps), len(found.heads), found.chosen) == (solved, solved, chosen)
    assert told[-1] == (6, 6)


def test_equal_scores_go_to_the_stronger_regularisation(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    strengths = (1.0, 0.1, 0.01, 0.001)
    scores = iter([0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr(linear_probe, "selection_score", lambda *_: next(scores))
    found = digits.fit(strengths=strengths)
    assert found.chosen == 1
    scores = iter([0.5, 0.7])
    np.testing.assert_array_equal(found.head.weights, digits.fit(strengths=strengths[:2]).head.weights)


def test_two_runs_are_bit_identical(digits: Data, wide: Data, path: ProbePath) -> None:
    for data, first in ((digits, path), (wide, wide.fit())):
        again = data.fit()
        assert again.steps == first.steps
        assert again.chosen == first.chosen
        assert again.head.weights.tobytes() == first.head.weights.tobytes()
        assert again.head.bias.tobytes() == first.head.bias.tobytes()


def test_features_that_never_change_in_train_have_no_say(digits: Data) -> None:
    constant = digits.moments()[1] == 0
    assert constant.sum() >= 3
    found = digits.fit(strengths=(0.1,), tolerance=1e-5)
    np.testing.assert_array_equal(found.head.weights[constant], 0)
    # Not even where they change on val.
    shaken = digits.features.copy()
    shaken[np.ix_(digits.val, constant)] = 1e6
    np.testing.assert_array_equal(found.head(shaken, digits.val), found.head(digits.features, digits.val))
    without = replace(digits, features=digits.features[:, ~constant])
    expected = without.fit(strengths=(0.1,), tolerance=1e-5)
    np.testing.assert_allclose(
        found.head(digits.features, digits.val), expected.head(without.features, without.val), atol=1e-3
    )


def test_features_without_any_information_give_the_shares_of_the_classes() -> None:
    nothing = np.full((12, 4), 7.0, np.float32)
    labels = np.array([0] * 7 + [1] * 5)
    found = fit_path(nothing, labels, train=np.arange(10), val=np.arange(10, 12), classes=2)
    np.testing.assert_allclose(found.head(nothing[:1]), [[0.7, 0.3]], atol=1e-2)


def test_the_scale_and_offset_of_a_feature_do_not_matter(digits: Data) -> None:
    rng = np.random.default_rng(0)
    scale, offset = np.exp(rng.normal(0, 2, 64)), rng.normal(0, 5, 64)
    other = replace(digits, features=(digits.features * scale + offset).astype(np.float32))
    first, second = (
        data.fit(strengths=(0.1,), tolerance=1e-5).head(data.features, data.val) for data in (digits, other)
    )
    np.testing.assert_allclose(second, first, atol=2e-3)


def test_rows_that_are_neither_train_nor_val_are_not_looked_at(digits: Data) -> None:
    few = replace(digits, train=digits.train[:300], val=digits.val[:100])
    expected = few.fit()
    others = np.setdiff1d(np.arange(len(digits.labels)), np.concatenate([few.train, few.val]))
    damaged, relabelled = digits.features.copy(), digits.labels.copy()
    damaged[others], relabelled[others] = np.nan, 0
    found = replace(few, features=damaged, labels=relabelled).fit()
    assert found.steps == expected.steps
    np.testing.assert_array_equal(found.head.weights, expected.head.weights)


@pytest.mark.parametrize("shape", ["more items than features", "more features than items"])
def test_reading_in_blocks_from_a_mapped_file_changes_nothing_but_rounding(
    digits: Data, wide: Data, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits if shape == "more items than features" else wide
    strengths = (0.1, 0.01)
    expected = data.fit(strengths=strengths, tolerance=1e-4)
    monkeypatch.setattr(eigenbasis, "BLOCK_ROWS", 37)
    monkeypatch.setattr(eigenbasis, "IN_MEMORY_BYTES", 0)
    np.save(tmp_path / "features.npy", data.features)
    mapped = replace(data, features=np.load(tmp_path / "features.npy", mmap_mode="r"))
    found = mapped.fit(strengths=strengths, tolerance=1e-4)
    for step, other in zip(found.steps, expected.steps, strict=True):
        assert step.objective == pytest.approx(other.objective, rel=1e-6)
        assert (step.train_acc, step.val_acc) == (other.train_acc, other.val_acc)
    assert found.chosen == expected.chosen
    np.testing.assert_allclose(found.head(mapped.features, data.val), expected.head(data.features, data.val), atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("split", ["train", "val"])
def test_features_that_are_not_finite_raise(digits: Data, value: float, split: str) -> None:
    damaged = digits.features.copy()
    damaged[getattr(digits, split)[7], 3] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        replace(digits, features=damaged).fit()


def test_progress_is_told_after_every_strength(digits: Data) -> None:
    told: list[tuple[int, int]] = []
    digits.fit(strengths=(1.0, 0.1), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_head_is_a_softmax_of_a_linear_map() -> None:
    head = linear_probe.Head(np.array([[1.0, 0.0], [0.0, 2.0]], np.float32), np.array([0.0, 1.0], np.float32))
    found = head(np.array([[1.0, 0.5], [0.0, 0.0]]))
    # Logits (1, 2) and (0, 1): both one apart.
    np.testing.assert_allclose(found, [[1 / (1 + np.e), np.e / (1 + np.e)]] * 2, rtol=1e-6)
    assert found.dtype == np.float32
