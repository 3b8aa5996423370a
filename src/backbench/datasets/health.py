"""What a reader should know about a dataset before believing a score: counts, copies, leaks and what was left out."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from backbench.records import SPLITS, Listing

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
