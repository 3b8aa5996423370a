"""How well a backbone's features suit the data, in seconds: scores of the train split alone, higher is better.

All but the kNN score are read off the one spectrum of the standardised features that the probe is solved in. Standard
units make the scores of networks whose features differ in size comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from backbench.spectrum import Doubles, Floats, Rows, Spectrum, blocks

# Ridge penalties per image, in units in which every feature has variance 1: half decades, strong to weak.
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** (3 - np.arange(13) / 2))

# Neighbours that vote, and the temperature of their weights (Caron et al. 2021, arXiv 2104.14294, appendix).
NEIGHBOURS = (10, 20, 100)
TEMPERATURE = 0.07

# Of more images than this, so many evenly spaced ones ask for their neighbours among all others; a standard error of
# at most 1.1 points, and the same images for every backbone.
MOST_QUERIES = 2048
QUERIES_AT_ONCE = 1024

# Where the ratio of the two precisions of LogME is looked for, as powers of ten of the largest squared singular value.
RATIOS = np.arange(-14, 5, 0.5)


@dataclass(frozen=True)
class Scores:
    """Scores of one backbone's features on train, higher is better, and what was chosen on the way.

    `ridge_loo_acc` and `knn_loo_acc` are accuracies with each image left out; `logme` is nats per image; `h_score` is
    the shrunk variance between classes in units of that within all, at most the number of classes - 1.
    """

    ridge_loo_acc: float
    knn_loo_acc: float
    logme: float
    h_score: float
    ridge_penalty: float
    neighbours: int
    shrinkage: float

    def columns(self) -> dict[str, float]:
        """Those of the table."""
        return {name: getattr(self, name) for name in ("ridge_loo_acc", "knn_loo_acc", "logme", "h_score")}


def score(spectrum: Spectrum, features: NDArray[Any], labels: NDArray[np.int64], *, rows: Rows, classes: int) -> Scores:
    """All scores of some rows of features [n, d], of which `spectrum` is; labels [n] in 0..classes-1."""
    truth = labels[rows]
    sums = class_sums(spectrum, features, truth, rows=rows, classes=classes)
    ridge = ridge_loo(spectrum, truth, sums=sums)
    knn = knn_loo(features, truth, rows=rows, classes=classes)
    best, nearest = int(np.argmax(ridge)), int(np.argmax(knn))
    shrinkage = ledoit_wolf(spectrum)
    return Scores(
        ridge_loo_acc=float(ridge[best]),
        knn_loo_acc=float(knn[nearest]),
        logme=logme(spectrum, truth, sums=sums),
        h_score=h_score(spectrum, truth, sums=sums, shrinkage=shrinkage),
        ridge_penalty=PENALTIES[best],
        neighbours=NEIGHBOURS[nearest],
        shrinkage=shrinkage,
    )


def class_sums(
    spectrum: Spectrum, features: NDArray[Any], truth: NDArray[np.int64], *, rows: Rows, classes: int
) -> Doubles:
    """Sums over each class of the features on the axes of the spectrum [k, C], without their rounding to float32."""
    sums = np.zeros((len(spectrum.mean), classes))
    for block in blocks(len(rows)):
        sums += (features[rows[block]] - spectrum.mean).T @ np.eye(classes)[truth[block]]
    return spectrum.rotation.T @ sums


def ridge_loo(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles) -> Doubles:
    """Leave-one-out accuracy of ridge regression on one-hot labels [n], at each of the PENALTIES [L]."""
    accuracies: Doubles = ridge_right(spectrum, truth, sums=sums).mean(axis=0)
    return accuracies


def ridge_right(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles) -> NDArray[np.bool_]:
    """Which images [n] ridge regression gets right with each left out in turn, at each of the PENALTIES: [n, L].

    Exact for the ridge and its intercept without one fit more: with fitted values F and leverages h, what the model
    without image i says of it is Y_i - (Y_i - F_i) / (1 - h_i) (Golub, Heath and Wahba 1979, the identity behind
    PRESS). Only the standardisation has seen the image.
    """
    n, classes = len(truth), sums.shape[1]
    shares = np.bincount(truth, minlength=classes) / n
    squared = spectrum.eigenvalues * n
    penalised = squared[:, None] + n * np.array(PENALTIES)
    solved = (sums[:, :, None] / penalised[:, None, :]).reshape(len(squared), classes * len(PENALTIES))
    right = np.zeros((n, len(PENALTIES)), bool)
    for block in blocks(n):
        rotated = spectrum.rotated[block].astype(np.float64)
        fitted = shares[:, None] + (rotated @ solved).reshape(len(rotated), classes, -1)
        rest = 1 - 1 / n - rotated**2 @ (1 / penalised)
        actual = np.eye(classes)[truth[block]][:, :, None]
        left_out = actual - (actual - fitted) / np.maximum(rest, np.finfo(float).eps)[:, None, :]
        right[block] = left_out.argmax(axis=1) == truth[block][:, None]
    return right


def knn_loo(features: NDArray[Any], truth: NDArray[np.int64], *, rows: Rows, classes: int) -> Doubles:
    """Leave-one-out accuracy of a vote of the nearest images by cosine, at each number of NEIGHBOURS [3].

    features [N, d] as they are, whose `rows` are of the classes `truth` [n]; a neighbour's vote has the weight
    exp(cosine / TEMPERATURE) (Wu et al. 2018, arXiv 1805.01978). Beyond MOST_QUERIES images the accuracy is
    that of some of them, among all.
    """
    n, most = len(rows), max(NEIGHBOURS)
    queries = np.linspace(0, n - 1, min(n, MOST_QUERIES)).astype(np.int64)
    asking = _normalised(features[rows[queries]])
    cosines = np.full((len(queries), most), -np.inf, np.float32)
    voters = np.zeros((len(queries), most), np.int64)
    for block in blocks(n):
        asked = _normalised(features[rows[block]])
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            some = slice(start, start + QUERIES_AT_ONCE)
            found = asking[some] @ asked.T
            inside = (queries[some] >= block.start) & (queries[some] < block.stop)
            found[np.flatnonzero(inside), queries[some][inside] - block.start] = -np.inf  # the image itself
            all_cosines = np.concatenate([cosines[some], found], axis=1)
            kept = np.argpartition(all_cosines, -most, axis=1)[:, -most:]
            before = np.take_along_axis(voters[some], np.minimum(kept, most - 1), axis=1)
            voters[some] = np.where(kept < most, before, truth[block][np.maximum(kept - most, 0)])
            cosines[some] = np.take_along_axis(all_cosines, kept, axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")
    cosines, voters = np.take_along_axis(cosines, order, axis=1), np.take_along_axis(voters, order, axis=1)
    weights = np.exp((cosines - cosines[:, :1]).astype(np.float64) / TEMPERATURE)
    found_right = []
    for neighbours in NEIGHBOURS:
        votes = np.zeros((len(queries), classes))
        np.add.at(votes, (np.arange(len(queries))[:, None], voters[:, :neighbours]), weights[:, :neighbours])
        found_right.append(np.mean(votes.argmax(axis=1) == truth[queries]))
    return np.array(found_right)


def logme(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles) -> float:
    """Largest log evidence of a Bayesian linear model of each class's one-hot labels, per image, mean over classes.

    You et al. 2021 (arXiv 2102.11005), with three things put right. The prior counts the k axes that there are and not
    all d features, by which the published value is wrong, and far too high, for n < d. Both precisions are at the true
    maximum, found over their ratio, where the published fixed point may stop early. And the model has an intercept,
    integrated out under a flat prior, which takes one image: what is explained is the centred label.
    """
    n = len(truth)
    counts = np.bincount(truth, minlength=sums.shape[1])
    counts, sums = counts[counts > 0], sums[:, counts > 0]
    sigma = spectrum.eigenvalues * n
    explained = (sums**2 / sigma[:, None]).T
    total = counts * (1 - counts / n)
    unexplained = np.maximum(total - explained.sum(axis=1), np.finfo(float).eps * n)
    grid = np.log(sigma.max(initial=1.0)) + np.log(10) * RATIOS
    coarse = np.stack([_log_evidence(at, sigma, explained, unexplained, n - 1) for at in grid])
    found = []
    for label, peak in enumerate(coarse.argmax(axis=0)):
        nearest = minimize_scalar(
            lambda at, of: -_log_evidence(at, sigma, explained[of], unexplained[of], n - 1),
            bounds=(grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]),
            args=(label,),
            method="bounded",
            options={"xatol": 1e-6},
        )
        found.append(max(-nearest.fun, coarse[peak, label]))
    return float(np.mean(found) / n)


def _log_evidence(log_ratio: float, sigma: Doubles, explained: Doubles, unexplained: Doubles, freedom: int) -> Any:
    """Log evidence at a ratio t of the weights' precision to the noise's, which then is freedom / misfit at its best.

    sigma [k] are the squared singular values, explained [..., k] the squared projections of the labels on the axes,
    unexplained [...] what is off all axes: misfit = unexplained + sum_j explained_j t / (sigma_j + t).
    """
    ratio = np.exp(log_ratio)
    misfit = unexplained + explained @ (ratio / (sigma + ratio))
    return -(freedom * np.log(2 * np.pi * np.e * misfit / freedom) + np.log1p(sigma / ratio).sum()) / 2


def ledoit_wolf(spectrum: Spectrum) -> float:
    """How far the covariance of the features that vary should be shrunk to a multiple of the identity, 0 to 1.

    Ledoit and Wolf 2004, a well-conditioned estimator for large-dimensional covariance matrices, section 3.
    """
    n, width, e = len(spectrum.rotated), spectrum.varying, spectrum.eigenvalues
    fourth = 0.0
    for block in blocks(n):
        fourth += float(np.sum(np.sum(spectrum.rotated[block].astype(np.float64) ** 2, axis=1) ** 2))
    squares = float(np.sum(e**2))
    distance = squares - float(np.sum(e)) ** 2 / max(width, 1)
    if distance <= 1e-12 * squares:  # it is such a multiple already
        return 0.0
    return min(max(fourth / n - squares, 0.0) / n / distance, 1.0)


def h_score(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles, shrinkage: float) -> float:
    """Trace of the shrunk covariance's inverse times the covariance of the class means.

    Bao et al. 2019; shrunk by Ibrahim, Ponomareva and Mazumder 2022 (arXiv 2110.06893), because unshrunk it is the
    number of classes - 1 for any data with n <= d.
    """
    n, e = len(truth), spectrum.eigenvalues
    counts = np.bincount(truth, minlength=sums.shape[1])
    between = (sums**2 / np.maximum(counts, 1)).sum(axis=1) / n
    shrunk = (1 - shrinkage) * e + shrinkage * float(np.sum(e)) / max(spectrum.varying, 1)
    return float((1 - shrinkage) * np.sum(between / shrunk))


def _normalised(features: NDArray[Any]) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: Floats = (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return found
