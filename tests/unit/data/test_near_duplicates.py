"""Copies across splits: real photos that were saved anew, resized, brightened or cut are found, others are not."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from backbench.core.dataset import Dataset, Listing
from backbench.data import assemble, near_duplicates, open_listing, perceptual_hash, select, with_copies
from backbench.data.decoding import decode
from backbench.data.splits import make_splits

EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved anew": lambda image: saved(image, quality=40),
    "resized": lambda image: image.resize((image.width // 2, image.height // 3)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
    "cut": lambda image: image.crop(
        (image.width // 80, image.height // 80, image.width - image.width // 80, image.height - image.height // 80)
    ),
}


def saved(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def scenes() -> list[Image.Image]:
    """Twelve parts of the two photos that scikit-learn brings."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    boxes = [(left, top, left + 213, top + 213) for left in (0, 213, 426) for top in (0, 213)]
    return [photo.crop(box) for photo in photos for box in boxes]


def square(image: Image.Image, size: int = 96) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def prints_of(images: list[Image.Image], size: int = 96) -> perceptual_hash.Fingerprints:
    return perceptual_hash.fingerprints(np.array([square(image, size) for image in images]), np.arange(len(images)))


def apart(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Differing bits of every hash with every other."""
    return np.array([[sum(int(a ^ b).bit_count() for a, b in zip(x, y, strict=True)) for y in second] for x in first])


# --- hashes -----------------------------------------------------------------------------------------------------------


def test_the_hash_is_the_one_of_imagehash() -> None:
    import imagehash

    image = Image.fromarray(square(scenes()[0]))
    found = perceptual_hash.fingerprints(np.asarray(image)[None], np.array([0])).bits[0]
    assert np.array_equal(np.unpackbits(found.view(np.uint8)).reshape(16, 16), imagehash.phash(image, 16).hash)


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("edit", EDITS)
def test_edited_copies_are_near_and_nothing_else_is(edit: str, size: int) -> None:
    originals = scenes()
    first, second = prints_of(originals, size), prints_of([EDITS[edit](image) for image in originals], size)
    assert not (first.plain | second.plain).any()
    distances = apart(first.bits, second.bits)
    assert distances.diagonal().max() <= perceptual_hash.NEAR
    others = distances[~np.eye(len(originals), dtype=bool)]
    assert others.min() > perceptual_hash.NEAR + 20


def test_images_without_detail_are_not_compared() -> None:
    speckled = Image.fromarray(np.random.default_rng(0).integers(120, 130, (96, 96), dtype=np.uint8))
    scan = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8))
    plain = prints_of([Image.new("L", (9, 9), 200), Image.new("RGB", (9, 9), "red"), speckled, scan]).plain
    assert plain.tolist() == [True] * 4


def test_fingerprints_are_of_the_rows_asked_for() -> None:
    images = np.array([square(image) for image in scenes()])
    everything = perceptual_hash.fingerprints(images, np.arange(12))
    seen: list[tuple[int, int]] = []
    some = perceptual_hash.fingerprints(images, np.array([7, 2]), progress=lambda *step: seen.append(step))
    assert np.array_equal(some.bits, everything.bits[[7, 2]])
    assert seen == [(2, 2)]


def test_nearest_by_hand() -> None:
    others = np.array([[0, 0, 0, 0], [0b1111, 0, 0, 0], [0b1111, 0, 0, 0]], dtype=np.uint64)
    all_bits = 2**64 - 1
    queries = np.array([[0b1, 0, 0, 0], [0b0111, 0, 0, 1 << 63], [all_bits] * 4], dtype=np.uint64)
    index, distance = perceptual_hash.nearest(queries, others)
    assert index.tolist() == [0, 1, 1]
    assert distance.tolist() == [1, 2, 252]
    assert perceptual_hash.nearest(queries[2:], others[:1])[1].tolist() == [256]
    with pytest.raises(ValueError, match="no hash"):
        perceptual_hash.nearest(queries, others[:0])


def test_nearest_in_blocks_is_nearest_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, others = (rng.integers(0, 2**63, (n, 4), dtype=np.uint64) for n in (57, 31))
    distances = apart(queries, others)
    monkeypatch.setattr(perceptual_hash, "_COMPARED", 100)
    seen: list[tuple[int, int]] = []
    index, distance = perceptual_hash.nearest(queries, others, progress=lambda *step: seen.append(step))
    assert index.tolist() == distances.argmin(axis=1).tolist()
    assert distance.tolist() == distances.min(axis=1).tolist()
    assert seen[0] == (3, 57)
    assert seen[-1] == (57, 57)
    assert all(before < after for (before, _), (after, _) in pairwise(seen))


# --- across splits ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    content: tuple[bytes, ...]

    def encoded(self, index: int) -> bytes:
        return self.content[index]


def listing(*items: tuple[Image.Image, str, str], classes: str = "ab") -> Listing:
    """Items are (image, class, split); ids are numbered."""
    content = []
    for image, _, _ in items:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        content.append(stream.getvalue())
    return Listing(
        name="toy",
        source="toy",
        class_names=tuple(classes),
        ids=tuple(f"{number}.png" for number in range(len(items))),
        labels=np.array([classes.index(label) for _, label, _ in items]),
        published=np.array([split for _, _, split in items]),
        digests=tuple(hashlib.sha256(one).hexdigest() for one in content),
        images=Encoded(tuple(content)),
    )


def checked(items: Listing, cache: Path, size: int = 64) -> Dataset:
    found, failures = decode(items, size=size, resize="stretch", cache=cache)
    return with_copies(assemble(items, failures), items, found)


def leaky() -> Listing:
    a, b, c, d, e, f, *_ = scenes()
    return listing(
        (a, "a", "train"),
        (b, "b", "train"),
        (c, "a", "val"),
        (d, "b", "test"),
        (EDITS["brighter"](a), "b", "test"),  # near to 0, under another label
        (b, "b", "test"),  # exactly 1
        (EDITS["saved anew"](b), "b", "val"),  # near to 1, and so 5 is near to it
        (e, "a", "train"),
        (EDITS["resized"](e), "a", "test"),  # near to 7
        (f, "a", "test"),
    )


def test_copies_by_pair_of_splits(cache: Path) -> None:
    dataset = checked(leaky(), cache)
    assert dataset.copies == {"exact": ("5.png",), "near": ("4.png", "8.png")}
    near = dataset.health["near_duplicates"]
    assert near["too_plain"] == 0
    assert {pair: (entry["images"], entry["other_class"]) for pair, entry in near["pairs"].items()} == {
        "train/val": (1, 0),
        "train/test": (2, 1),
        "val/test": (1, 0),
    }
    first, second = near["pairs"]["train/test"]["examples"]
    assert (first["train"], first["test"]) == ({"id": "0.png", "class": "a"}, {"id": "4.png", "class": "b"})
    assert (second["train"], second["test"]) == ({"id": "7.png", "class": "a"}, {"id": "8.png", "class": "a"})
    assert 0 <= first["bits"] <= perceptual_hash.NEAR
    assert dataset.health["straddling"]["train/test"]["images"] == 1
    json.dumps(dataset.health, allow_nan=False)


def test_examples_are_bounded_and_the_ids_are_not(cache: Path) -> None:
    a, b, c, d, *_ = scenes()
    darker = [(ImageEnhance.Brightness(a).enhance(0.99 - 0.01 * step), "a", "test") for step in range(25)]
    dataset = checked(listing((a, "a", "train"), (b, "b", "train"), (c, "a", "val"), (d, "b", "test"), *darker), cache)
    found = dataset.health["near_duplicates"]["pairs"]["train/test"]
    assert (found["images"], len(found["examples"])) == (25, 20)
    assert len(dataset.copies["near"]) == 25


def test_plain_images_are_counted_and_left_out(cache: Path) -> None:
    a, b, c, d, *_ = scenes()
    reds = [(Image.new("RGB", (20, 20), (200 + step, 0, 0)), "a", ("train", "test")[step % 2]) for step in range(6)]
    dataset = checked(listing((a, "a", "train"), (b, "b", "train"), (c, "a", "val"), (d, "b", "test"), *reds), cache)
    assert dataset.health["near_duplicates"]["too_plain"] == 6
    assert dataset.copies == {"exact": (), "near": ()}


def test_what_was_found_is_kept_beside_the_pixels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checked(leaky(), cache)
    (kept,) = (cache / "pixels").glob("*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(perceptual_hash, "fingerprints", lambda *_, **__: pytest.fail("hashed again"))
        again = checked(leaky(), cache)
    assert (again.health, again.copies) == (before.health, before.copies)
    whole = kept.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # of the archive's directory; its flags are 8 bytes on, its method 10
    encrypted = whole[: entry + 8] + b"\x01" + whole[entry + 9 :]
    unheard_of = whole[: entry + 10] + b"\x63" + whole[entry + 11 :]
    for damage in (b"", b"PK\x03\x04 cut short", whole[:-40], encrypted, unheard_of):
        kept.write_bytes(damage)
        assert checked(leaky(), cache).copies == before.copies
    monkeypatch.setattr(perceptual_hash, "NEAR", 1)
    assert checked(leaky(), cache).copies != before.copies, "another limit is another question"


def test_a_cache_that_takes_nothing_more_is_no_reason_to_stop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(near_duplicates, "whole_file", full)
    assert checked(leaky(), cache).copies["exact"] == ("5.png",)


def test_unreadable_images_shift_nothing(cache: Path) -> None:
    whole = leaky()
    broken = Encoded((b"damaged", *whole.images.content))  # type: ignore[attr-defined]
    first = listing((scenes()[6], "a", "train"))
    both = Listing(
        name="toy",
        source="toy",
        class_names=whole.class_names,
        ids=("broken.png", *whole.ids),
        labels=np.concatenate([first.labels, whole.labels]),
        published=np.concatenate([first.published, whole.published]),
        digests=("0", *whole.digests),
        images=broken,
    )
    dataset = checked(both, cache)
    assert dataset.ids == whole.ids
    assert dataset.copies == {"exact": ("5.png",), "near": ("4.png", "8.png")}


def test_digits_have_no_copies_though_they_look_alike(cache: Path) -> None:
    found = open_listing("digits")
    split = make_splits(found.labels, found.published, found.digests, found.class_names, min_per_class=3)
    dataset = checked(select(found, np.arange(len(found.ids)), split), cache, size=32)
    near = dataset.health["near_duplicates"]
    assert near["too_plain"] > 1700
    assert [entry["images"] for entry in near["pairs"].values()] == [0, 0, 0]


def test_grocery_photos_share_no_scene_across_splits(grocery: Path, cache: Path) -> None:
    everything = open_listing(str(grocery))
    photos = select(everything, np.arange(0, len(everything.ids), 4), everything.published)
    dataset = checked(photos, cache)
    near = dataset.health["near_duplicates"]
    assert near["too_plain"] == 0
    assert [entry["images"] for entry in near["pairs"].values()] == [0, 0, 0]
    assert dataset.copies == {"exact": (), "near": ()}
