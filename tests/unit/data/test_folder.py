"""Folders of images in all their layouts, the unpacked Food-101 archive, and what is wrong with some of them."""

from __future__ import annotations

import hashlib
import os
import pickle
import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbench.core.errors import RequestError
from backbench.data import assemble, open_listing, results_name, select
from backbench.data.sources.image_files import FileImages
from backbench.data.splits import make_splits


def put(path: Path, shade: int = 0) -> Path:
    """A real JPEG whose bytes differ with the shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (120, 60, 7)).save(path, "JPEG", comment=str(shade))
    return path


def fill(root: Path, layout: dict[str, int]) -> Path:
    """`layout`: images per folder below root."""
    shade = 0
    for folder, count in layout.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            put(root / folder / f"{number}.jpg", shade := shade + 1)
    return root


def refusal(name: object) -> str:
    with pytest.raises(RequestError) as refused:
        open_listing(str(name))
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_three_published_splits(tmp_path: Path) -> None:
    root = fill(tmp_path / "fruit", {"train/b": 2, "train/a": 1, "val/a": 1, "test/b": 1})
    listing = open_listing(str(root))
    assert listing.name == "fruit"
    assert listing.class_names == ("a", "b")
    assert listing.ids == ("test/b/0.jpg", "train/a/0.jpg", "train/b/0.jpg", "train/b/1.jpg", "val/a/0.jpg")
    assert listing.labels.tolist() == [1, 0, 1, 1, 0]
    assert listing.published.tolist() == ["test", "train", "train", "train", "val"]
    encoded = (root / "train/a/0.jpg").read_bytes()
    assert listing.images.encoded(1) == encoded
    assert listing.digests[1] == hashlib.sha256(encoded).hexdigest()
    assert pickle.loads(pickle.dumps(listing)).images.encoded(1) == encoded


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_other_names_of_val(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path, {"train/a": 1, "train/b": 1, f"{name}/a": 1, "test/a": 1})
    assert open_listing(str(root)).published.tolist().count("val") == 1


def test_class_folders_only_also_when_a_class_is_called_train(tmp_path: Path) -> None:
    listing = open_listing(str(fill(tmp_path, {"car": 2, "train": 2, "test": 1})))
    assert listing.class_names == ("car", "test", "train")
    assert set(listing.published.tolist()) == {""}


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    listing = open_listing(str(fill(tmp_path, {"apple/red": 1, "apple/green/small": 1, "pear": 1})))
    assert listing.ids == ("apple/green/small/0.jpg", "apple/red/0.jpg", "pear/0.jpg")
    assert listing.labels.tolist() == [0, 0, 1]


def test_published_val_becomes_test_and_the_notes_say_so(tmp_path: Path) -> None:
    listing = open_listing(str(fill(tmp_path, {"train/a": 8, "train/b": 8, "val/a": 2, "val/b": 2})))
    split = make_splits(listing.labels, listing.published, listing.digests, listing.class_names)
    dataset = assemble(select(listing, np.arange(20), split), {})
    assert dataset.health["per_split"] == {"train": 14, "val": 2, "test": 4}
    assert dataset.health["notes"] == ["the published val split is the test set; one of 8 images of train was made val"]


def test_odd_things_are_neither_opened_nor_lost(tmp_path: Path) -> None:
    root = fill(tmp_path, {"a": 2, "b": 2, ".hidden": 1, "__MACOSX/a": 1})
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    (root / "a" / "self.jpg").symlink_to("self.jpg")
    (root / "a" / "linked.jpg").symlink_to("0.jpg")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "here").symlink_to(".", target_is_directory=True)
    (root / "again").symlink_to(".", target_is_directory=True)
    (root / "b" / "._0.jpg").write_bytes(b"resource fork")
    (root / "b" / "notes.txt").write_text("not an image")
    (root / "README").write_text("about")
    put(root / "stray.jpg", 99)
    listing = open_listing(str(root))
    assert listing.ids == ("a/0.jpg", "a/1.jpg", "a/linked.jpg", "b/0.jpg", "b/1.jpg")
    reasons = dict(listing.unreadable)
    assert reasons.keys() == {"a/pipe.jpg", "a/gone.png", "a/self.jpg"}
    assert reasons["a/pipe.jpg"] == "not a regular file"
    assert reasons["a/gone.png"] == "No such file or directory"
    assert "symbolic links" in reasons["a/self.jpg"]
    assert listing.ignored_files == 4  # ._0.jpg, notes.txt, README, stray.jpg
    assert listing.notes == (
        "the symbolic link 'again' leads back to a folder above it: left out",
        "image files outside class folders, left out: 1",
    )


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path, {"a": 1, "a/locked": 1, "b": 1})
    scandir = os.scandir

    def guarded(path: os.PathLike[str]) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert open_listing(str(root)).unreadable == (("a/locked", "Permission denied"),)


def test_names_of_any_script_and_of_none(tmp_path: Path) -> None:
    root = fill(tmp_path / "Früchte 🍎", {"яблоко": 1, "柿": 1})
    undecodable = os.fsencode(root / "柿") + b"/\xff.jpg"
    (root / "柿" / "0.jpg").rename(os.fsdecode(undecodable))
    listing = open_listing(str(root))
    assert listing.class_names == ("яблоко", "柿")
    assert listing.ids == ("яблоко/0.jpg", "柿/\\xff.jpg")
    assert listing.images.encoded(1).startswith(b"\xff\xd8")


def test_accents_of_two_systems_are_one_class(tmp_path: Path) -> None:
    listing = open_listing(str(fill(tmp_path, {"train/Cafe\u0301": 1, "train/b": 1, "test/Caf\u00e9": 1})))
    assert listing.class_names == ("Caf\u00e9", "b")


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_listing(str(fill(tmp_path, {"a": 70, "b": 30})), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 100), (100, 100)]


def test_what_lies_beside_the_splits_is_noted(tmp_path: Path) -> None:
    root = fill(tmp_path, {"train/a": 3, "train/b": 3, "test": 2, "extra/a": 1})
    listing = open_listing(str(root))
    assert set(listing.published.tolist()) == {"train"}  # test/ has no class folders: nothing says what its images are
    assert listing.notes == ("folders beside the splits, left out: 'extra', 'test'",)


def test_refusals_name_the_reason_and_the_next_step(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "use digits, food, hf:" in refusal("diggits")
    assert "holds no images: put the images of each class" in refusal(tmp_path)
    (tmp_path / "words.txt").write_text("a")
    assert "is a file, not a folder" in refusal(tmp_path / "words.txt")
    assert "only 1 other file (.txt)" in refusal(tmp_path)
    assert ".jpg, .png" in refusal(tmp_path)
    put(tmp_path / "x.jpg")
    assert "images but no class folders" in refusal(tmp_path)
    assert "unknown dataset" in refusal("bad\0name")


def test_layouts_that_cannot_be_used(tmp_path: Path) -> None:
    assert "one class ('a')" in refusal(fill(tmp_path / "1", {"a": 3}))
    assert "'test' but no 'train'" in refusal(fill(tmp_path / "2", {"test/a": 1, "test/b": 1}))
    assert "both 'val' and 'valid'" in refusal(fill(tmp_path / "3", {"train/a": 1, "val/a": 1, "valid/a": 1}))
    data = tmp_path / "4" / "data"
    data.mkdir(parents=True)
    (data / "train.parquet").write_bytes(b"PAR1")
    assert "pass it as hf:" in refusal(tmp_path / "4")
    with pytest.raises(RequestError, match="for hf: datasets"):
        open_listing("digits", label_column="label")


@pytest.mark.parametrize(
    "layout", [{"train/a": 1, "train/b": 1, "test/c": 1}, {"train/a": 1, "train/b": 1, "train/c": 0}]
)
def test_a_class_without_training_images(tmp_path: Path, layout: dict[str, int]) -> None:
    listing = open_listing(str(fill(tmp_path, {**layout, "val/a": 1, "test/a": 1})))
    split = make_splits(listing.labels, listing.published, listing.digests, listing.class_names)
    with pytest.raises(RequestError, match="class 'c' has no training images"):
        assemble(select(listing, np.arange(len(split)), split), {})


def archive(root: Path) -> Path:
    for number, path in enumerate(("apple_pie/1", "apple_pie/2", "ramen/3", "ramen/4")):
        put(root / "images" / f"{path}.jpg", number)
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("apple_pie/1\nramen/3\nramen/5\n")
    (root / "meta" / "test.txt").write_text("apple_pie/2\nramen/4\n")
    return root


def test_the_unpacked_food_archive(tmp_path: Path) -> None:
    listing = open_listing(str(archive(tmp_path / "food-101")))
    assert listing.class_names == ("apple_pie", "ramen")
    assert listing.ids == (
        "images/apple_pie/1.jpg",
        "images/apple_pie/2.jpg",
        "images/ramen/3.jpg",
        "images/ramen/4.jpg",
    )
    assert listing.published.tolist() == ["train", "test", "train", "test"]
    assert listing.unreadable == (("images/ramen/5.jpg", "No such file or directory"),)


@pytest.mark.parametrize("line", ["../../etc/passwd", "/etc/passwd", "ramen", "ramen/4"])
def test_archive_lists_that_make_no_sense(tmp_path: Path, line: str) -> None:
    root = archive(tmp_path / "food-101")
    (root / "meta" / "train.txt").write_text(f"apple_pie/1\n{line}\n")
    assert "unpack the Food-101 archive again" in refusal(root)


def test_reading_refuses_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        FileImages(tmp_path, ("pipe.jpg",)).encoded(0)


@pytest.mark.parametrize(
    ("asked", "safe"),
    [
        ("digits", "digits"),
        ("food", "food"),
        ("hf:ethz/food101", "ethz-food101"),
        ("some/where/grocery/", "grocery"),
        ("./a.b_c-1", "a.b_c-1"),
    ],
)
def test_results_names(asked: str, safe: str) -> None:
    assert results_name(asked) == safe


def test_results_names_of_unsafe_folders_are_safe_and_differ(tmp_path: Path) -> None:
    asked = [tmp_path / name for name in ("фото", "кофе", "...", "a b", "a;b", "-", "x" * 200)]
    names = [results_name(str(path)) for path in [*asked, Path("/")]]
    assert len(set(names)) == len(names)
    for name in names:
        assert 0 < len(name) <= 100
        assert set(name) <= set(string.ascii_letters + string.digits + "._-")
        assert name[0] not in ".-"


def test_grocery_photos(grocery: Path) -> None:
    listing = open_listing(str(grocery))
    assert len(listing.ids) == 3676
    assert len(listing.class_names) == 34
    assert [listing.published.tolist().count(split) for split in ("train", "val", "test")] == [1776, 196, 1704]
    split = make_splits(listing.labels, listing.published, listing.digests, listing.class_names)
    assert split.tolist() == listing.published.tolist()
