"""Pixels of real files in every mode that photographs come in, and the file they are kept in."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import time
import warnings
import zlib
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.listings import listing

from backbench.core.errors import RequestError
from backbench.core.files import sealed
from backbench.data import decoding, open_listing, select
from backbench.data.decoding import decode, load_square


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(width: int = 40, height: int = 30) -> Image.Image:
    """Smooth in both directions, different in each corner."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def colour(encoded: bytes) -> list[int]:
    """The one colour of a plain image."""
    found = load_square(encoded, 4, "stretch").reshape(-1, 3)
    assert (found == found[0]).all()
    return found[0].tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = photo()
    # What a camera held that way would store: the inverse of what a viewer has to do.
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    turned = upright
    for step in stored:
        turned = turned.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = saved(turned, "PNG", exif=exif)
    expected = np.asarray(upright.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(load_square(encoded, 16, "stretch"), expected)
    with Image.open(io.BytesIO(encoded)) as image:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), np.asarray(upright))


@pytest.mark.parametrize(("kind", "size"), [("PNG", 32), ("JPEG", 160)])  # of a JPEG at less than twice the side
def test_stretch_is_what_pillow_does_at_full_resolution(kind: str, size: int) -> None:
    encoded = saved(photo(400, 300), kind)
    with Image.open(io.BytesIO(encoded)) as image:
        expected = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    assert np.array_equal(load_square(encoded, size, "stretch"), expected)


def test_bilinear_by_hand() -> None:
    halves = Image.fromarray(np.repeat(np.array([[0, 0, 100, 100]], np.uint8), 4, axis=0))
    row = load_square(saved(halves, "PNG"), 2, "stretch")[0, :, 0].tolist()
    # Halving widens the triangle to 4 pixels: weights 3, 3, 1 (of 7) from the left edge.
    assert row == [round(100 / 7), round(600 / 7)]


def test_crop_takes_the_centre_square() -> None:
    bands = np.zeros((10, 30, 3), np.uint8)
    bands[:, 10:20] = (10, 20, 30)
    assert (load_square(saved(Image.fromarray(bands), "PNG"), 10, "crop") == (10, 20, 30)).all()
    assert (load_square(saved(Image.fromarray(bands.swapaxes(0, 1)), "PNG"), 10, "crop") == (10, 20, 30)).all()
    assert not (load_square(saved(Image.fromarray(bands), "PNG"), 10, "stretch") == (10, 20, 30)).all()


def test_a_very_long_image_costs_no_more_than_others() -> None:
    strip = Image.new("L", (60_000, 1), 9)
    assert load_square(saved(strip, "PNG"), 224, "crop").max() == 9


def test_grey_and_bilevel() -> None:
    assert colour(saved(Image.new("L", (5, 5), 77), "PNG")) == [77, 77, 77]
    assert colour(saved(Image.new("1", (5, 5), 1), "PNG")) == [255, 255, 255]
    assert colour(saved(Image.new("L", (5, 5), 77), "JPEG", quality=100)) == [77, 77, 77]


def test_transparency_is_shown_over_white() -> None:
    assert colour(saved(Image.new("RGBA", (5, 5), (10, 20, 30, 0)), "PNG")) == [255, 255, 255]
    assert colour(saved(Image.new("RGBA", (5, 5), (10, 20, 30, 255)), "PNG")) == [10, 20, 30]
    half = colour(saved(Image.new("RGBA", (5, 5), (0, 100, 200, 51)), "PNG"))  # a fifth of the colour
    assert half == [204, 224, 244]
    assert colour(saved(Image.new("LA", (5, 5), (0, 51)), "PNG")) == [204, 204, 204]


