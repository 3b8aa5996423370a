"""Encoded images to one uint8 array on disk: decoded and resized once per size, by all cores."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import PIL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from backbench.core.cache import hold
from backbench.core.dataset import Listing, Pixels
from backbench.core.errors import RequestError, StoppedError
from backbench.core.files import (
    digest_of,
    intact,
    is_sealed,
    reserve,
    sealed,
    set_aside,
    sha256_file,
    whole_file,
    write_json,
)
from backbench.core.hardware import cores

# Part of every key: raise it when the same bytes come to mean other pixels.
DECODER_VERSION = 2

RESIZES = ("stretch", "crop")

# A JPEG is scaled by its decoder as long as this many times the wanted side is left: photos of twelve million pixels
# take a fifth of the time, and the antialiased resize that follows differs by a fraction of a grey level.
OVERSAMPLED = 2

# Niceness of what is decoded in the background.
BACKGROUND = 15

# The decoders that may see a file, whatever it is called: Pillow has more, and that of EPS starts another program.
# HEIF is there where somebody has registered pillow-heif.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "TGA", "PPM", "JPEG2000", "AVIF", "HEIF")

# Pixels from which on images are decoded one at a time: one at Pillow's limit, 179 million, takes gigabytes.
LARGE = 50_000_000
_ONE_LARGE = threading.Lock()

_BATCH = 32  # images per task: one future per image would cost memory that grows with the dataset

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    listing: Listing,
    *,
    size: int,
    resize: str,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    may_go_on: Callable[[], bool] | None = None,
) -> tuple[Pixels, dict[int, str]]:
    """Decode all images of a listing to `size` x `size` pixels, unless the cache has them.

    Returns the pixels, with one row per item, and the reason for each item (by index) that could not be decoded; its
    row is black. Memory stays bounded: rows are written to the mapped file as they are decoded.
    With `may_go_on` it is done in the background: at a lower priority, and asking before every image.
    Raises RequestError when the cache has no room for the file, StoppedError where `may_go_on` says no.
    """
    if resize not in RESIZES or size < 1:
        raise ValueError(f"resize must be one of {RESIZES} and size positive: got {resize!r}, {size}")
    count = len(listing.ids)
    shape = (count, size, size, 3)
    key = _key(listing, size, resize)
    pixels = Pixels(path=cache / "pixels" / f"{key}.npy", size=size, resize=resize)
    sidecar = pixels.path.with_suffix(".json")
    hold(pixels.path)
    failures = _recall(pixels, sidecar, shape)
    if failures is None:
        with _room_for(pixels.path, shape) as temporary:
            failures, lasting = _decode_into(temporary, listing, shape, resize, progress, may_go_on)
            digest = sha256_file(temporary)
        if lasting:  # else the next run tries again
            known = {str(index): reason for index, reason in failures.items()}
            write_json(sidecar, sealed({"pixels": digest, "failures": known}))
        hold(pixels.path)
    elif progress:
        progress(count, count)
    return pixels, failures


def load_square(encoded: bytes, size: int, resize: str) -> NDArray[np.uint8]:
    """One encoded image as uint8 RGB, [size, size, 3]; raises whatever Pillow raises for bytes it cannot decode.

    "stretch" resizes the whole image to the square, "crop" its centre square; both bilinear and antialiased.
    Large JPEGs are halved, quartered or more while they are decoded.
    """
    Image.init()
    with Image.open(io.BytesIO(encoded), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        image.draft(None, (OVERSAMPLED * size, OVERSAMPLED * size))
        with _ONE_LARGE if image.width * image.height > LARGE else nullcontext():
            return _square(to_rgb(image), size, resize)


def _square(rgb: Image.Image, size: int, resize: str) -> NDArray[np.uint8]:
    width, height = rgb.size
    side = min(width, height)
    left, top = ((width - side) / 2, (height - side) / 2) if resize == "crop" else (0, 0)
    box = (left, top, width - left, height - top)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=None))


def to_rgb(image: Image.Image) -> Image.Image:
    """The first frame, upright as its EXIF says, in RGB: transparency over white, deep greys scaled and not clipped.

    Raises ValueError for colour modes without a meaning in RGB and for pixels that are not numbers.
    """
    image.load()
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_deep_to_grey(image)).convert("RGB")
    if image.has_transparency_data:
        if image.mode == "La":  # premultiplied: the only way from here to RGBA
            image = image.convert("LA")
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; damaged metadata does not make an image unreadable."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # parsers of damaged metadata raise anything
        return 1
    return orientation if isinstance(orientation, int) else 1


def _deep_to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels of more than 8 bits on the 0..255 scale.

    Whole numbers up to 65535 are 16-bit (65535 = 257 * 255); floats within 0..1 are fractions, within 0..255 they are
    levels. Anything else has no known scale and is stretched from its lowest to its highest value.
    """
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("some pixels are not finite numbers")
    if image.mode == "F":
        known, scale = low >= 0 and high <= 255, 255.0 if high <= 1 else 1.0
    else:
        known, scale = low >= 0 and high <= 65535, 1 / 257
    grey = values * scale if known else (values - low) * (255 / max(high - low, 1e-12))
    return np.rint(grey).astype(np.uint8)


