"""Listings of files in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from backbench.core.dataset import Listing


@dataclass(frozen=True)
class Held:
    content: tuple[bytes, ...]

    def encoded(self, index: int) -> bytes:
        if self.content[index] == b"forbidden":
            raise PermissionError(13, "Permission denied", "/home/someone/secret.jpg")
        return self.content[index]


def listing(*content: bytes) -> Listing:
    count = len(content)
    return Listing(
        name="toy",
        source="toy",
        class_names=("a", "b"),
        ids=tuple(f"{number:03d}" for number in range(count)),
        labels=np.zeros(count, np.int64),
        published=np.full(count, ""),
        digests=tuple(hashlib.sha256(image).hexdigest() for image in content),
        images=Held(content),
    )
