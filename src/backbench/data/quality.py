"""What a reader should know about a dataset before believing a score: counts, copies, leaks and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core.dataset import SPLITS, Dataset, Listing

MOST_EXAMPLES = 20


def health_of(listing: Listing) -> dict[str, Any]:
    """JSON-able facts about the items of a listing with complete splits.

    `duplicates` are byte-identical images: groups of them and `surplus` images beyond the first of each group.
    `straddling` has, for each pair of splits, the groups with members in both and how many `images` of the later split
    have a copy in the earlier one. `conflicting_labels` are groups whose members do not agree on the class.
    """
    split = listing.published
    counts = {name: np.bincount(listing.labels[split == name], minlength=len(listing.class_names)) for name in SPLITS}
    groups = _copies(listing)
    notes = list(listing.notes)
    for label, name in enumerate(listing.class_names):
        if counts["train"][label] and not counts["val"][label] and not counts["test"][label]:
            notes.append(f"class '{name}' is in train only ({counts['train'][label]}): no score says anything about it")
    return {
        "images": len(listing.ids),
        "classes": len(listing.class_names),
        "per_split": {name: int(counts[name].sum()) for name in SPLITS},
        "per_class": {
            class_name: {name: int(counts[name][label]) for name in SPLITS}
            for label, class_name in enumerate(listing.class_names)
        },
        "missing_in_val": _missing(listing, counts["val"]),
        "missing_in_test": _missing(listing, counts["test"]),
        "duplicates": {
            "groups": len(groups),
            "surplus": sum(len(group) - 1 for group in groups),
            "examples": [[listing.ids[item] for item in group] for group in groups[:MOST_EXAMPLES]],
        },
        "straddling": {
            f"{first}/{second}": _shared(listing, groups, first, second) for first, second in combinations(SPLITS, 2)
        },
        "conflicting_labels": _conflicts(listing, groups),
        "unreadable": [{"id": name, "reason": reason} for name, reason in listing.unreadable],
        "ignored_files": listing.ignored_files,
        "notes": notes,
    }


def near_duplicates(
    dataset: Dataset, found: Mapping[tuple[str, str], NDArray[np.int64]], too_plain: int
) -> dict[str, Any]:
    """JSON-able facts about images that look alike across splits.

    `found` has, for each pair of splits, rows of item of the later split, item of the earlier, differing bits [k, 3].
    `images` counts those of the later split, `other_class` the ones of them that look like an image of another class,
    which come first in the examples; within that, the nearest first. `too_plain` images were not compared.
    """
    return {
        "too_plain": too_plain,
        "pairs": {
            f"{earlier}/{later}": _alike(dataset, earlier, later, rows) for (earlier, later), rows in found.items()
        },
    }


def _alike(dataset: Dataset, earlier: str, later: str, rows: NDArray[np.int64]) -> dict[str, Any]:
    items, partners, bits = rows.T
    same = dataset.labels[items] == dataset.labels[partners]
    order = np.lexsort((items, bits, same))[:MOST_EXAMPLES]

    def described(item: int) -> dict[str, str]:
        return {"id": dataset.ids[item], "class": dataset.class_names[dataset.labels[item]]}

    return {
        "images": len(rows),
        "other_class": int((~same).sum()),
        "examples": [
            {earlier: described(partners[at]), later: described(items[at]), "bits": int(bits[at])} for at in order
        ],
    }


def _copies(listing: Listing) -> list[list[int]]:
    """Groups of two or more items of the same content, in the order of their first items."""
    groups: dict[str, list[int]] = {}
    for item, digest in enumerate(listing.digests):
        groups.setdefault(digest, []).append(item)
    return [group for group in groups.values() if len(group) > 1]


def _shared(listing: Listing, groups: list[list[int]], first: str, second: str) -> dict[str, Any]:
    shared = []
    for group in groups:
        sides = {
            name: [listing.ids[item] for item in group if listing.published[item] == name] for name in (first, second)
        }
        if sides[first] and sides[second]:
            shared.append(sides)
    return {
        "groups": len(shared),
        "images": sum(len(sides[second]) for sides in shared),
        "examples": shared[:MOST_EXAMPLES],
    }


def _conflicts(listing: Listing, groups: list[list[int]]) -> dict[str, Any]:
    conflicting = [group for group in groups if len({int(listing.labels[item]) for item in group}) > 1]
    return {
        "groups": len(conflicting),
        "examples": [
            [{"id": listing.ids[item], "class": listing.class_names[listing.labels[item]]} for item in group]
            for group in conflicting[:MOST_EXAMPLES]
        ],
    }


def _missing(listing: Listing, counts: np.ndarray[Any, np.dtype[np.int64]]) -> list[str]:
    return [name for label, name in enumerate(listing.class_names) if not counts[label]]
