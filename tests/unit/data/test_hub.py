"""Datasets in the shape of the hub, through the same library call, and a hub that cannot be reached."""

from __future__ import annotations

import hashlib
import io
import pickle
import time
from pathlib import Path
from typing import Any

import datasets as hub_datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from backbench.core.errors import RequestError
from backbench.data import assemble, open_listing, select
from backbench.data.sources import hub
from backbench.data.splits import make_splits

FOOD = ["apple_pie", "ramen", "waffles"]


def jpeg(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 9), (shade * 7 % 256, 99, 30)).save(stream, "JPEG", comment=f"photo {shade}")
    return stream.getvalue()


def food_features(names: list[str] = FOOD) -> Any:
    return hub_datasets.Features({"image": hub_datasets.Image(), "label": hub_datasets.ClassLabel(names=names)})


def write(root: Path, splits: dict[str, dict[str, list[Any]]], features: Any = None) -> Path:
    """A dataset repository as the hub holds it: parquet shards below data/."""
    (root / "data").mkdir(parents=True)
    hub_datasets.disable_progress_bars()
    for split, columns in splits.items():
        shard = root / "data" / f"{split}-00000-of-00001.parquet"
        hub_datasets.Dataset.from_dict(columns, features=features).to_parquet(shard)
    return root


def rows(*labels: int | None, first: int = 0) -> dict[str, list[Any]]:
    images = [{"bytes": jpeg(first + number), "path": f"{number}.jpg"} for number in range(len(labels))]
    return {"image": images, "label": list(labels)}


@pytest.fixture
def food(tmp_path: Path, cache: Path) -> Path:
    """Food-101's own schema: `image` and a ClassLabel, train and validation."""
    labels = [0, 1, 2] * 8
    splits = {"train": rows(*labels), "validation": rows(0, 1, 2, first=50)}
    return write(tmp_path / "food101", splits, food_features())


def refusal(name: str, **options: str) -> str:
    with pytest.raises(RequestError) as refused:
        open_listing(name, **options)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_food_is_read_through_the_library(food: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "FOOD101", str(food))
    listing = open_listing("food")
    assert (listing.name, listing.source) == ("food", "food")
    assert listing.class_names == tuple(FOOD)
    assert len(listing.ids) == 27
    assert listing.ids[0] == "train/0000000"
    assert listing.ids[-1] == "validation/0000002"
    assert list(listing.ids) == sorted(listing.ids)
    assert listing.labels.tolist() == [0, 1, 2] * 9
    assert listing.published.tolist() == ["train"] * 24 + ["val"] * 3
    assert listing.images.encoded(4) == jpeg(4)
    assert listing.digests[26] == hashlib.sha256(jpeg(52)).hexdigest()
    split = make_splits(listing.labels, listing.published, listing.digests, listing.class_names)
    dataset = assemble(select(listing, np.arange(27), split), {})
    assert dataset.health["per_split"] == {"train": 21, "val": 3, "test": 3}
    assert (split[24:] == "test").all()


def test_the_pinned_revision_is_a_commit() -> None:
    assert hub.FOOD101 == "ethz/food101"
    assert len(hub.FOOD101_REVISION) == 40
    assert int(hub.FOOD101_REVISION, 16)


def test_a_local_directory_travels_without_its_bytes(food: Path, cache: Path) -> None:
    listing = open_listing(f"hf:{food}")
    assert listing.name == "food101"
    content = pickle.dumps(listing.images)
    assert jpeg(3) not in content
    assert pickle.loads(content).encoded(3) == jpeg(3)
    assert (cache / "datasets").is_dir()


def test_hidden_labels_are_never_a_test_set(tmp_path: Path, cache: Path) -> None:
    splits = {
        "train": rows(0, 1, 2, 0, -1),
        "validation": rows(0, 1, first=10),
        "test": rows(-1, -1, -1, first=20),
    }
    listing = open_listing(f"hf:{write(tmp_path / 'hidden', splits, food_features())}")
    assert listing.published.tolist() == ["train"] * 4 + ["val"] * 2
    assert set(listing.notes) == {
        "images of split 'train' without a label, left out: 1",
        "split 'test' has no labels: left out",
    }


