"""What an engine has to show on the user's images before it is trusted: the same values, and little noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Largest difference from Keras in float32, as a share of the largest value, by which a conversion counts as right.
AGREES = 1e-3

# Root mean square of what bfloat16 changes, as a share of how much the same value varies from image to image. On photos
# 8 % changed a fiftieth of a probe's answers and not its accuracy, 15 % a thirtieth and cost a point of it.
NOISE = 0.1

TINY = float(np.finfo(np.float32).tiny)


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest one, as a share of the largest value; of the expected images [b, ...] only, of finite values only.

    Values that do not fit float16 are no one's fault yet: their scale is found afterwards.
    """
    ours, theirs = found[: len(expected)].astype(np.float32), expected.astype(np.float32)
    fits = np.isfinite(theirs) | np.isnan(theirs)
    ours, theirs = ours[fits], theirs[fits]
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), TINY))


def noise(rounded: NDArray[Any], exact: NDArray[Any]) -> float:
    """Root mean square of what rounding changes [b, ...], in units of how much a value varies over the images."""
    ours, theirs = rounded.astype(np.float32), exact.astype(np.float32)
    changed, spread = np.square(ours - theirs).mean(), np.square(theirs - theirs.mean(axis=0)).mean()
    return float(np.sqrt(changed / max(spread, TINY)))


def too_coarse(measured: float) -> str:
    """Why bfloat16 is not used, for the reader of the cell; empty where it may be."""
    if measured <= NOISE:
        return ""
    return (
        f"bfloat16 is too coarse for these images (its noise is {measured:.0%} of what differs between them,"
        f" {NOISE:.0%} allowed)"
    )
