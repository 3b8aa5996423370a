"""Which images of one split have a copy in another: exact ones by their bytes, near ones by how they look."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core.dataset import SPLITS, Dataset, Listing, Pixels
from backbench.core.files import digest_of, whole_file
from backbench.data import perceptual_hash
from backbench.data.digests import Progress
from backbench.data.perceptual_hash import Fingerprints
from backbench.data.quality import near_duplicates

PAIRS = tuple(combinations(SPLITS, 2))

# Part of the name of what is cached: raise it when the same images come to have other copies.
VERSION = 1


def with_copies(dataset: Dataset, listing: Listing, pixels: Pixels, *, progress: Progress | None = None) -> Dataset:
    """The dataset with its near-duplicates across splits in `health`, and in `copies` the test items known from train.

    `pixels` are those of the listing that the dataset was assembled from. What was found is kept beside them.
    """
    digests = np.array([listing.digests[row] for row in dataset.rows])
    kept = pixels.path.with_name(f"{pixels.path.stem}-{_key(dataset)}.npz")
    found = _recall(kept)
    if found is None:
        prints = perceptual_hash.fingerprints(pixels.open(), dataset.rows, progress=progress)
        near = near_copies(prints, dataset.split, digests, progress=progress)
        found = {"plain": prints.plain, **{"-".join(pair): rows for pair, rows in near.items()}}
        with suppress(OSError), whole_file(kept) as temporary:  # it only saves time
            np.savez_compressed(temporary, allow_pickle=False, **found)
    near = {pair: found["-".join(pair)] for pair in PAIRS}
    exact = exact_copies(dataset.split, digests)
    return replace(
        dataset,
        health={**dataset.health, "near_duplicates": near_duplicates(dataset, near, int(found["plain"].sum()))},
        copies={
            "exact": tuple(dataset.ids[item] for item in exact),
            "near": tuple(dataset.ids[item] for item in near["train", "test"][:, 0]),
        },
    )


def exact_copies(split: NDArray[np.str_], digests: NDArray[np.str_]) -> NDArray[np.int64]:
    """Test items, ascending, whose bytes occur in train as well; splits and digests [n]."""
    test = np.flatnonzero(split == "test")
    return test[np.isin(digests[test], digests[split == "train"])]


def near_copies(
    prints: Fingerprints, split: NDArray[np.str_], digests: NDArray[np.str_], *, progress: Progress | None = None
) -> dict[tuple[str, str], NDArray[np.int64]]:
    """For each pair of splits, items of the later one that look like one of the earlier: [k, 3], in their order.

    A row is the item, the nearest item of the earlier split and how many bits of their hashes differ, at most `NEAR`.
    Items whose bytes occur in the earlier split are exact copies, and left out here; so are images that are too plain.
    """
    found = {}
    for earlier, later in PAIRS:
        known = np.flatnonzero((split == earlier) & ~prints.plain)
        asked = np.flatnonzero((split == later) & ~prints.plain)
        asked = asked[~np.isin(digests[asked], digests[split == earlier])]
        found[earlier, later] = np.empty((0, 3), dtype=np.int64)
        if len(known) and len(asked):
            index, bits = perceptual_hash.nearest(prints.bits[asked], prints.bits[known], progress=progress)
            close = bits <= perceptual_hash.NEAR
            found[earlier, later] = np.column_stack([asked[close], known[index[close]], bits[close]])
    return found


def _key(dataset: Dataset) -> str:
    """Of what the result depends on, beside the pixels themselves."""
    return digest_of(
        {
            "dataset": dataset.fingerprint,
            "imagehash": version("imagehash"),
            "limits": [perceptual_hash.NEAR, perceptual_hash.MOST_NOISE, perceptual_hash.LEAST_RANGE],
            "version": VERSION,
        }
    )[:16]


def _recall(path: Path) -> Mapping[str, NDArray[Any]] | None:
    """What was found before, None when it is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in ("plain", *map("-".join, PAIRS))}
    except Exception:  # readers of damaged archives raise anything
        return None
