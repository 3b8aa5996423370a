"""Small pictures of single images in the results folder, so that a report can show them where the dataset is not."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench.core.files import whole_file

FOLDER = "thumbnails"
SIDE = 96  # pixels
MOST_BYTES = 4000  # of one picture

# Tried in order until the picture is small enough; a photo takes one of the first, noise the last.
_QUALITIES = (80, 65, 50, 35, 20, 5)


def encode(image: NDArray[np.uint8]) -> bytes:
    """A square image [side, side, 3] as JPEG of at most 96 x 96 pixels and 4,000 bytes."""
    from PIL import Image

    picture = Image.fromarray(image)
    if picture.width > SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MOST_BYTES:
            break
    return stream.getvalue()


def keep(directory: Path, images: Mapping[str, NDArray[np.uint8]]) -> None:
    """Store thumbnails of these images by item id, and remove all others."""
    folder = directory / FOLDER
    names = {_name(item) for item in images}
    for path in folder.glob("*.jpg"):
        if path.name not in names:
            path.unlink()
    for item, image in images.items():
        with whole_file(folder / _name(item)) as temporary:
            temporary.write_bytes(encode(image))
    with suppress(OSError):  # not empty, or not there
        folder.rmdir()


def read(directory: Path, items: Iterable[str]) -> dict[str, bytes]:
    """The thumbnails that are there, by item id."""
    found = {}
    for item in items:
        with suppress(OSError):
            found[item] = (directory / FOLDER / _name(item)).read_bytes()
    return found


def _name(item: str) -> str:
    """An id is somebody's text and may be a path: its digest is a file name everywhere."""
    return hashlib.sha256(item.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".jpg"
