"""Transferability scores on real scans: against brute force, against scikit-learn, and by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from backbench.core import recipe
from backbench.core.recipe import RIDGE_PENALTIES
from backbench.evaluation import eigenbasis, transferability
from backbench.evaluation.eigenbasis import Spectrum, decompose
from backbench.evaluation.transferability import Scores, class_sums, h_score, knn_loo, ledoit_wolf, logme, ridge_loo

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
CLASSES = 10


@pytest.fixture(scope="module")
def scans() -> tuple[Floats, Labels]:
    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.float32), labels.astype(np.int64)


def data(scans: tuple[Floats, Labels], shape: str) -> tuple[Floats, Labels]:
    """150 scans with 64 pixels, some of them always nought; or 40 with the 528 products of half of their pixels."""
    features, labels = scans
    if shape == "tall":
        return features[:150], labels[:150]
    first, second = np.triu_indices(32)
    middle = features[:40, 16:48]
    return middle[:, first] * middle[:, second], labels[:40]


SHAPES = pytest.mark.parametrize("shape", ["tall", "wide"])


def standardised(features: Floats) -> NDArray[np.float64]:
    """Without the features that never change."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    return centred[:, deviation > 0] / deviation[deviation > 0]


def parts(features: Floats, labels: Labels, classes: int = CLASSES) -> tuple[Spectrum, NDArray[np.float64]]:
    rows = np.arange(len(features))
    found = decompose(features, rows)
    return found, class_sums(found, features, labels, rows=rows, classes=classes)


def scored(features: Floats, labels: Labels, classes: int = CLASSES) -> Scores:
    rows = np.arange(len(features))
    return transferability.score(decompose(features, rows), features, labels, rows=rows, classes=classes)


@SHAPES
def test_the_spectrum_is_that_of_the_covariance(scans: tuple[Floats, Labels], shape: str) -> None:
    features, _ = data(scans, shape)
    X = standardised(features)
    found = decompose(features, np.arange(len(features)))
    expected = np.linalg.svd(X, compute_uv=False)[::-1] ** 2 / len(X)
    rank = min(X.shape[1], len(X) - 1)
    np.testing.assert_allclose(found.eigenvalues[-rank:], expected[-rank:], rtol=1e-9, atol=1e-9)
    assert len(found.eigenvalues) <= rank
    assert found.varying == X.shape[1] < features.shape[1]
    np.testing.assert_allclose(found.rotated.T @ found.rotated / len(X), np.diag(found.eigenvalues), atol=1e-4)


@SHAPES
def test_ridge_equals_leaving_every_image_out(scans: tuple[Floats, Labels], shape: str) -> None:
    features, labels = data(scans, shape)
    X, Y = standardised(features), np.eye(CLASSES)[labels]
    everyone, some = np.arange(len(X)), slice(None, None, 3)
    right = []
    for penalty in RIDGE_PENALTIES[some]:
        model = Ridge(alpha=penalty * len(X), solver="cholesky")
        left_out = [model.fit(X[everyone != i], Y[everyone != i]).predict(X[[i]])[0].argmax() for i in everyone]
        right.append(np.mean(np.array(left_out) == labels))
    found, sums = parts(features, labels)
    np.testing.assert_array_equal(ridge_loo(found, labels, sums=sums)[some], right)
    assert len(set(right)) > 2, "the penalties make a difference"


@SHAPES
def test_knn_equals_leaving_every_image_out(scans: tuple[Floats, Labels], shape: str) -> None:
    features, labels = data(scans, shape)
    everyone = np.arange(len(features))
    expected = []
    for neighbours in (10, 20, 100):
        right = 0
        for i in everyone:
            others = everyone != i
            model = KNeighborsClassifier(
                min(neighbours, len(features) - 1),
                metric="cosine",
                algorithm="brute",
                weights=lambda distances: np.exp((1 - distances) / 0.07),
            )
            right += model.fit(features[others], labels[others]).predict(features[[i]])[0] == labels[i]
        expected.append(right / len(features))
    np.testing.assert_allclose(knn_loo(features, labels, rows=everyone, classes=CLASSES), expected, atol=1e-12)


