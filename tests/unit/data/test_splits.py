"""Splits: complete, disjoint, made by content, and steady when files come."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from backbench.core.errors import RequestError
from backbench.data import open_listing
from backbench.data.splits import limit_per_split, make_splits


def digests(*names: str) -> tuple[str, ...]:
    return tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)


def several(count: int, prefix: str = "") -> tuple[str, ...]:
    return digests(*(f"{prefix}{number}" for number in range(count)))


def unpublished(count: int) -> np.ndarray:
    return np.full(count, "", dtype="<U5")


def counts(split: np.ndarray) -> dict[str, int]:
    return dict(Counter(split.tolist()))


@pytest.mark.parametrize(
    ("images", "train", "val", "test"),
    [(3, 1, 1, 1), (4, 2, 1, 1), (10, 7, 1, 2), (15, 10, 2, 3), (20, 14, 2, 4), (100, 70, 10, 20)],
)
def test_shares_of_one_class(images: int, train: int, val: int, test: int) -> None:
    split = make_splits(np.zeros(images, int), unpublished(images), several(images), ["a"])
    assert counts(split) == {"train": train, "val": val, "test": test}


def test_published_splits_are_used_as_published() -> None:
    published = np.array(["test", "train", "val", "train"])
    split = make_splits(np.array([0, 0, 1, 1]), published, several(4), ["a", "b"])
    assert split.tolist() == published.tolist()


def test_missing_val_is_an_eighth_of_train() -> None:
    published = np.array(["train"] * 80 + ["test"] * 9)
    split = make_splits(np.zeros(89, int), published, several(89), ["a"])
    assert counts(split) == {"train": 70, "val": 10, "test": 9}
    assert (split[80:] == "test").all()


def test_published_val_without_test_is_the_test_set() -> None:
    published = np.array(["train"] * 16 + ["val"] * 5)
    split = make_splits(np.zeros(21, int), published, several(21), ["a"])
    assert counts(split) == {"train": 14, "val": 2, "test": 5}
    assert (split[16:] == "test").all()


def test_a_single_published_split_is_divided() -> None:
    split = make_splits(np.zeros(10, int), np.full(10, "train"), several(10), ["a"])
    assert counts(split) == {"train": 7, "val": 1, "test": 2}


def test_published_without_train_is_refused() -> None:
    with pytest.raises(RequestError, match="no train split"):
        make_splits(np.zeros(4, int), np.array(["val", "val", "test", "test"]), several(4), ["a"])


def test_half_published_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="published splits"):
        make_splits(np.zeros(2, int), np.array(["", "train"]), several(2), ["a"])


def test_order_and_names_do_not_matter() -> None:
    names = several(50)
    labels = np.arange(50) % 3
    split = make_splits(labels, unpublished(50), names, ["a", "b", "c"])
    turned = np.random.default_rng(0).permutation(50)
    again = make_splits(labels[turned], unpublished(50), [names[item] for item in turned], ["a", "b", "c"])
    assert again.tolist() == split[turned].tolist()


def test_one_more_file_moves_at_most_the_border_items() -> None:
    for size in range(3, 60):
        names = several(size + 1)
        before = make_splits(np.zeros(size, int), unpublished(size), names[:size], ["a"])
        after = make_splits(np.zeros(size + 1, int), unpublished(size + 1), names, ["a"])
        assert np.sum(before != after[:size]) <= 2


def test_exact_copies_stay_together_also_across_classes() -> None:
    names = [*several(40), *several(10)]  # the last ten repeat the first ten, under another label
    labels = np.array([0] * 40 + [1] * 10)
    more = [*names, *several(5, "other")]
    split = make_splits(np.append(labels, [1] * 5), unpublished(55), more, ["a", "b"])
    assert split[:10].tolist() == split[40:50].tolist()
    assert counts(split[:40]) == {"train": 28, "val": 4, "test": 8}  # placed with the class of the first copy


def test_a_class_too_small_is_said() -> None:
    labels = np.array([0] * 5 + [1])
    with pytest.raises(RequestError) as refused:
        make_splits(labels, unpublished(6), several(6), ["Apple", "Kiwi"])
    assert str(refused.value) == (
        "class 'Kiwi' has 1 image; a stratified split needs at least 3: add images or pass --min-per-class 1"
    )


def test_copies_do_not_make_a_class_larger() -> None:
    names = [*several(5), *digests("same", "same", "same")]
    with pytest.raises(RequestError, match=r"class 'Kiwi' has 3 images, 1 without exact copies; .*--min-per-class 1$"):
        make_splits(np.array([0] * 5 + [1] * 3), unpublished(8), names, ["Apple", "Kiwi"])


def test_several_small_classes_are_counted_and_the_advice_helps() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    with pytest.raises(RequestError, match=r"class 'a' has 2 images \(and 1 other class .*--min-per-class 1$"):
        make_splits(labels, unpublished(6), several(6), ["a", "b", "c"])
    split = make_splits(labels, unpublished(6), several(6), ["a", "b", "c"], 1)
    assert split[:3].tolist() == ["train"] * 3
    assert counts(split[3:]) == {"train": 1, "val": 1, "test": 1}


def test_a_small_class_matters_only_where_it_must_be_divided() -> None:
    published = np.array(["train", "val", "test"] * 2)
    make_splits(np.array([0, 0, 0, 1, 1, 1]), published, several(6), ["a", "b"])


def test_real_indices_are_complete_and_stratified() -> None:
    digits = open_listing("digits")
    split = make_splits(digits.labels, digits.published, digits.digests, digits.class_names)
    assert set(split.tolist()) == {"train", "val", "test"}
    for label in range(10):
        of_class = split[digits.labels == label]
        assert abs(np.mean(of_class == "train") - 0.7) < 0.01
        assert abs(np.mean(of_class == "test") - 0.2) < 0.01
    sides = [{digits.digests[item] for item in np.flatnonzero(split == name)} for name in ("train", "val", "test")]
    assert len(set.union(*sides)) == sum(len(side) for side in sides)
    assert counts(split) == {"train": 1259, "val": 179, "test": 359}  # and the same on every machine


def test_limit_is_proportional_and_nested() -> None:
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    split = np.full(100, "train")
    small = limit_per_split(labels, split, several(100), 10)
    large = limit_per_split(labels, split, several(100), 50)
    assert Counter(labels[small].tolist()) == {0: 6, 1: 3, 2: 1}
    assert Counter(labels[large].tolist()) == {0: 30, 1: 15, 2: 5}
    assert set(small) <= set(large)
    assert small.tolist() == sorted(small.tolist())


def test_limit_keeps_every_class_in_train() -> None:
    labels = np.array([0] * 1000 + [1, 2, 3])
    kept = limit_per_split(labels, np.full(1003, "train"), several(1003), 4)
    assert sorted(labels[kept].tolist()) == [0, 1, 2, 3]
    with pytest.raises(RequestError, match="smallest possible limit is 4"):
        limit_per_split(labels, np.full(1003, "train"), several(1003), 3)


def test_limit_holds_in_each_split_and_spares_small_ones() -> None:
    labels = np.array([0, 1] * 20)
    split = np.array(["train"] * 30 + ["val"] * 2 + ["test"] * 8)
    kept = limit_per_split(labels, split, several(40), 4)
    assert counts(split[kept]) == {"train": 4, "val": 2, "test": 4}