def _decode_into(
    path: Path,
    listing: Listing,
    shape: tuple[int, int, int, int],
    resize: str,
    progress: Callable[[int, int], None] | None,
    may_go_on: Callable[[], bool] | None,
) -> tuple[dict[int, str], bool]:
    """Fill the array at `path`; returns the failures, and whether all of them are the images' own and will stay.

    Threads suffice: Pillow decodes and resizes outside the GIL.
    """
    rows = np.load(path, mmap_mode="r+", allow_pickle=False)
    count, size = shape[0], shape[1]

    passing = threading.Event()

    def fill(start: int) -> dict[int, str]:
        failed = {}
        for index in range(start, min(start + _BATCH, count)):
            if may_go_on and not may_go_on():
                raise StoppedError(f"decoding at {size} px was stopped")
            try:
                encoded = listing.images.encoded(index)
            except OSError as error:  # it could be read when it was listed
                failed[index] = why_unreadable(error)
                passing.set()
                continue
            if hashlib.sha256(encoded).hexdigest() != listing.digests[index]:
                failed[index] = "the file changed while it was being read"
                passing.set()
                continue
            try:
                rows[index] = load_square(encoded, size, resize)
            except Exception as error:  # decoders of damaged files raise anything
                failed[index] = why_unreadable(error)
                if isinstance(error, MemoryError):  # of this moment, not of the image
                    passing.set()
        return failed

    failures: dict[int, str] = {}
    # Filters are shared by all threads, so they are set around the pool: warnings about odd files are not for users.
    with warnings.catch_warnings(), ThreadPoolExecutor(cores(), initializer=_step_back if may_go_on else None) as pool:
        warnings.simplefilter("ignore")
        for batch, failed in enumerate(pool.map(fill, range(0, count, _BATCH)), start=1):
            failures.update(failed)
            if progress:
                progress(min(batch * _BATCH, count), count)
    rows.flush()
    return failures, not passing.is_set()


def _step_back() -> None:
    """Leave the processor to whoever else wants it; on Linux a priority is a thread's own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND)


def why_unreadable(error: Exception) -> str:
    """One line without addresses or paths of this machine."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels (decompression bomb?)"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _key(listing: Listing, size: int, resize: str) -> str:
    return digest_of(
        {
            "images": hashlib.sha256("\n".join(listing.digests).encode()).hexdigest(),
            "size": size,
            "resize": resize,
            "pillow": PIL.__version__,
            "decoder": DECODER_VERSION,
        }
    )


def _recall(pixels: Pixels, sidecar: Path, shape: tuple[int, ...]) -> dict[int, str] | None:
    """The failures that belong to finished pixels, or None when there are none to use."""
    if not (pixels.path.is_file() and sidecar.is_file()):
        return None
    with suppress(Exception):  # readers of damaged files raise anything
        noted = json.loads(sidecar.read_text(encoding="utf-8"))
        if is_sealed(noted) and intact(pixels.path, noted["pixels"]) and pixels.open().shape == shape:
            return {int(index): reason for index, reason in noted["failures"].items()}
    set_aside(pixels.path)
    return None


@contextmanager
def _room_for(path: Path, shape: tuple[int, int, int, int]) -> Iterator[Path]:
    """A black array of that shape on a temporary path, its space reserved, that takes the place of `path` at the end.

    Writing to a mapped file on a full disk would kill the process, so the space is claimed before.
    """
    needed = int(np.prod(shape))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, "disk full")
        with whole_file(path) as temporary:
            open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape).flush()
            reserve(temporary)
            yield temporary
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise RequestError(
                f"the cache {path.parent} cannot be written ({error.strerror or error}): "
                "set BACKBENCH_CACHE to a folder that can"
            ) from None
        free = shutil.disk_usage(path.parent).free
        raise RequestError(
            f"no disk space for {shape[0]} images at {shape[1]} px: they need {needed / 1e6:,.1f} MB in {path.parent}, "
            f"where {free / 1e6:,.1f} MB are free: free some, ask for a smaller --image-size or a --limit, "
            "or set BACKBENCH_CACHE to a folder with more room"
        ) from None