def exact_evidence(X: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Largest log density of the n - 1 contrasts of y, which know of no intercept, over both precisions, per image."""
    n = len(y)
    contrasts = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]
    seen, kernel = contrasts.T @ y, contrasts.T @ X @ X.T @ contrasts

    def misery(logs: NDArray[np.float64]) -> float:
        covariance = kernel * np.exp(logs[0]) + np.eye(n - 1) * np.exp(logs[1])
        _, size = np.linalg.slogdet(2 * np.pi * covariance)
        return float(size + seen @ np.linalg.solve(covariance, seen)) / 2

    starts = [(-9.0, -5.0), (-9.0, -15.0), (-12.0, -3.0)]
    options = {"xatol": 1e-5, "fatol": 1e-8, "maxiter": 2000}
    return max(-minimize(misery, start, method="Nelder-Mead", options=options).fun for start in starts) / n


@SHAPES
def test_logme_is_the_largest_evidence_there_is(scans: tuple[Floats, Labels], shape: str) -> None:
    features, labels = data(scans, shape)
    features, labels = features[:40], labels[:40] // 3
    expected = np.mean([exact_evidence(standardised(features), (labels == c).astype(float)) for c in range(4)])
    found, sums = parts(features, labels, 4)
    assert logme(found, labels, sums=sums) == pytest.approx(expected, abs=1e-6)


def test_logme_meets_the_conditions_of_the_fixed_point(scans: tuple[Floats, Labels]) -> None:
    """MacKay's updates, started anywhere, end where the search over the ratio does."""
    features, labels = data(scans, "tall")
    X = standardised(features)
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    sigma, keep = s**2, s > 1e-6
    U, sigma, n = U[:, keep], sigma[keep], len(X)
    expected = []
    for label in range(CLASSES):
        y = (labels == label) - np.mean(labels == label)
        z2 = (U.T @ y) ** 2
        r, t = float(y @ y - z2.sum()), 1.0
        for _ in range(5000):
            gamma = np.sum(sigma / (sigma + t))
            alpha = gamma / np.sum(sigma * z2 / (sigma + t) ** 2)
            beta = (n - 1 - gamma) / (np.sum(z2 / (1 + sigma / t) ** 2) + r)
            t = alpha / beta
        q, m = np.sum(z2 / (1 + sigma / t) ** 2) + r, np.sum(sigma * z2 / (sigma + t) ** 2)
        logs = len(sigma) * np.log(alpha) + (n - 1) * np.log(beta / (2 * np.pi)) - np.sum(np.log(alpha + beta * sigma))
        expected.append((logs - beta * q - alpha * m) / 2 / n)
    found, sums = parts(features, labels)
    assert logme(found, labels, sums=sums) == pytest.approx(np.mean(expected), abs=1e-7)


def test_logme_of_more_features_than_images_counts_only_the_axes_that_there_are() -> None:
    """Noise of 1,000 features explains nothing; with D log alpha in place of k the evidence came out far above zero."""
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((60, 1000)).astype(np.float32), np.arange(60) % 2
    found, sums = parts(features, labels, 2)
    nothing = -59 / 2 * np.log(2 * np.pi * np.e * 15 / 59) / 60
    assert nothing - 1e-6 <= logme(found, labels, sums=sums) < nothing + 0.05


@SHAPES
def test_shrinkage_is_that_of_scikit_learn(scans: tuple[Floats, Labels], shape: str) -> None:
    features, labels = data(scans, shape)
    _, expected = sklearn_ledoit_wolf(standardised(features), assume_centered=True)
    assert 0.01 < expected < 1
    assert ledoit_wolf(parts(features, labels)[0]) == pytest.approx(expected, rel=1e-5)


@SHAPES
def test_the_h_score_is_a_trace(scans: tuple[Floats, Labels], shape: str) -> None:
    features, labels = data(scans, shape)
    X = standardised(features)
    covariance, shrinkage = sklearn_ledoit_wolf(X, assume_centered=True)
    means = np.stack([X[labels == label].mean(axis=0) for label in labels])
    expected = (1 - shrinkage) * np.trace(np.linalg.solve(covariance, means.T @ means / len(X)))
    found, sums = parts(features, labels)
    assert h_score(found, labels, sums=sums, shrinkage=shrinkage) == pytest.approx(expected, rel=1e-5)


def test_unshrunk_the_h_score_of_wide_features_says_nothing(scans: tuple[Floats, Labels]) -> None:
    features, labels = data(scans, "wide")
    shuffled = np.random.default_rng(0).permutation(labels)
    for some in (labels, shuffled):
        found, sums = parts(features, some)
        assert h_score(found, some, sums=sums, shrinkage=0.0) == pytest.approx(CLASSES - 1, rel=1e-4)
    shrunk = [scored(features, some).h_score for some in (labels, shuffled)]
    assert shrunk[0] > shrunk[1] + 1


def test_two_classes_on_one_axis_by_hand() -> None:
    """x = -1, -1, 1, 1 with labels 0, 0, 1, 1, standardised already."""
    features, labels = np.array([[-1], [-1], [1], [1]], np.float32), np.array([0, 0, 1, 1])
    found, sums = parts(features, labels, 2)
    np.testing.assert_allclose(found.eigenvalues, [1.0])
    # The class means are one deviation from the mean, and one axis needs no shrinking.
    assert ledoit_wolf(found) == 0.0
    assert h_score(found, labels, sums=sums, shrinkage=0.0) == pytest.approx(1.0)
    # Left out, each image leaves its twin and two others: right at every penalty but where the shares decide.
    np.testing.assert_array_equal(ridge_loo(found, labels, sums=sums)[-3:], [1, 1, 1])


def test_constant_features_by_hand() -> None:
    features, labels = np.full((6, 3), 7.0, np.float32), np.array([0, 0, 0, 0, 1, 1])
    found = scored(features, labels, 2)
    # Without one of the four, three of five are left; without one of the two, one of five: the four are right.
    assert found.ridge_loo_acc == pytest.approx(4 / 6)
    assert found.h_score == 0
    # One variance of five contrasts, whose squares sum to 4 x 2 / 6 = 4 / 3 for either class.
    assert found.logme == pytest.approx(-5 / 2 * np.log(2 * np.pi * np.e * 4 / 15) / 6)


def test_knn_by_hand() -> None:
    """Two right angles apart; inside a pair the cosine is over .99, across 0.2 and less: the nearest decides."""
    features = np.array([[1, 0], [5, 0.5], [0, 2], [0.1, 1]], np.float32)
    rows = np.arange(4)
    np.testing.assert_array_equal(knn_loo(features, np.array([0, 0, 1, 1]), rows=rows, classes=2), [1, 1, 1])
    np.testing.assert_array_equal(knn_loo(features, np.array([0, 1, 0, 1]), rows=rows, classes=2), [0, 0, 0])
    np.testing.assert_array_equal(knn_loo(features, np.array([0, 1, 1, 1]), rows=rows, classes=2), [0.5, 0.5, 0.5])


def test_a_class_with_one_member_is_never_right_and_harms_nothing(scans: tuple[Floats, Labels]) -> None:
    features, labels = data(scans, "tall")
    alone = np.where(labels == 9, 8, labels)
    alone[7] = 9
    found, sums = parts(features, alone)
    assert ridge_loo(found, alone, sums=sums).max() <= 149 / 150
    assert all(np.isfinite(value) for value in vars(scored(features, alone)).values())


def test_a_class_without_members_changes_only_what_counts_classes(scans: tuple[Floats, Labels]) -> None:
    features, labels = data(scans, "tall")
    assert vars(scored(features, labels, 12)) == pytest.approx(vars(scored(features, labels)))


def test_twins_are_each_others_neighbours(scans: tuple[Floats, Labels]) -> None:
    features, labels = data(scans, "tall")
    twice, both = np.concatenate([features, features]), np.concatenate([labels, labels])
    found = scored(twice, both)
    assert found.knn_loo_acc >= scored(features, labels).knn_loo_acc
    assert all(np.isfinite(value) for value in vars(found).values())
    # Features that occur twice have as many axes as once.
    repeated, sums = parts(np.concatenate([features, features], axis=1), labels)
    once, _ = parts(features, labels)
    np.testing.assert_allclose(repeated.eigenvalues, 2 * once.eigenvalues, rtol=1e-6, atol=1e-9)
    assert ridge_loo(repeated, labels, sums=sums).max() == pytest.approx(
        scored(features, labels).ridge_loo_acc, abs=0.02
    )


def test_better_features_score_higher(scans: tuple[Floats, Labels]) -> None:
    """Pixels under more and more noise: every score falls."""
    features, labels = scans
    rng = np.random.default_rng(0)
    noisy = [
        scored((features[:600] + rng.normal(0, n, (600, 64))).astype(np.float32), labels[:600]) for n in (1, 8, 24)
    ]
    for name in ("ridge_loo_acc", "knn_loo_acc", "logme", "h_score"):
        values = [getattr(found, name) for found in noisy]
        assert all(better > worse for better, worse in pairwise(values)), name


def test_the_scale_of_features_matters_to_the_angles_alone(scans: tuple[Floats, Labels]) -> None:
    features, labels = data(scans, "tall")
    scale = np.exp(np.random.default_rng(0).normal(0, 2, 64)).astype(np.float32)
    found, other = scored(features, labels), scored(features * scale, labels)
    assert other.ridge_loo_acc == found.ridge_loo_acc
    assert (other.logme, other.h_score) == pytest.approx((found.logme, found.h_score), rel=1e-5)


@SHAPES
def test_only_the_rows_of_train_count_in_blocks_from_a_mapped_file(
    scans: tuple[Floats, Labels], shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = data(scans, shape)
    expected = scored(features, labels)
    rows = np.arange(len(features)) * 2 + 1
    spread = np.full((2 * len(features), features.shape[1]), np.nan, np.float32)
    everywhere = np.zeros(len(spread), np.int64)
    spread[rows], everywhere[rows] = features, labels
    np.save(tmp_path / "features.npy", spread)
    monkeypatch.setattr(eigenbasis, "BLOCK_ROWS", 17)
    monkeypatch.setattr(eigenbasis, "IN_MEMORY_BYTES", 0)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    split = decompose(mapped, rows, scratch=tmp_path)
    found = transferability.score(split, mapped, everywhere, rows=rows, classes=CLASSES)
    assert vars(found) == pytest.approx(vars(expected), rel=1e-5)


def voted(features: Floats, labels: Labels, queries: Labels) -> list[float]:
    """Accuracy of the nearest 10, 20 and 100 of all other images, from all cosines in float64."""
    unit = features.astype(np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit[queries] @ unit.T
    cosines[np.arange(len(queries)), queries] = -1
    order = np.argsort(-cosines, axis=1)
    found = []
    for neighbours in (10, 20, 100):
        right = 0
        for query, row, nearest in zip(queries, cosines, order[:, :neighbours], strict=True):
            votes = np.bincount(labels[nearest], weights=np.exp(row[nearest] / 0.07), minlength=10)
            right += votes.argmax() == labels[query]
        found.append(right / len(queries))
    return found


def test_of_many_images_some_of_every_class_ask_all_the_others(
    scans: tuple[Floats, Labels], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = data(scans, "tall")
    monkeypatch.setattr(recipe, "MOST_QUERIES", 4)
    by_class = np.argsort(labels, kind="stable")
    expected = voted(features, labels, by_class[[0, 49, 99, 149]])
    np.testing.assert_array_equal(knn_loo(features, labels, rows=np.arange(150), classes=CLASSES), expected)


@pytest.mark.parametrize("block_rows", [4096, 650])
def test_a_vote_among_many_images_misses_no_neighbour(
    scans: tuple[Floats, Labels], block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,797 scans, of which those that may be near are looked for in groups, at once and in three blocks."""
    features, labels = scans
    monkeypatch.setattr(recipe, "MOST_QUERIES", len(labels))
    monkeypatch.setattr(eigenbasis, "BLOCK_ROWS", block_rows)
    rows = np.arange(len(labels))
    expected = voted(features, labels, rows)
    np.testing.assert_array_equal(knn_loo(features, labels, rows=rows, classes=CLASSES), expected)


@pytest.mark.parametrize("block_rows", [4096, 400])
def test_images_that_are_all_alike_are_as_near_as_each_other(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """900 of one direction and four of the opposite one, whose own three outweigh any hundred by e to the 28th."""
    features = np.repeat(np.array([[1, 2], [-2, -4]], np.float32), (900, 4), axis=0)
    labels = np.repeat([0, 1], (900, 4))
    monkeypatch.setattr(recipe, "MOST_QUERIES", 904)
    monkeypatch.setattr(eigenbasis, "BLOCK_ROWS", block_rows)
    np.testing.assert_array_equal(knn_loo(features, labels, rows=np.arange(904), classes=2), [1, 1, 1])
