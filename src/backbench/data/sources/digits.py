"""The embedded default: scikit-learn's 1,797 handwritten digits, real scans that need no network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from backbench.core.dataset import Listing


@dataclass(frozen=True)
class MemoryImages:
    """Encoded images held in memory."""

    content: tuple[bytes, ...]

    def encoded(self, index: int) -> bytes:
        """Bytes of one image."""
        return self.content[index]


def open_digits() -> Listing:
    """1,797 grey images of 8 x 8 pixels in ten classes, without published splits; shown at 96 pixels, never flipped.

    The values 0..16 are scaled to 0..255. PGM holds them as they are, so the digests (and with them the splits) do not
    depend on the version of a compressor.
    """
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    grey = np.rint(scans * (255 / 16)).astype(np.uint8)
    content = tuple(b"P5 8 8 255\n" + row.tobytes() for row in grey)
    return Listing(
        name="digits",
        source="digits",
        class_names=tuple("0123456789"),
        ids=tuple(f"digit-{number:04d}" for number in range(len(content))),
        labels=labels.astype(np.int64),
        published=np.full(len(content), "", dtype="<U5"),
        digests=tuple(hashlib.sha256(image).hexdigest() for image in content),
        images=MemoryImages(content),
        image_size=96,
        flips=False,
    )
