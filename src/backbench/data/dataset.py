"""From a listing to a dataset: the chosen items, without the unreadable ones, checked and fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backbench.core import recipe
from backbench.core.dataset import Dataset, ImageSource, Listing
from backbench.core.errors import RequestError
from backbench.core.files import digest_of
from backbench.data.quality import health_of


@dataclass(frozen=True)
class Subset:
    """Some images of another source, renumbered."""

    images: ImageSource
    indices: NDArray[np.int64]

    def encoded(self, index: int) -> bytes:
        """Bytes of image `index` of the subset. Raises OSError when they cannot be read."""
        return self.images.encoded(int(self.indices[index]))


def select(listing: Listing, keep: NDArray[np.int64], split: NDArray[np.str_]) -> Listing:
    """The items at `keep` with their splits: `published` becomes `split`, which has one entry per item of `listing`.

    Where the splits differ from the published ones, a note says how.
    """
    notes = list(listing.notes)
    published = set(np.unique(listing.published).tolist())
    from_train = f"one of {recipe.VAL_OF_TRAIN_ONE_OF} images of train was made val"
    if len(published) < 2:
        test, val = 100 / recipe.TEST_ONE_OF, 100 / recipe.VAL_ONE_OF
        made = f"{100 - test - val:g} % train, {val:g} % val, {test:g} % test"
        notes.append(f"splits made by content: {made} of each class")
    elif "test" not in published:
        notes.append(f"the published val split is the test set; {from_train}")
    elif "val" not in published:
        notes.append(f"the published test split is the test set; {from_train}")
    return replace(
        listing,
        ids=tuple(listing.ids[index] for index in keep),
        labels=listing.labels[keep],
        published=split[keep].astype("<U5"),
        digests=tuple(listing.digests[index] for index in keep),
        images=Subset(listing.images, keep),
        notes=tuple(notes),
    )


def require_two_classes(listing: Listing) -> None:
    """Raises RequestError when there is nothing to tell apart."""
    if len(listing.class_names) < 2:
        has = f"one class ('{listing.class_names[0]}')" if listing.class_names else "no classes"
        raise RequestError(
            f"'{listing.source}' has {has}; classification needs at least 2: add images of another class"
        )


def assemble(listing: Listing, failures: Mapping[int, str]) -> Dataset:
    """The dataset of a listing whose splits are complete, without the items that failed to decode (index: reason).

    Raises RequestError when fewer than two classes are left, a class has no training image, or val or test is empty.
    """
    require_two_classes(listing)
    rows = np.array([index for index in range(len(listing.ids)) if index not in failures], dtype=np.int64)
    unreadable = (*listing.unreadable, *((listing.ids[index], reason) for index, reason in failures.items()))
    used = replace(
        listing,
        ids=tuple(listing.ids[index] for index in rows),
        labels=listing.labels[rows],
        published=listing.published[rows],
        digests=tuple(listing.digests[index] for index in rows),
        images=Subset(listing.images, rows),
        unreadable=tuple(sorted(unreadable)),
    )
    _require_every_split(used)
    return Dataset(
        name=used.name,
        source=used.source,
        class_names=used.class_names,
        ids=used.ids,
        labels=used.labels,
        split=used.published,
        rows=rows,
        fingerprint=_fingerprint(used),
        health=health_of(used),
        image_size=used.image_size,
        flips=used.flips,
    )


def _require_every_split(listing: Listing) -> None:
    trained = set(listing.labels[listing.published == "train"].tolist())
    untrained = [name for label, name in enumerate(listing.class_names) if label not in trained]
    lost = f" (unreadable images: {len(listing.unreadable)})" if listing.unreadable else ""
    if untrained:
        others = f"; classes in the same state: {len(untrained) - 1}" if len(untrained) > 1 else ""
        raise RequestError(
            f"class '{untrained[0]}' has no training images in '{listing.source}'{lost}{others}: "
            "add some to train, or remove the class from all splits"
        )
    for split in ("val", "test"):
        if not np.any(listing.published == split):
            raise RequestError(
                f"the {split} split of '{listing.source}' is empty{lost}: it needs at least one readable image"
            )


def _fingerprint(listing: Listing) -> str:
    """Digest of what the items are and what they are used for; where they lie does not count."""
    return digest_of(
        {
            "items": [
                [digest, listing.class_names[label], split]
                for digest, label, split in zip(
                    listing.digests, listing.labels.tolist(), listing.published.tolist(), strict=True
                )
            ]
        }
    )
