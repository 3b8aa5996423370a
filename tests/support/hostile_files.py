"""Files that people's folders hold and that a reader of images may stumble over, each with what must become of it."""

from __future__ import annotations

import io
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

SIDE = 16

# Four corners of known colours: whatever turns, mirrors or recolours the picture shows.
CORNERS = ((200, 30, 40), (20, 180, 60), (30, 50, 210), (230, 220, 10))
GREYS = (10, 90, 170, 250)


def quarters(*values: object) -> NDArray[np.uint8]:
    """A square of 16 x 16 pixels whose quarters have these values, row by row."""
    blocks = np.array(values).reshape(2, 2, *np.shape(values[0]))
    return blocks.repeat(SIDE // 2, axis=0).repeat(SIDE // 2, axis=1)


COLOURS = quarters(*CORNERS).astype(np.uint8)
GREY = quarters(*GREYS).astype(np.uint8)
SHADES = np.repeat(GREY[..., None], 3, axis=2)

Content = bytes | Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """A file below a class folder: its content, or what makes it, and the pixels it holds or why it is left out.

    `reason` is a pattern; a file with neither pixels nor reason is no image by its name, and only counted.
    """

    name: str
    content: Content
    pixels: NDArray[np.uint8] | None = None
    reason: str = ""
    off_by: int = 0


def saved(image: Image.Image | NDArray[np.uint8], kind: str, **options: object) -> bytes:
    """An image in one of Pillow's formats."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, before: bytes = b"") -> bytes:
    """A PNG made by hand, so that what it holds does not depend on what wrote it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def unfiltered(samples: NDArray[np.generic]) -> bytes:
    """The rows of a PNG, each behind the number of its filter, none."""
    return b"".join(b"\0" + row.tobytes() for row in samples)


PLAIN = png(SIDE, SIDE, depth=8, colour=2, rows=unfiltered(COLOURS))


def flipped(content: bytes, position: int) -> bytes:
    """The same with one bit changed."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def corpus() -> Iterator[Hostile]:
    """All of them."""
    yield from _jpegs()
    yield from _pngs()
    yield from _others()
    yield from _impostors()
    yield from _places()
    yield from _names()


def _jpegs() -> Iterator[Hostile]:
    exact = {"quality": 100, "subsampling": 0}
    whole, progressive = saved(COLOURS, "JPEG", **exact), saved(COLOURS, "JPEG", progressive=True, **exact)
    for tenth in range(1, 10):
        for name, content in (("cut", whole), ("cut-progressive", progressive)):
            cut = content[: len(content) * tenth // 10]
            yield Hostile(f"{name}-{tenth}.jpg", cut, reason="truncated|not an image")
    yield Hostile("one-byte-short.jpg", whole[:-1], reason="truncated")
    yield Hostile("baseline.jpg", whole, COLOURS, off_by=3)
    yield Hostile("progressive.jpg", progressive, COLOURS, off_by=3)
    yield Hostile("grey.jpg", saved(GREY, "JPEG", quality=100), SHADES, off_by=2)
    yield Hostile("trailing-garbage.jpg", whole + b"\0garbage" * 50, COLOURS, off_by=3)
    yield Hostile("two-in-one.jpg", whole + saved(COLOURS[::-1], "JPEG"), COLOURS, off_by=3)
    yield Hostile("prepended-garbage.jpg", b"HTTP/1.1 200 OK\r\n\r\n" + whole, reason="not an image of a known format")
    turned = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]} | {
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    for orientation, turn in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        held = saved(np.ascontiguousarray(turn(COLOURS)), "JPEG", exif=exif, **exact)
        yield Hostile(f"orientation-{orientation}.jpg", held, COLOURS, off_by=3)
    for name, damaged in (("ends", b"Exif\0\0II*\0\x08"), ("loops", b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + b"\xff" * 40)):
        yield Hostile(f"exif-{name}.jpg", saved(COLOURS, "JPEG", exif=damaged, **exact), COLOURS, off_by=3)
    exif = Image.Exif()
    exif[0x0112] = 99
    yield Hostile("exif-of-no-meaning.jpg", saved(COLOURS, "JPEG", exif=exif, **exact), COLOURS, off_by=3)
    cyan, white = (255, 0, 0, 0), (0, 0, 0, 0)
    inks = Image.fromarray(quarters(cyan, white, white, cyan).astype(np.uint8), "CMYK")
    printed = quarters((0, 255, 255), (255, 255, 255), (255, 255, 255), (0, 255, 255)).astype(np.uint8)
    yield Hostile("cmyk.jpg", saved(inks, "JPEG", **exact), printed, off_by=3)
    yield Hostile("cmyk.tif", saved(inks, "TIFF"), printed)
    start = whole.index(b"\xff\xc0")
    yield Hostile("12-bit.jpg", whole[: start + 4] + b"\x0c" + whole[start + 5 :], reason=".")
    yield Hostile("burst.jpg", saved(COLOURS, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))], **exact),
                  COLOURS, off_by=3)  # fmt: skip


def _pngs() -> Iterator[Hostile]:
    yield Hostile("plain.png", PLAIN, COLOURS)
    yield Hostile("checksum-of-pixels.png", flipped(PLAIN, PLAIN.index(b"IEND") - 6), COLOURS)  # the pixels are whole
    yield Hostile("checksum-of-header.png", flipped(PLAIN, 30), reason="not an image|broken")
    yield Hostile("flipped-bit.png", flipped(PLAIN, PLAIN.index(b"IDAT") + 20), reason="broken|truncated")
    yield Hostile("cut.png", PLAIN[: PLAIN.index(b"IDAT") + 15], reason="truncated|broken")
    yield Hostile("bomb.png", png(60_000, 60_000, depth=8, colour=0, rows=b""), reason="too many pixels")
    yield Hostile("no-width.png", png(0, 5, depth=8, colour=0, rows=b""), reason="not an image|.")
    yield Hostile("strip.png", png(30_000, 1, depth=8, colour=0, rows=b"\0" + b"\x4d" * 30_000), plain(77))
    yield Hostile("tower.png", png(1, 30_000, depth=8, colour=0, rows=b"\0\x4d" * 30_000), plain(77))
    yield Hostile("one-pixel.png", png(1, 1, depth=8, colour=2, rows=b"\0\x0a\x14\x1e"), plain(10, 20, 30))
    yield Hostile("bilevel.png", png(16, 16, depth=1, colour=0, rows=(b"\0\xff\0" * 8) + (b"\0\0\xff" * 8)),
                  quarters((255,) * 3, (0,) * 3, (0,) * 3, (255,) * 3).astype(np.uint8))  # fmt: skip
    yield Hostile("grey.png", png(SIDE, SIDE, depth=8, colour=0, rows=unfiltered(GREY)), SHADES)
    deep = (GREY.astype(np.uint16) * 257).astype(">u2")
    yield Hostile("16-bit-grey.png", png(SIDE, SIDE, depth=16, colour=0, rows=unfiltered(deep)), SHADES)
    deep = (COLOURS.astype(np.uint16) * 257).astype(">u2")
    yield Hostile("16-bit.png", png(SIDE, SIDE, depth=16, colour=2, rows=unfiltered(deep)), COLOURS)
    index, palette = quarters(0, 1, 2, 3).astype(np.uint8), chunk(b"PLTE", bytes(sum(CORNERS, ())))
    of_palette = {"depth": 8, "colour": 3, "rows": unfiltered(index)}
    yield Hostile("palette.png", png(SIDE, SIDE, before=palette, **of_palette), COLOURS)
    seen = quarters((255, 255, 255), *CORNERS[1:]).astype(np.uint8)  # over white
    hidden = png(SIDE, SIDE, before=palette + chunk(b"tRNS", b"\0"), **of_palette)
    yield Hostile("palette-with-transparency.png", hidden, seen)
    alpha = np.dstack([COLOURS, quarters(0, 255, 255, 255).astype(np.uint8)])
    yield Hostile("alpha.png", png(SIDE, SIDE, depth=8, colour=6, rows=unfiltered(alpha)), seen)
    veiled = np.dstack([np.zeros_like(GREY), quarters(0, 51, 102, 255).astype(np.uint8)])
    yield Hostile("grey-and-alpha.png", png(SIDE, SIDE, depth=8, colour=4, rows=unfiltered(veiled)),
                  quarters(*((shade,) * 3 for shade in (255, 204, 153, 0))).astype(np.uint8))  # fmt: skip
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    yield Hostile("gamma.png", png(SIDE, SIDE, depth=8, colour=2, rows=unfiltered(COLOURS), before=gamma), COLOURS)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Hostile("profile.png", saved(COLOURS, "PNG", icc_profile=profile), COLOURS)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    yield Hostile("text-bomb.png", png(SIDE, SIDE, depth=8, colour=2, rows=unfiltered(COLOURS), before=text),
                  reason="too large|Decompressed")  # fmt: skip


def _others() -> Iterator[Hostile]:
    second = [Image.new("RGB", (SIDE, SIDE), "red")]
    animated: dict[str, object] = {"save_all": True, "append_images": second}
    few = Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE)  # four colours: nothing is lost
    yield Hostile("animated.gif", saved(few, "GIF", **animated), COLOURS)
    yield Hostile("animated.webp", saved(COLOURS, "WEBP", lossless=True, **animated), COLOURS)
    yield Hostile("animated.png", saved(COLOURS, "PNG", **animated), COLOURS)
    yield Hostile("pages.tif", saved(COLOURS, "TIFF", compression="tiff_lzw", **animated), COLOURS)
    yield Hostile("windows.bmp", saved(COLOURS, "BMP"), COLOURS)
    yield Hostile("old.tga", saved(COLOURS, "TGA"), COLOURS)
    yield Hostile("portable.ppm", b"P6 16 16 255\n" + COLOURS.tobytes(), COLOURS)
    yield Hostile("lossless.jp2", saved(COLOURS, "JPEG2000"), COLOURS)
    for name, kind in (("cut.gif", "GIF"), ("cut.webp", "WEBP"), ("cut.tif", "TIFF"), ("cut.bmp", "BMP")):
        whole = saved(few if kind == "GIF" else COLOURS, kind)
        yield Hostile(name, whole[: len(whole) * 6 // 10], reason=".")
    numbers = np.full((4, 4), np.nan, np.float32)
    yield Hostile("not-a-number.tif", saved(numbers, "TIFF"), reason="not finite")  # type: ignore[arg-type]
    neutral = Image.merge("LAB", [Image.fromarray(quarters(0, 255, 255, 0).astype(np.uint8))]
                          + 2 * [Image.new("L", (SIDE, SIDE), 128)])  # fmt: skip
    black, white = (0, 0, 0), (255, 255, 255)
    yield Hostile("lab.tif", saved(neutral, "TIFF"), quarters(black, white, white, black).astype(np.uint8), off_by=1)
    directory = b"II*\0\x08\0\0\0" + b"\1\0" + struct.pack("<HHII", 256, 4, 1, 9) + struct.pack("<I", 8)
    yield Hostile("loop.tif", directory, reason=".")
    yield Hostile("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(200), reason="not an image of a known")


def _impostors() -> Iterator[Hostile]:
    unknown = "not an image of a known format"
    yield Hostile("empty.jpg", b"", reason=unknown)
    yield Hostile("page.jpg", b"<!DOCTYPE html><html><title>404</title></html>", reason=unknown)
    yield Hostile("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', reason=unknown)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    yield Hostile("postscript.jpg", script, reason=unknown)
    yield Hostile("document.jpg", b"%PDF-1.7\n" + bytes(300), reason=unknown)
    yield Hostile("archive.jpg", b"PK\3\4" + bytes(300), reason=unknown)
    yield Hostile("pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", reason=unknown)
    yield Hostile("icon.png", saved(COLOURS, "ICO"), reason=unknown)
    yield Hostile("noise.jpg", np.random.default_rng(0).bytes(5000), reason=unknown)
    yield Hostile("png-called.jpg", PLAIN, COLOURS)
    yield Hostile("jpeg-called.png", saved(COLOURS, "JPEG", quality=100, subsampling=0), COLOURS, off_by=3)


def _places() -> Iterator[Hostile]:
    """What is no file with content."""
    yield Hostile("pipe.jpg", os.mkfifo, reason="not a regular file")
    yield Hostile("socket.jpg", _socket, reason="not a regular file")
    if os.geteuid() == 0:
        yield Hostile("device.jpg", lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
                      reason="not a regular file")  # fmt: skip  # /dev/zero, which never ends
    yield Hostile("dangling.jpg", lambda path: path.symlink_to("nowhere.jpg"), reason="No such file")
    yield Hostile("loop.jpg", lambda path: path.symlink_to(path.name), reason="symbolic links")
    yield Hostile("to-a-device.jpg", lambda path: path.symlink_to("/dev/zero"), reason="not a regular file")
    yield Hostile("terabyte.jpg", _sparse, reason="larger than 1,024 MiB")
    yield Hostile("album.jpg/inside.png", flipped(PLAIN, PLAIN.index(b"IEND") - 7), COLOURS)
    yield Hostile("linked.png", lambda path: path.symlink_to("plain.png"), COLOURS)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


def _names() -> Iterator[Hostile]:
    used = (
        "new\nline.png", "🍎.png", "é" * 120 + ".png", "SHOUTED.PNG", "MiXeD.PnG", "-rf.png", " .png", "a;b|c&d.png",
        "<img src=x onerror=alert(1)>.png", '"quoted".png', "\x1b[31mred.png", "\u202egnp.png", "100%.png", "CON.png",
        "..png", "a.jpg.png", "{{ 7*7 }}.png", "=1+1.png",
    )  # fmt: skip
    for number, name in enumerate(used):  # each of its own content, or they would be copies of each other
        text = chunk(b"tEXt", b"Comment\0%d" % number)
        held = png(SIDE, SIDE, depth=8, colour=2, rows=unfiltered(COLOURS), before=text)
        if not name.startswith("."):
            yield Hostile(name, held, COLOURS)
    for name in (".hidden.png", "._plain.png", ".DS_Store", "Thumbs.db", "notes.txt", "no extension", "photo.png~"):
        yield Hostile(name, PLAIN)


def plain(*colour: int) -> NDArray[np.uint8]:
    """One colour, or one shade of grey, everywhere."""
    return np.full((SIDE, SIDE, 3), colour, np.uint8)
