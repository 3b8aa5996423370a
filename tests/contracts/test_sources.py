"""What every source of images promises, whatever shape the images come in: one body for all of them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbench.core.dataset import SPLITS, Listing
from backbench.data import open_listing, select
from backbench.data.splits import make_splits

CLASSES, PER_CLASS = ("apple", "kiwi", "plum"), 12


def photo(number: int) -> bytes:
    """A photo unlike all others."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def digits(_: Path) -> str:
    return "digits"


def class_folders(root: Path) -> str:
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            (root / name / f"{number}.png").write_bytes(photo(100 * label + number))
    return str(root)


def split_folders(root: Path) -> str:
    for place, split in enumerate(("train", "val", "test")):
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(PER_CLASS // 3):
                (root / split / name / f"{number}.png").write_bytes(photo(100 * label + 10 * place + number))
    return str(root)


def food_archive(root: Path) -> str:
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, name in enumerate(CLASSES):
        (root / "images" / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            (root / "images" / name / f"{number}.jpg").write_bytes(photo(100 * label + number))
            lists["test" if number % 4 == 0 else "train"].append(f"{name}/{number}")
    (root / "meta").mkdir()
    for split, lines in lists.items():
        (root / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return str(root)


def hub_folder(root: Path) -> str:
    import datasets as hub_datasets

    hub_datasets.disable_progress_bars()
    features = hub_datasets.Features({"image": hub_datasets.Image(), "label": hub_datasets.ClassLabel(names=CLASSES)})
    images = [{"bytes": photo(100 * label + n), "path": f"{n}.png"} for label in range(3) for n in range(PER_CLASS)]
    labels = [label for label in range(3) for _ in range(PER_CLASS)]
    (root / "data").mkdir(parents=True)
    rows = hub_datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    rows.to_parquet(root / "data" / "train-00000-of-00001.parquet")
    return f"hf:{root}"


SOURCES: tuple[Callable[[Path], str], ...] = (digits, class_folders, split_folders, food_archive, hub_folder)


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def name(request: pytest.FixtureRequest, tmp_path: Path, cache: Path) -> str:
    """The dataset's name as it is given to `--dataset`."""
    made: str = request.param(tmp_path / "photos")
    return made


def facts(listing: Listing) -> tuple[object, ...]:
    return listing.ids, listing.labels.tolist(), listing.published.tolist(), listing.digests, listing.class_names


def test_items_are_listed_once_in_the_order_of_their_ids(name: str) -> None:
    listing = open_listing(name)
    assert list(listing.ids) == sorted(set(listing.ids))
    lengths = {len(listing.labels), len(listing.published), len(listing.digests)}
    assert lengths == {len(listing.ids)}
    assert len(listing.ids) == (1797 if name == "digits" else 36)


def test_every_label_is_a_class_and_every_class_has_items(name: str) -> None:
    listing = open_listing(name)
    assert set(listing.labels.tolist()) == set(range(len(listing.class_names)))
    if name != "digits":
        assert listing.class_names == CLASSES
        assert np.bincount(listing.labels).tolist() == [PER_CLASS] * 3


def test_published_splits_are_among_the_known_or_absent(name: str) -> None:
    assert set(open_listing(name).published.tolist()) <= {*SPLITS, ""}


def test_images_are_those_of_their_digests_also_in_another_process(name: str) -> None:
    listing = open_listing(name)
    images = pickle.loads(pickle.dumps(listing.images))
    for index in (0, len(listing.ids) // 2, len(listing.ids) - 1):
        encoded = images.encoded(index)
        with Image.open(io.BytesIO(encoded)) as image:
            assert image.size == ((8, 8) if name == "digits" else (12, 9))
        same = [place for place, digest in enumerate(listing.digests) if digest == listing.digests[index]]
        assert all(images.encoded(place) == encoded for place in same)
    if name != "digits":
        assert len(set(listing.digests)) == len(listing.ids), "no two photos are alike"


def test_the_same_source_is_listed_the_same_again(name: str) -> None:
    assert facts(open_listing(name)) == facts(open_listing(name))


def test_a_selection_keeps_images_with_their_labels(name: str) -> None:
    listing = open_listing(name)
    split = make_splits(listing.labels, listing.published, listing.digests, listing.class_names, min_per_class=3)
    assert set(split.tolist()) == set(SPLITS)
    kept = np.arange(0, len(listing.ids), 3)
    fewer = select(listing, kept, split)
    assert fewer.ids == tuple(listing.ids[item] for item in kept)
    assert fewer.labels.tolist() == listing.labels[kept].tolist()
    assert fewer.published.tolist() == split[kept].tolist()
    assert fewer.images.encoded(2) == listing.images.encoded(int(kept[2]))