def test_names_of_splits(tmp_path: Path, cache: Path) -> None:
    splits = {"train": rows(0, 1, 2), "dev": rows(0, first=10), "test": rows(1, first=20), "extra": rows(2, first=30)}
    listing = open_listing(f"hf:{write(tmp_path / 'named', splits, food_features())}")
    assert dict(zip(listing.ids, listing.published.tolist(), strict=True)) == {
        "dev/0000000": "val",
        "test/0000000": "test",
        "train/0000000": "train",
        "train/0000001": "train",
        "train/0000002": "train",
    }
    assert listing.notes == ("split 'extra' is neither train, validation nor test: left out",)


def test_a_split_of_another_name_is_unpublished() -> None:
    notes: list[str] = []
    assert hub._published(["full"], [[0, 1]], notes) == {"full": ""}
    with pytest.raises(RequestError, match="validation, dev"):
        hub._published(["validation", "dev"], [[0], [1]], notes)
    assert notes == []


def test_labels_of_words_and_numbers(tmp_path: Path, cache: Path) -> None:
    image = hub_datasets.Image()
    words = hub_datasets.Features({"image": image, "category": hub_datasets.Value("string")})
    columns = {"image": rows(0, 0, 0, 0)["image"], "category": ["pear", None, "apple", "pear"]}
    listing = open_listing(f"hf:{write(tmp_path / 'words', {'train': columns}, words)}")
    assert listing.class_names == ("apple", "pear")
    assert listing.labels.tolist() == [1, 0, 1]
    assert listing.ids == ("train/0000000", "train/0000002", "train/0000003")
    numbers = hub_datasets.Features({"image": image, "label": hub_datasets.Value("int64")})
    listing = open_listing(f"hf:{write(tmp_path / 'numbers', {'train': rows(10, 9, 10, -1)}, numbers)}")
    assert listing.class_names == ("9", "10")
    assert listing.labels.tolist() == [1, 0, 1]


def test_declared_classes_without_images_are_noted(tmp_path: Path, cache: Path) -> None:
    listing = open_listing(f"hf:{write(tmp_path / 'few', {'train': rows(0, 2)}, food_features())}")
    assert listing.class_names == ("apple_pie", "waffles")
    assert listing.labels.tolist() == [0, 1]
    assert listing.notes == ("declared classes without images: 1",)


def test_columns_can_be_named(tmp_path: Path, cache: Path) -> None:
    features = hub_datasets.Features(
        {
            "image": hub_datasets.Image(),
            "mask": hub_datasets.Image(),
            "fine_label": hub_datasets.ClassLabel(names=["a", "b"]),
            "coarse_label": hub_datasets.ClassLabel(names=["x", "y"]),
            "vector": hub_datasets.List(hub_datasets.Value("int64")),
        }
    )
    images = rows(0, 1)["image"]
    columns = {
        "image": images,
        "mask": images[::-1],
        "fine_label": [0, 1],
        "coarse_label": [1, 0],
        "vector": [[1], [2]],
    }
    name = f"hf:{write(tmp_path / 'two', {'train': columns}, features)}"
    assert "could be the image (image, mask): choose one with --image-column" in refusal(name)
    assert "(fine_label, coarse_label)" in refusal(name, image_column="mask")
    assert "no column 'masks'" in refusal(name, image_column="masks")
    assert "cannot be the label" in refusal(name, image_column="mask", label_column="vector")
    listing = open_listing(name, image_column="mask", label_column="coarse_label")
    assert listing.class_names == ("x", "y")
    assert listing.labels.tolist() == [1, 0]
    assert listing.images.encoded(0) == jpeg(1)