def test_palettes() -> None:
    palette = Image.new("P", (5, 5), 1)
    palette.putpalette([0, 0, 0, 12, 34, 56])
    assert colour(saved(palette, "PNG")) == [12, 34, 56]
    assert colour(saved(palette, "GIF")) == [12, 34, 56]
    assert colour(saved(palette, "PNG", transparency=1)) == [255, 255, 255]
    assert colour(saved(palette, "PNG", transparency=bytes([255, 51]))) == [206, 211, 215]
    assert colour(saved(Image.new("L", (5, 5), 3), "PNG", transparency=3)) == [255, 255, 255]
    assert colour(saved(Image.new("RGB", (5, 5), (1, 2, 3)), "PNG", transparency=(1, 2, 3))) == [255, 255, 255]


def test_cmyk() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert colour(saved(cyan, "TIFF")) == [0, 255, 255]
    assert np.abs(np.array(colour(saved(cyan, "JPEG", quality=100))) - [0, 255, 255]).max() <= 2
    assert colour(saved(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "TIFF")) == [0, 0, 0]


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (256, 1), (257, 1), (25700, 100), (40000, 156), (65535, 255)])
def test_16_bit_grey_is_scaled_and_not_clipped(value: int, grey: int) -> None:
    deep = Image.fromarray(np.full((5, 5), value, np.uint16))
    assert deep.mode == "I;16"
    assert colour(saved(deep, "PNG")) == [grey] * 3
    assert colour(saved(deep, "TIFF")) == [grey] * 3
    assert colour(saved(Image.fromarray(np.full((5, 5), value, np.int32)), "TIFF")) == [grey] * 3
    big_endian = b"P5 2 2 65535\n" + struct.pack(">4H", *[value] * 4)
    assert colour(big_endian) == [grey] * 3


def test_floats() -> None:
    def of(*values: float) -> list[int]:
        array = np.tile(np.array([values], np.float32), (len(values), 1))
        return load_square(saved(Image.fromarray(array), "TIFF"), len(values), "stretch")[0, :, 0].tolist()

    assert of(0, 0.2, 1) == [0, 51, 255]
    assert of(0, 12, 255) == [0, 12, 255]
    assert of(-1, 0, 1) == [0, 128, 255]
    assert of(1000, 1000) == [0, 0]
    with pytest.raises(ValueError, match="not finite"):
        of(0, float("nan"))


