"""The Model Confidence Set: which candidates may be the best; arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backbench.analysis.bootstrap import TINY, Floats

# Rows of one block of pairs: what a core's cache holds.
BLOCK = 32

# Accuracies are counts, so statistics often tie; what is equal but for single precision counts as reached.
ROUNDING = 1e-5


def confidence_p_values(accuracies: Floats, draws: Floats) -> Floats:
    """P-values [k] of belonging to the Model Confidence Set: the candidates above 0.05 are the 95 % set.

    From the accuracies [k] of k candidates and those in resamples of the items [rounds, k]. All that are left are
    tested for equality by the largest studentised difference of two of them (the range statistic); the one furthest
    behind another is taken out and the test repeated; a candidate's p-value is the largest up to its own removal
    (Hansen, Lunde and Nason 2011; the items are independent, so blocks have length one). With many items the set holds
    all candidates that are truly best with a probability of 95 %. Candidates that are alike count as one.
    """
    first, place = _distinct(np.vstack([accuracies, draws]))
    accuracies, draws = accuracies[first], draws[:, first]
    spread = _spread(deviations := draws - accuracies)
    behind = _studentised(accuracies[None, :] - accuracies[:, None], spread)
    order, statistics = _removals(behind)
    p_values = np.empty(len(first))
    p_values[order] = np.maximum.accumulate(_p_values(deviations[:, order], spread[np.ix_(order, order)], statistics))
    return p_values[place]


def _distinct(columns: Floats) -> tuple[list[int], NDArray[np.intp]]:
    """The first of each kind of column, and for every column which of those it is like."""
    first: dict[bytes, int] = {}
    place = [first.setdefault(column.tobytes(), len(first)) for column in columns.T]
    return [place.index(kind) for kind in range(len(first))], np.array(place)


def _spread(deviations: Floats) -> Floats:
    """Standard deviations [k, k] of the differences of two candidates over the resamples."""
    products = deviations.T @ deviations / len(deviations)
    own = np.diag(products)
    return np.asarray(np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * products, 0)))


def _studentised(differences: Floats, spread: Floats) -> Floats:
    """A difference that never varies is beyond all chance, unless there is none."""
    without = np.where(np.abs(differences) > TINY, np.copysign(np.inf, differences), 0)
    return np.divide(differences, spread, out=without, where=spread > TINY)


def _removals(behind: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The order in which candidates are removed, the last being the one that stays, and the statistic of each step.

    `behind` [k, k] says by how much a row's candidate is behind a column's.
    """
    behind = behind.copy()
    np.fill_diagonal(behind, -np.inf)
    furthest, ahead = behind.max(axis=1), behind.argmax(axis=1)
    left = np.ones(len(behind), dtype=bool)
    order, statistics = [], []
    for _ in range(len(behind) - 1):
        out = int(np.where(left, furthest, -np.inf).argmax())
        order.append(out)
        statistics.append(furthest[out])
        left[out] = False
        behind[:, out] = -np.inf
        for row in np.flatnonzero(left & (ahead == out)):
            furthest[row], ahead[row] = behind[row].max(), behind[row].argmax()
    return np.array([*order, int(left.argmax())]), np.array(statistics)


def _p_values(deviations: Floats, spread: Floats, statistics: Floats) -> Floats:
    """P-value of each step and 1 for the candidate that stays, from the deviations [rounds, k] in the order of removal.

    The sets are nested, so the largest deviation of a pair is found from the last set to the first, each pair once.
    """
    rows = np.ascontiguousarray(deviations.T, dtype=np.float32)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > TINY).astype(np.float32)
    largest = np.zeros(rows.shape[1], np.float32)
    p_values = np.ones(len(rows))
    for step in range(len(rows) - 2, -1, -1):
        for start in range(step + 1, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            pairs = np.abs(rows[block] - rows[step]) * scale[step, block, None]
            np.maximum(largest, pairs.max(axis=0), out=largest)
        p_values[step] = np.mean(largest >= statistics[step] * (1 - ROUNDING))
    return p_values
