"""How well a backbone's features suit the data, in seconds: scores of the train split alone, higher is better.

All but the kNN score are read off the one spectrum of the standardised features that the probe is solved in. Standard
units make the scores of networks whose features differ in size comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core import recipe
from backbench.evaluation.eigenbasis import Doubles, Floats, Rows, Spectrum, blocks

# Where the ratio of the two precisions of LogME is looked for, as powers of ten of the largest squared singular value;
# then the two steps about the best are halved so often, which leaves an error of the evidence below 1e-8.
RATIOS = np.arange(-14, 5, 0.5)
HALVINGS = 16


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
        ridge_penalty=recipe.RIDGE_PENALTIES[best],
        neighbours=recipe.NEIGHBOURS[nearest],
        shrinkage=shrinkage,
    )


def class_sums(
    spectrum: Spectrum, features: NDArray[Any], truth: NDArray[np.int64], *, rows: Rows, classes: int
) -> Doubles:
    """Sums over each class of the features on the axes of the spectrum [k, C], without their rounding to float32."""
    sums = np.zeros((classes, len(spectrum.mean)))
    for block in blocks(len(rows)):
        some = features[rows[block]]
        for label in np.unique(truth[block]):
            sums[label] += some[truth[block] == label].sum(axis=0, dtype=np.float64)
    sums -= np.bincount(truth, minlength=classes)[:, None] * spectrum.mean
    return (sums @ spectrum.rotation).T


def ridge_loo(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles) -> Doubles:
    """Leave-one-out accuracy of ridge regression on one-hot labels [n], at each of `recipe.RIDGE_PENALTIES` [L]."""
    accuracies: Doubles = ridge_right(spectrum, truth, sums=sums).mean(axis=0)
    return accuracies


def ridge_right(spectrum: Spectrum, truth: NDArray[np.int64], *, sums: Doubles) -> NDArray[np.bool_]:
    """Which images [n] ridge regression gets right with each left out in turn, at each ridge penalty: [n, L].

    Exact for the ridge and its intercept without one fit more: with fitted values F and leverages h, what the model
    without image i says of it is Y_i - (Y_i - F_i) / (1 - h_i) (Golub, Heath and Wahba 1979, the identity behind
    PRESS), of which the largest is that of F_i - h_i Y_i. Only the standardisation has seen the image.
    """
    n, classes = len(truth), sums.shape[1]
    shares = (np.bincount(truth, minlength=classes) / n).astype(np.float32)
    squared = spectrum.eigenvalues * n
    penalties = np.array(recipe.RIDGE_PENALTIES)
    inverse = (1 / (squared[:, None] + n * penalties)).astype(np.float32)
    solved = (inverse[:, :, None] * sums[:, None, :].astype(np.float32)).reshape(-1, len(penalties) * classes)
    right = np.zeros((n, len(penalties)), bool)
    for block in blocks(n):
        rotated, actual = spectrum.rotated[block], truth[block]
        fitted = (rotated @ solved).reshape(len(rotated), len(penalties), classes)
        fitted += shares
        fitted[np.arange(len(rotated)), :, actual] -= rotated**2 @ inverse + np.float32(1 / n)
        right[block] = fitted.argmax(axis=2) == actual[:, None]
    return right


def knn_loo(features: NDArray[Any], truth: NDArray[np.int64], *, rows: Rows, classes: int) -> Doubles:
    """Leave-one-out accuracy of a vote of the nearest images by cosine, at each of `recipe.NEIGHBOURS` [3].

    features [N, d] as they are, whose `rows` are of the classes `truth` [n]; a neighbour's vote has the weight
    exp(cosine / temperature) (Wu et al. 2018, arXiv 1805.01978). Beyond `recipe.MOST_QUERIES` images the accuracy is
    that of some of them, among all.
    """
    n, most = len(rows), max(recipe.NEIGHBOURS)
    spaced = np.linspace(0, n - 1, min(n, recipe.MOST_QUERIES)).astype(np.int64)
    queries = np.sort(np.argsort(truth, kind="stable")[spaced])
    asking, lengths = _with_lengths(features[rows[queries]])
    asking = asking / lengths[:, None]
    cosines, voters = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for block in blocks(n):
        asked, lengths = _with_lengths(features[rows[block]])
        found = asking @ asked.T
        found /= lengths
        inside = np.flatnonzero((queries >= block.start) & (queries < block.stop))
        found[inside, queries[inside] - block.start] = -np.inf  # the image itself
        row, column = _near(found, cosines[:, most - 1 : most])
        counts = np.bincount(row, minlength=len(queries))
        place = cosines.shape[1] + np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        cosines = np.pad(cosines, ((0, 0), (0, counts.max())), constant_values=-np.inf)
        voters = np.pad(voters, ((0, 0), (0, counts.max())))
        cosines[row, place], voters[row, place] = found[row, column], truth[block][column]
        nearest = np.argsort(-cosines, axis=1)[:, :most]
        cosines, voters = np.take_along_axis(cosines, nearest, axis=1), np.take_along_axis(voters, nearest, axis=1)
    weights = np.exp((cosines - cosines[:, :1]).astype(np.float64) / recipe.NEIGHBOUR_TEMPERATURE)
    ballots = np.arange(len(queries))[:, None] * classes + voters
    votes, found_right = np.zeros(len(queries) * classes), []
    for counted, neighbours in pairwise((0, *recipe.NEIGHBOURS)):
        more = slice(counted, neighbours)
        votes += np.bincount(ballots[:, more].ravel(), weights[:, more].ravel(), minlength=len(votes))
        found_right.append(np.mean(votes.reshape(-1, classes).argmax(axis=1) == truth[queries]))
    return np.array(found_right)


def _near(cosines: Floats, least: Floats) -> tuple[Rows, Rows]:
    """Rows and columns of cosines [q, m] among which are the largest of each row, as many as may vote, and few more.

    Those below `least` may be missing: [q, 1], or [q, 0] where nothing is known yet. As many columns as may vote are at
    least as near as the last of as many peaks of groups of columns; `argpartition` of all takes twice as long.
    """
    most, columns = max(recipe.NEIGHBOURS), cosines.shape[1]
    size = max(columns // (3 * most), 1)
    peaks = cosines[:, : columns // size * size].reshape(len(cosines), size, -1).max(axis=1)
    floor = np.partition(peaks, -most, axis=1)[:, -most] if peaks.shape[1] > most else peaks.min(axis=1)
    floor = np.maximum(floor, least.max(axis=1, initial=-np.inf))
    row, column = np.divmod(np.flatnonzero(cosines >= floor[:, None]), columns)
    return row, column


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
    noise = _noise(grid, sigma)
    coarse = _log_evidence(noise[:, None], unexplained + noise @ explained.T, freedom=n - 1)
    peak = coarse.argmax(axis=0)
    low, high = grid[np.maximum(peak - 1, 0)], grid[np.minimum(peak + 1, len(grid) - 1)]
    for _ in range(HALVINGS):  # of all classes at once, by the sign of twice the evidence's slope
        middle = (low + high) / 2
        noise = _noise(middle, sigma)
        lost = explained * noise
        slope = (1 - noise).sum(axis=1) - (n - 1) * (lost * (1 - noise)).sum(axis=1) / (unexplained + lost.sum(axis=1))
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    noise = _noise(low, sigma)
    fine = _log_evidence(noise, unexplained + (explained * noise).sum(axis=1), freedom=n - 1)
    return float(np.maximum(fine, coarse.max(axis=0)).mean() / n)


def _noise(log_ratios: Doubles, sigma: Doubles) -> Doubles:
    """Of what lies on each axis, the share that counts as noise [m, k] at ratios of the weights' precision to its own.

    sigma [k] are the squared singular values.
    """
    ratios = np.exp(log_ratios)[:, None]
    shares: Doubles = ratios / (sigma + ratios)
    return shares


def _log_evidence(noise: Doubles, misfit: Doubles, *, freedom: int) -> Doubles:
    """Log evidence [...] at shares of noise [..., k] that leave the misfit [...], the noise at its best variance."""
    found: Doubles = (np.log(noise).sum(axis=-1) - freedom * np.log(2 * np.pi * np.e * misfit / freedom)) / 2
    return found


def ledoit_wolf(spectrum: Spectrum) -> float:
    """How far the covariance of the features that vary should be shrunk to a multiple of the identity, 0 to 1.

    Ledoit and Wolf 2004, a well-conditioned estimator for large-dimensional covariance matrices, section 3.
    """
    n, width, e = len(spectrum.rotated), spectrum.varying, spectrum.eigenvalues
    fourth = 0.0
    for block in blocks(n):
        lengths = np.einsum("ij,ij->i", spectrum.rotated[block], spectrum.rotated[block])
        fourth += float(np.sum(lengths.astype(np.float64) ** 2))
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


def _with_lengths(features: NDArray[Any]) -> tuple[Floats, Floats]:
    found = features.astype(np.float32, copy=False)
    return found, np.maximum(np.sqrt(np.einsum("ij,ij->i", found, found)), np.finfo(np.float32).tiny)
