"""What `run.json` says about the data, and the datasets that are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.data import assemble, select


@dataclass(frozen=True)
class Nothing:
    def encoded(self, index: int) -> bytes:
        return bytes([index])


def listing(*items: tuple[str, str, str], classes: str = "ab") -> Listing:
    """Items are (class, split, content); ids are numbered."""
    return Listing(
        name="toy",
        source="toy",
        class_names=tuple(classes),
        ids=tuple(f"{number}.png" for number in range(len(items))),
        labels=np.array([classes.index(item[0]) for item in items]),
        published=np.array([item[1] for item in items]),
        digests=tuple(hashlib.sha256(item[2].encode()).hexdigest() for item in items),
        images=Nothing(),
    )


SOUND = (("a", "train", "1"), ("b", "train", "2"), ("a", "val", "3"), ("b", "test", "4"))


def test_counts_and_gaps() -> None:
    health = assemble(listing(*SOUND), {}).health
    assert health["images"] == 4
    assert health["per_split"] == {"train": 2, "val": 1, "test": 1}
    assert health["per_class"] == {"a": {"train": 1, "val": 1, "test": 0}, "b": {"train": 1, "val": 0, "test": 1}}
    assert health["missing_in_val"] == ["b"]
    assert health["missing_in_test"] == ["a"]
    assert health["duplicates"] == {"groups": 0, "surplus": 0, "examples": []}
    assert health["notes"] == []
    json.dumps(health, allow_nan=False)


def test_copies_leaks_and_conflicts() -> None:
    health = assemble(
        listing(*SOUND, ("a", "train", "1"), ("a", "test", "1"), ("b", "test", "1"), ("b", "test", "3")), {}
    ).health
    assert health["duplicates"] == {
        "groups": 2,
        "surplus": 4,
        "examples": [["0.png", "4.png", "5.png", "6.png"], ["2.png", "7.png"]],
    }
    assert health["straddling"]["train/test"] == {
        "groups": 1,
        "images": 2,
        "examples": [{"train": ["0.png", "4.png"], "test": ["5.png", "6.png"]}],
    }
    assert health["straddling"]["val/test"]["images"] == 1
    assert health["straddling"]["train/val"]["groups"] == 0
    assert health["conflicting_labels"]["groups"] == 2
    assert health["conflicting_labels"]["examples"][1] == [{"id": "2.png", "class": "a"}, {"id": "7.png", "class": "b"}]


def test_examples_are_bounded() -> None:
    copies = [("a", split, str(number)) for number in range(30) for split in ("train", "test")]
    health = assemble(listing(*SOUND, *copies), {}).health
    assert health["duplicates"]["groups"] == 30
    assert len(health["duplicates"]["examples"]) == len(health["straddling"]["train/test"]["examples"]) == 20


def test_failures_are_left_out_and_listed() -> None:
    toy = replace(listing(("b", "train", "0"), *SOUND), unreadable=(("9.png", "gone"),), ignored_files=3, notes=("n",))
    dataset = assemble(toy, {0: "broken"})
    assert dataset.ids == ("1.png", "2.png", "3.png", "4.png")
    assert dataset.rows.tolist() == [1, 2, 3, 4]
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.indices("train").tolist() == [0, 1]
    assert dataset.health["unreadable"] == [{"id": "0.png", "reason": "broken"}, {"id": "9.png", "reason": "gone"}]
    assert dataset.health["ignored_files"] == 3
    assert dataset.health["notes"] == ["n"]


def test_a_class_in_train_only_is_noted() -> None:
    health = assemble(listing(*SOUND, ("c", "train", "5"), classes="abc"), {}).health
    assert health["notes"] == ["class 'c' is in train only (1): no score says anything about it"]


def test_fingerprint_is_of_content_class_and_split() -> None:
    before = assemble(listing(*SOUND), {}).fingerprint
    renamed = replace(listing(*SOUND), ids=("w", "x", "y", "z"), name="other", source="elsewhere")
    assert assemble(renamed, {}).fingerprint == before
    for changed in (
        (("a", "train", "1*"), *SOUND[1:]),
        (("b", "train", "1"), ("a", "train", "2"), *SOUND[2:]),
        (*SOUND[:2], ("a", "test", "3"), ("b", "val", "4")),
        (*SOUND, ("a", "train", "5")),
    ):
        assert assemble(listing(*changed), {}).fingerprint != before
    assert assemble(listing(*SOUND, ("a", "train", "5")), {4: "broken"}).fingerprint == before


def test_refusals() -> None:
    with pytest.raises(RequestError, match=r"one class \('a'\); classification needs at least 2"):
        assemble(listing(("a", "train", "1"), classes="a"), {})
    with pytest.raises(RequestError, match=r"class 'b' has no training images .*\(unreadable images: 1\)"):
        assemble(listing(*SOUND), {1: "broken"})
    with pytest.raises(RequestError, match="the val split of 'toy' is empty"):
        assemble(listing(*SOUND[:2], SOUND[3]), {})
    with pytest.raises(RequestError, match="the test split of 'toy' is empty"):
        assemble(listing(*SOUND[:3]), {})


def test_select_takes_items_with_their_images() -> None:
    whole = replace(listing(*SOUND, ("a", "train", "5")), published=np.full(5, ""))
    split = np.array(["train", "train", "val", "test", "train"])
    part = select(whole, np.array([1, 3, 4]), split)
    assert part.ids == ("1.png", "3.png", "4.png")
    assert part.published.tolist() == ["train", "test", "train"]
    assert part.labels.tolist() == [1, 1, 0]
    assert [part.images.encoded(index) for index in range(3)] == [b"\x01", b"\x03", b"\x04"]
    assert part.notes == ("splits made by content: 70 % train, 10 % val, 20 % test of each class",)
