"""Images that occur in two splits: look-alikes to see, and the test accuracy without those that train knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis.without_duplicates import without_duplicates
from backbench.core import formatting
from backbench.results.run_record import Item, NearCopies, RunRecord

# How many pairs are shown, and how many candidates, from the top of the table, are scored again.
PAIRS, SCORED = 12, 10


@dataclass(frozen=True)
class Member:
    """One of two images that look alike."""

    item: str
    split: str
    label: str


@dataclass(frozen=True)
class Pair:
    """Two images that look alike, that of the earlier split first, and how many bits of their hashes differ."""

    members: tuple[Member, Member]
    bits: int

    @property
    def same_class(self) -> bool:
        """Whether their labels agree."""
        first, second = self.members
        return first.label == second.label


@dataclass(frozen=True)
class Copies:
    """What the page says of copies across splits.

    `alike` images look like one of an earlier split, `pairs` are some of them. Of `items` test images `exact` have an
    exact and `near` others a near copy in train; `scores` are the first candidates with and without these, as text, and
    `notice` says in a sentence what the first of them loses.
    """

    alike: int = 0
    pairs: tuple[Pair, ...] = ()
    items: int = 0
    exact: int = 0
    near: int = 0
    scores: tuple[Mapping[str, str], ...] = ()
    notice: str = ""

    @property
    def kept(self) -> int:
        """Test images without a copy in train."""
        return self.items - self.exact - self.near


def copies(run: RunRecord, rows: pd.DataFrame, ids: NDArray[np.str_], hits: Mapping[str, NDArray[np.bool_]]) -> Copies:
    """From run.json, the candidates (`frames.grouped` with a `label`), and their answers on the test items `ids` [m].

    `hits` has, by cell id, which of the items are right [m].
    """
    alike = run.dataset.health.near_duplicates
    pairs = [pair for splits, copies in (alike.pairs if alike else {}).items() for pair in _pairs(splits, copies)]
    found = Copies(
        alike=sum(copies.images for copies in alike.pairs.values()) if alike else 0,
        pairs=tuple(sorted(pairs, key=_weight)[:PAIRS]),
        items=len(ids),
    )
    exact, near = (np.isin(ids, run.dataset.copies.get(kind, ())) for kind in ("exact", "near"))
    copied = exact | near
    scored = without_duplicates(rows.head(SCORED), hits, copied) if copied.any() else pd.DataFrame()
    if scored.empty:
        return found
    scores = tuple(_as_text(row) for row in scored.to_dict(orient="records"))
    counted = replace(found, exact=int(exact.sum()), near=int((near & ~exact).sum()), scores=scores)
    return replace(counted, notice=_notice(counted))


def _weight(pair: Pair) -> tuple[bool, bool, int]:
    """Different labels first, then what test shares with train, then the nearest."""
    return pair.same_class, [member.split for member in pair.members] != ["train", "test"], pair.bits


def _pairs(splits: str, copies: NearCopies) -> Iterator[Pair]:
    """The examples of look-alikes in two splits, such as `train/test`."""
    for example in copies.examples:
        sides = [(split, example.get(split)) for split in splits.split("/")]
        members = [Member(item.id, split, item.class_name) for split, item in sides if isinstance(item, Item)]
        bits = example.get("bits")
        if len(members) == 2 and isinstance(bits, int):
            yield Pair((members[0], members[1]), bits)


def _as_text(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "label": str(row["label"]),
        "all": formatting.percent(row["test_acc"]),
        "kept": formatting.percent(row["unique_acc"]),
        "interval": formatting.interval(row["unique_lo"], row["unique_hi"]),
        "copied": formatting.percent(row["duplicated_acc"]),
        "change": formatting.points(row["unique_acc"] - row["test_acc"]),
    }


def _notice(found: Copies) -> str:
    first = found.scores[0]
    kinds = [f"{amount} {kind}" for amount, kind in ((found.exact, "exact"), (found.near, "near")) if amount]
    amount = found.exact + found.near
    of = f"{formatting.count(amount)} of {formatting.count(found.items)} test images"
    if not found.kept:
        return (
            f"All {formatting.count(found.items)} test images have copies in train: no accuracy here is of new images."
        )
    have, them = ("has a copy", "it") if amount == 1 else ("have copies", "them")
    return (
        f"{of} {have} in train ({' and '.join(kinds)}). Without {them} {first['label']} gets {first['kept']} of"
        f" the other {formatting.count(found.kept)} right (95% interval {first['interval']}),"
        f" instead of {first['all']} of all."
    )
