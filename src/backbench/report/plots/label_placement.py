"""Names beside points so that none covers another name or another point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]

# Where a name may stand, best first: direction in x and y, and how far away in units of the gap.
SPOTS = tuple(
    (dx, dy, reach)
    for reach in (1.0, 1.6)
    for dx, dy in ((1, 0), (1, 0.8), (1, -0.8), (0, 1), (0, -1), (-1, 0.8), (-1, -0.8), (-1, 0))
)


def place(
    points: NDArray[np.float64],
    sizes: Sequence[tuple[float, float]],
    *,
    obstacles: NDArray[np.float64],
    thin: NDArray[np.float64],
    area: Box,
    gap: float = 9.0,
) -> list[tuple[float, float] | None]:
    """Lower left corners of names for `points` [n, 2] of the given widths and heights, None where there is no room.

    Earlier points choose first. No name covers another or a point of a `thin` line [k, 2], comes nearer than half a gap
    to an obstacle [m, 2], or leaves the area (x0, y0, x1, y1). All in pixels.
    """
    taken: list[Box] = [(x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in obstacles]
    taken += [(x, y, x, y) for x, y in thin]
    chosen: list[tuple[float, float] | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        spot = None
        for dx, dy, reach in SPOTS:
            left = x + dx * gap * reach - width * (1 - dx) / 2
            low = y + dy * gap * reach - height * (1 - dy) / 2
            box = (left, low, left + width, low + height)
            if _inside(box, area) and not any(_overlap(box, other) for other in taken):
                spot = (left, low)
                taken.append((left - 2, low - 1, left + width + 2, low + height + 1))
                break
        chosen.append(spot)
    return chosen


def along(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points every few pixels along the line through the given ones [n, 2], from left to right."""
    ends = points[np.argsort(points[:, 0], kind="stable")]
    pieces = [np.empty((0, 2))]
    for start, end in pairwise(ends):
        steps = max(2, int(np.hypot(*(end - start)) / 5))
        pieces.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    return np.concatenate(pieces)


def _inside(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
