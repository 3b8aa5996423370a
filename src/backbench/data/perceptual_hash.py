"""Perceptual hashes of decoded images, and which of them are nearest to each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbench.core.hardware import cores
from backbench.data.digests import Progress

# The sixteen lowest frequencies in each direction: 256 bits, of which half are set.
HASH_SIDE, WORDS = 16, 4
BITS = HASH_SIDE * HASH_SIDE
_REDUCED = 4 * HASH_SIDE  # the size to which imagehash reduces an image

# At most this many differing bits make two images near-copies. Measured on 3,676 photos of groceries: copies saved
# anew, halved in size or 20 % brighter differ in at most 16 bits; cut by 2 % on each side in 36 (median) to 58, by 4 %
# in 66 to 98. All pairs up to 76 bits are bursts of one scene; of different splits, which share no scene, no two are
# nearer than 84.
NEAR = 60

# Where halving all grey levels turns more bits than this, they are rounding noise: there is no detail to compare.
# Photos turn at most 4, at a fifth of their brightness 8; scans of 8 x 8 pixels turn 20 (median), and look alike by the
# hundred.
MOST_NOISE = 6
LEAST_RANGE = 16  # grey levels between the darkest and the brightest pixel; a plain area has no noise to turn

_BATCH = 32  # images per task
_COMPARED = 1 << 19  # pairs per task: what its arrays hold stays in the processor's cache


@dataclass(frozen=True)
class Fingerprints:
    """Perceptual hashes of n images: `bits` [n, 4] uint64, and which images are too `plain` [n] to be told by them."""

    bits: NDArray[np.uint64]
    plain: NDArray[np.bool_]


def fingerprints(
    images: NDArray[np.uint8], rows: NDArray[np.int64], *, progress: Progress | None = None
) -> Fingerprints:
    """Hashes of `images[rows]`, from images [N, side, side, 3] of any side, a few of which are held at a time."""
    bits = np.zeros((len(rows), WORDS), dtype=np.uint64)
    plain = np.zeros(len(rows), dtype=np.bool_)

    def fill(start: int) -> None:
        for item in range(start, min(start + _BATCH, len(rows))):
            bits[item], plain[item] = _fingerprint(images[rows[item]])

    with ThreadPoolExecutor(cores()) as pool:
        for batch, _ in enumerate(pool.map(fill, range(0, len(rows), _BATCH)), start=1):
            if progress:
                progress(min(batch * _BATCH, len(rows)), len(rows))
    return Fingerprints(bits, plain)


def _fingerprint(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], bool]:
    grey = Image.fromarray(image).convert("L")
    low, high = grey.getextrema()
    reduced = np.asarray(grey.resize((_REDUCED, _REDUCED), Image.Resampling.LANCZOS))
    bits = _phash(reduced)
    noise = int(np.bitwise_count(bits ^ _phash(reduced // np.uint8(2))).sum())
    return bits, bool(high - low < LEAST_RANGE or noise > MOST_NOISE)  # type: ignore[operator]  # one band: numbers


def _phash(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    import imagehash

    found = imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE)
    return np.packbits(found.hash).view(np.uint64)


def nearest(
    queries: NDArray[np.uint64], others: NDArray[np.uint64], *, progress: Progress | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of m hashes [m, 4] the nearest of n others [n, 4]: its index [m] and the number of differing bits [m].

    Of several at the same distance it is the first. Raises ValueError when there are no others.
    """
    if not len(others):
        raise ValueError("no hash to be near to")
    words = [np.ascontiguousarray(others[:, word]) for word in range(WORDS)]
    index, distance = (np.zeros(len(queries), dtype=np.int64) for _ in range(2))
    batch = max(1, _COMPARED // len(others))

    def compare(start: int) -> None:
        asked = queries[start : start + batch]
        apart = np.zeros((len(asked), len(others)), dtype=np.uint16)
        for word, theirs in enumerate(words):
            apart += np.bitwise_count(asked[:, word, None] ^ theirs)
        first = apart.argmin(axis=1)
        index[start : start + batch] = first
        distance[start : start + batch] = apart[np.arange(len(asked)), first]

    with ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(compare, range(0, len(queries), batch)), start=1):
            if progress:
                progress(min(done * batch, len(queries)), len(queries))
    return index, distance