def test_animations_show_their_first_frame() -> None:
    frames = [Image.new("RGB", (5, 5), shade) for shade in ((10, 20, 30), (200, 0, 0))]
    assert colour(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])) == [10, 20, 30]
    assert colour(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)) == [10, 20, 30]
    assert colour(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])) == [10, 20, 30]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_is_no_reason_to_lose_an_image() -> None:
    assert colour(saved(Image.new("RGB", (5, 5), (1, 2, 3)), "PNG", exif=b"Exif\0\0II*\0 damaged")) == [1, 2, 3]


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_undecodable_images_are_listed_with_a_reason(cache: Path) -> None:
    whole = saved(photo(), "JPEG")
    found, failures = decode(
        listing(whole, whole[: len(whole) // 2], b"<html>", b"", bomb(), b"forbidden", saved(photo(), "PNG")[:60]),
        size=8,
        resize="stretch",
        cache=cache,
    )
    assert failures.keys() == {1, 2, 3, 4, 5, 6}
    assert "truncated" in failures[1].lower()
    assert failures[2] == failures[3] == "not an image of a known format"
    assert "too many pixels" in failures[4]
    assert failures[5] == "Permission denied"
    for reason in failures.values():
        assert "\n" not in reason
        assert "/" not in reason
        assert "0x" not in reason
    rows = found.open()
    assert (rows.shape, rows.dtype) == ((7, 8, 8, 3), np.uint8)
    assert np.array_equal(rows[0], load_square(whole, 8, "stretch"))
    assert not rows[1:].any()


def test_warnings_of_the_decoder_stay_inside(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    palette = Image.new("P", (5, 5), 1)
    noisy = saved(palette, "PNG", transparency=bytes([255, 51]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(listing(noisy, bomb(), b"II*\0damaged tiff"), size=8, resize="stretch", cache=cache)
    assert capfd.readouterr() == ("", "")


def test_the_second_time_nothing_is_decoded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = listing(saved(photo(), "PNG"), b"damaged")
    first, failures = decode(items, size=8, resize="stretch", cache=cache)
    monkeypatch.setattr(decoding, "load_square", lambda *_: pytest.fail("decoded again"))
    seen: list[tuple[int, int]] = []
    again, known = decode(items, size=8, resize="stretch", cache=cache, progress=lambda *step: seen.append(step))
    assert (again, known) == (first, failures)
    assert seen == [(2, 2)]
    assert sorted(path.name for path in (cache / "pixels").iterdir()) == sorted(
        [first.path.name, first.path.with_suffix(".json").name]
    )


def test_the_key_changes_with_every_input(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = saved(photo(), "PNG"), saved(photo(20, 20), "PNG")
    paths = [
        decode(items, size=size, resize=resize, cache=cache)[0].path
        for items, size, resize in [
            (listing(one, two), 8, "stretch"),
            (listing(two, one), 8, "stretch"),
            (listing(one), 8, "stretch"),
            (listing(one, two), 9, "stretch"),
            (listing(one, two), 8, "crop"),
        ]
    ]
    monkeypatch.setattr(decoding, "DECODER_VERSION", decoding.DECODER_VERSION + 1)
    paths.append(decode(listing(one, two), size=8, resize="stretch", cache=cache)[0].path)
    monkeypatch.setattr("PIL.__version__", "0")
    paths.append(decode(listing(one, two), size=8, resize="stretch", cache=cache)[0].path)
    assert len(set(paths)) == 7


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_a_large_jpeg_is_scaled_while_it_is_decoded_and_a_small_one_is_not(
    monkeypatch: pytest.MonkeyPatch, resize: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rng = np.random.default_rng(0)
    decoded: list[tuple[int, int]] = []
    real = decoding.to_rgb

    def recording(image: Image.Image) -> Image.Image:
        decoded.append(image.size)
        return real(image)

    for width, height, scaled in [(1600, 1200, (400, 300)), (1601, 1203, (401, 301)), (250, 180, (250, 180))]:
        smooth = np.asarray(photo(width, height)).astype(int) + rng.normal(0, 6, (height, width, 3))
        encoded = saved(Image.fromarray(np.clip(smooth, 0, 255).astype(np.uint8)), "JPEG", quality=90, exif=exif)
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "to_rgb", recording)
            found = load_square(encoded, 96, resize).astype(int)
            patch.setattr(decoding, "OVERSAMPLED", 10**6)
            whole = load_square(encoded, 96, resize).astype(int)
        assert decoded[-2:] == [scaled, (width, height)]
        if scaled == (width, height):
            np.testing.assert_array_equal(found, whole)
        else:
            assert np.abs(found - whole).mean() < 0.5
            assert np.abs(found - whole).max() <= 3


@pytest.mark.parametrize("damage", ["bit", "cut", "json", "sidecar", "shape"])
def test_damaged_files_are_made_again(cache: Path, damage: str) -> None:
    items = listing(saved(photo(), "PNG"))
    found, _ = decode(items, size=8, resize="stretch", cache=cache)
    good = found.path.read_bytes()
    sidecar = found.path.with_suffix(".json")
    if damage == "bit":
        found.path.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    elif damage == "cut":
        found.path.write_bytes(good[:-5])
    elif damage == "json":
        sidecar.write_text("{")
    elif damage == "sidecar":
        sidecar.unlink()
    else:
        np.save(found.path, np.zeros((3, 3), np.uint8))
    decode(items, size=8, resize="stretch", cache=cache)
    assert found.path.read_bytes() == good
    assert json.loads(sidecar.read_text()) == sealed({"pixels": hashlib.sha256(good).hexdigest(), "failures": {}})
    aside = found.path.with_name(f"{found.path.name}.damaged")
    assert aside.exists() == (damage != "sidecar"), "without a note it was never finished"


def test_several_at_once_agree(cache: Path) -> None:
    items = listing(*(saved(photo(40, 30 + number), "PNG") for number in range(40)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decode(items, size=16, resize="stretch", cache=cache), range(4)))
    assert all(result == found[0] for result in found)
    for index in (0, 39):
        expected = load_square(items.images.encoded(index), 16, "stretch")
        assert np.array_equal(found[0][0].open()[index], expected)


def test_no_room_is_said_before_decoding(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 500_000, 500_000))
    with pytest.raises(RequestError) as refused:
        decode(listing(*[b"x"] * 10), size=200, resize="stretch", cache=cache)
    text = str(refused.value)
    assert "10 images at 200 px: they need 1.2 MB" in text
    assert "0.5 MB are free" in text
    assert str(cache) in text
    assert "BACKBENCH_CACHE" in text
    assert not list((cache / "pixels").iterdir())


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(RequestError, match="no disk space"):
        decode(listing(b"x"), size=8, resize="stretch", cache=cache)
    assert not list((cache / "pixels").iterdir())


def test_a_cache_that_cannot_be_written_is_said(cache: Path) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where a folder should be")
    with pytest.raises(RequestError, match=r"cannot be written .*set BACKBENCH_CACHE"):
        decode(listing(b"x"), size=8, resize="stretch", cache=cache)


def test_an_interrupt_leaves_nothing(cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(listing(saved(photo(), "PNG")), size=8, resize="stretch", cache=cache, progress=interrupt)
    assert not list((cache / "pixels").iterdir())


def test_nothing_to_decode(cache: Path) -> None:
    found, failures = decode(listing(), size=8, resize="stretch", cache=cache)
    assert found.open().shape == (0, 8, 8, 3)
    assert failures == {}


def test_grocery_photos(grocery: Path, cache: Path) -> None:
    everything = open_listing(str(grocery))
    photos = select(everything, np.arange(0, 3676, 40), everything.published)
    for size, off_by in ((96, 0.0), (32, 1.0)):  # of 255 levels on average; at 32 px the decoder halves them
        found, failures = decode(photos, size=size, resize="stretch", cache=cache)
        assert failures == {}
        for index in (0, 45, 91):
            with Image.open(grocery / photos.ids[index]) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
            expected = np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(found.open()[index] - expected).mean() <= off_by


def test_only_decoders_of_images_people_have_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given: started.append(given))
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(Image.UnidentifiedImageError):
        load_square(postscript, 8, "stretch")
    assert started == []
    # What Pillow can read by itself needs no program, and is still no photograph.
    with pytest.raises(Image.UnidentifiedImageError):
        load_square(saved(photo(), "PCX"), 8, "stretch")


def test_large_images_are_decoded_one_at_a_time(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGE", 1000)
    monkeypatch.setattr(decoding, "_BATCH", 1)
    monkeypatch.setattr(decoding, "cores", lambda: 4)
    together, most = [0], {"large": 0, "small": 0}
    to_rgb = decoding.to_rgb

    def watched(image: Image.Image) -> Image.Image:
        kind = "large" if image.width * image.height > 1000 else "small"
        together[0] += 1
        time.sleep(0.02)
        most[kind] = max(most[kind], together[0])
        together[0] -= 1
        return to_rgb(image)

    monkeypatch.setattr(decoding, "to_rgb", watched)
    decode(listing(*[saved(photo(40, 30), "PNG")] * 6), size=8, resize="stretch", cache=cache)
    decode(listing(*[saved(photo(20, 30), "PNG")] * 6), size=8, resize="stretch", cache=cache)
    assert most["large"] == 1
    assert most["small"] > 1


def test_too_little_memory_is_no_property_of_an_image(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(_: Image.Image) -> Image.Image:
        raise MemoryError

    items = listing(saved(photo(), "PNG"))
    with monkeypatch.context() as now:
        now.setattr(decoding, "to_rgb", scarce)
        _, failures = decode(items, size=8, resize="stretch", cache=cache)
    assert failures == {0: "not enough memory to decode it"}
    found, failures = decode(items, size=8, resize="stretch", cache=cache)
    assert failures == {}
    assert found.open().any()
