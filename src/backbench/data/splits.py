"""Which item trains, which selects and which tests: published splits as published, missing ones made.

A made split depends only on the content of each image, never on names, order or a random state. Inside a class the
images are ranked by a digest of their bytes, and each split takes a run of that ranking: adding a file moves at most
the items at the borders of the runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbench.core import recipe
from backbench.core.dataset import SPLITS
from backbench.core.errors import RequestError

# Part of the ranking, so that a made split is not just the order of the files' own digests.
SEED_TEXT = "backbench splits 1:"

UNPUBLISHED = ""


def make_splits(
    labels: NDArray[np.int64],
    published: NDArray[np.str_],
    digests: Sequence[str],
    class_names: Sequence[str],
    min_per_class: int = 3,
) -> NDArray[np.str_]:
    """The split of each item, one of `SPLITS`.

    labels, published, digests: one entry per item; `published` is one of `SPLITS`, or empty where the source has none.
    Train, val and test published: used as they are. Train and test: an eighth of train becomes val. Train and val:
    that val is the test set, and val is taken from train. One split or none: 70 / 10 / 20.
    Byte-identical images stay together in made splits; the group is placed with the class of its first item.
    Raises RequestError when a class that has to be divided has fewer than `min_per_class` distinct images. Below three
    (two, where only val is made) a class cannot be divided: if that is allowed, it goes to train as a whole.
    """
    known = set(np.unique(published).tolist())
    if not known <= {*SPLITS, UNPUBLISHED} or (UNPUBLISHED in known and len(known) > 1):
        raise ValueError(f"published splits must be some of {SPLITS}, or all empty: got {sorted(known)}")
    if len(known) < 2:
        made: tuple[str, ...] = ("test", "val")
        split = np.full(len(labels), "train", dtype="<U5")
    elif "train" not in known:
        raise RequestError(
            "the dataset publishes val and test but no train split: add one, or remove the division into splits"
        )
    else:
        made = ("val",)
        split = published.astype("<U5")
        if "test" not in known:
            split[split == "val"] = "test"
        elif "val" in known:
            return split
    _divide(split, np.flatnonzero(split == "train"), made, labels, digests, class_names, min_per_class)
    return split


def limit_per_split(
    labels: NDArray[np.int64], split: NDArray[np.str_], digests: Sequence[str], limit: int
) -> NDArray[np.int64]:
    """Ascending indices of at most `limit` items of each split, the classes in proportion (Sainte-Laguë).

    Each class gives its first image before any class gives its second, and a larger limit holds the smaller one's
    items. Raises RequestError when train cannot have an image of each of its classes.
    """
    needed = len(np.unique(labels[split == "train"]))
    if limit < needed:
        raise RequestError(
            f"--limit {limit} leaves classes without training images: "
            f"train has {needed} classes, so the smallest possible limit is {needed}"
        )
    kept: list[int] = []
    for name in SPLITS:
        members = np.flatnonzero(split == name)
        turn: list[tuple[float, int, str, int]] = []
        for label in np.unique(labels[members]):
            of_class = members[labels[members] == label]
            ranked = sorted((_rank(digests[item]), int(item)) for item in of_class)
            for place, (rank, item) in enumerate(ranked):
                turn.append(((place + 0.5) / len(ranked) if place else 0.0, -len(ranked), rank, item))
        kept += [item for *_, item in sorted(turn)[:limit]]
    return np.array(sorted(kept), dtype=np.int64)


def _divide(
    split: NDArray[np.str_],
    pool: NDArray[np.int64],
    made: tuple[str, ...],
    labels: NDArray[np.int64],
    digests: Sequence[str],
    class_names: Sequence[str],
    min_per_class: int,
) -> None:
    """Move part of the pool from train to the splits to be made, in place."""
    copies: dict[str, list[int]] = {}
    for item in pool.tolist():
        copies.setdefault(digests[item], []).append(item)
    distinct: dict[int, list[str]] = {}
    for digest, items in copies.items():
        distinct.setdefault(int(labels[items[0]]), []).append(digest)
    _require(min_per_class, labels[pool], distinct, class_names, len(made))
    for group in distinct.values():
        if len(group) <= len(made):
            continue
        ranked = sorted(group, key=_rank)
        start = 0
        for name in made:
            val = recipe.VAL_ONE_OF if "test" in made else recipe.VAL_OF_TRAIN_ONE_OF
            stop = start + _share(len(ranked), recipe.TEST_ONE_OF if name == "test" else val)
            for digest in ranked[start:stop]:
                split[copies[digest]] = name
            start = stop


def _require(
    min_per_class: int,
    members: NDArray[np.int64],
    distinct: dict[int, list[str]],
    class_names: Sequence[str],
    made: int,
) -> None:
    """Raises RequestError when classes in the pool (`members`: their labels) have too few distinct images."""
    counts = {label: max(1, len(distinct.get(label, ()))) for label in np.unique(members).tolist()}
    small = [label for label in counts if counts[label] < min_per_class]
    if not small:
        return
    images = int(np.sum(members == small[0]))
    counted = f"{images} image" + ("s" if images > 1 else "") + (" in train" if made < 2 else "")
    if len(distinct.get(small[0], ())) < images:
        counted += f", {len(distinct.get(small[0], ()))} without exact copies"
    others = f" (and {len(small) - 1} other class{'es' if len(small) > 2 else ''} too few)" if len(small) > 1 else ""
    raise RequestError(
        f"class '{class_names[small[0]]}' has {counted}{others}; a stratified split needs at least {min_per_class}: "
        f"add images or pass --min-per-class {min(counts[label] for label in small)}"
    )


def _share(count: int, divisor: int) -> int:
    """`count / divisor` rounded half up, at least one."""
    return max(1, (2 * count + divisor) // (2 * divisor))


def _rank(digest: str) -> str:
    return hashlib.sha256((SEED_TEXT + digest).encode()).hexdigest()