def test_images_in_files_beside_the_table(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "beside"
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    paths = [root / "1.jpg", root / "2.jpg", tmp_path / "secret.jpg", root / ".." / "secret.jpg", Path("1.jpg")]
    columns = {
        "image": [{"bytes": None, "path": str(path)} for path in paths]
        + [{"bytes": None, "path": "a\0b.jpg"}, {"bytes": None, "path": f"{root}/a\0b.jpg"}]
        + [None, {"bytes": jpeg(3), "path": str(tmp_path / "secret.jpg")}],
        "label": [0] * 8 + [1],
    }
    struct = {"bytes": hub_datasets.Value("binary"), "path": hub_datasets.Value("string")}
    features = hub_datasets.Features({"image": struct, "label": hub_datasets.Value("int64")})
    write(root, {"train": columns}, features)
    (root / "1.jpg").write_bytes(jpeg(1))
    monkeypatch.chdir(root)
    listing = open_listing(f"hf:{root}")
    assert [listing.images.encoded(index) for index in range(2)] == [jpeg(1), jpeg(3)]
    assert listing.labels.tolist() == [0, 1]
    foreign = "the row names a file that does not belong to the dataset"
    assert dict(listing.unreadable) == {
        "train/0000001": "No such file or directory",
        "train/0000002": foreign,
        "train/0000003": foreign,
        "train/0000004": foreign,
        "train/0000005": foreign,
        "train/0000006": "not the name of a file",
        "train/0000007": "the row holds no image",
    }


def test_code_that_comes_with_a_dataset_is_not_run(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "scripted"
    root.mkdir()
    (root / "scripted.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    assert "cannot be loaded" in refusal(f"hf:{root}")
    (root / "train.pkl").write_bytes(b"cpathlib\nPosixPath\n.")
    assert "cannot be loaded" in refusal(f"hf:{root}")
    assert not (tmp_path / "ran").exists()


def test_directories_that_are_no_image_datasets(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in refusal(f"hf:{tmp_path / 'empty'}")
    words = hub_datasets.Features({"text": hub_datasets.Value("string"), "label": hub_datasets.Value("int64")})
    name = f"hf:{write(tmp_path / 'text', {'train': {'text': ['a', 'b'], 'label': [0, 1]}}, words)}"
    assert "no image column found" in refusal(name)
    bare = hub_datasets.Features({"image": hub_datasets.Image(), "score": hub_datasets.Value("float32")})
    scored = {"image": rows(0, 1)["image"], "score": [0.5, 1.0]}
    assert "no label column found" in refusal(f"hf:{write(tmp_path / 'bare', {'train': scored}, bare)}")
    assert "names no dataset" in refusal("hf:")


def test_an_unreachable_hub_is_said_within_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ConnectionError("connection refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refused)
    started = time.monotonic()
    text = refusal("food")
    assert time.monotonic() - started < 5
    for part in (
        "ethz/food101",
        "unreachable",
        "connection refused",
        "`backbench fetch`",
        "food-101 archive",
        "folder",
    ):
        assert part in text
    assert "archive" not in refusal("hf:someone/something")


def test_offline_mode_asks_nobody(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: pytest.fail("asked the hub"))
    assert "offline mode is set" in refusal("food")


def test_what_earlier_runs_left_serves_offline(food: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online = open_listing(f"hf:{food}")
    # The library files a hub dataset under owner___name/config/version/revision.
    versions = cache / "datasets" / "food101" / "default" / "0.0.0"
    (local,) = (path for path in versions.iterdir() if path.is_dir())
    home = cache / "datasets" / "ethz___food101" / "default" / "0.0.0" / hub.FOOD101_REVISION
    home.parent.mkdir(parents=True)
    local.rename(home)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = open_listing("food")
    assert (offline.ids, offline.digests) == (online.ids, online.digests)
    assert offline.images.encoded(7) == jpeg(7)
    monkeypatch.setattr(hub, "FOOD101_REVISION", "0" * 40)
    assert "the cache holds another revision" in refusal("food")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (huggingface_hub.errors.RepositoryNotFoundError, "unknown dataset"),
        (huggingface_hub.errors.GatedRepoError, "is gated"),
        (huggingface_hub.errors.RevisionNotFoundError, "has no revision"),
    ],
)
def test_a_hub_that_says_no(error: type[Exception], part: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refused)
    assert part in refusal("hf:someone/something")


def test_an_impossible_id(cache: Path) -> None:
    assert "unknown dataset" in refusal("hf:no such/thing at/all")


def test_settings_of_the_library_are_left_as_they_were(food: Path) -> None:
    hub_datasets.enable_progress_bars()
    before = hub_datasets.utils.logging.get_verbosity()
    open_listing(f"hf:{food}")
    assert not hub_datasets.are_progress_bars_disabled()
    assert hub_datasets.utils.logging.get_verbosity() == before


def test_loading_says_nothing(food: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    open_listing(f"hf:{food}")
    assert capfd.readouterr() == ("", "")
