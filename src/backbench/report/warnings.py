"""What a reader must know before trusting the numbers, and what is known about the health of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from backbench.analysis import Recommendation
from backbench.core import formatting
from backbench.report import class_balance
from backbench.results.run_record import Copies, Health, RunRecord

# Lists of files are for looking at, not for processing: run.json has them whole.
LISTED = 30


def notices(run: RunRecord, facts: Recommendation, known_from_train: str = "") -> tuple[str, ...]:
    """Warnings in the order of their weight; empty when all is well.

    `known_from_train` says what copies in train do to test accuracy, where that was worked out.
    """
    return tuple(_notices(run, facts, known_from_train))


def _notices(run: RunRecord, facts: Recommendation, known_from_train: str) -> Iterator[str]:
    health = run.dataset.health
    if known_from_train:
        yield known_from_train
    if facts.unmeasured:
        missing = len(facts.unmeasured)
        yield (
            f"The sweep has not come to its end: {formatting.count(missing)} of {_many(facts.cells, 'cell')} "
            f"{'was' if missing == 1 else 'were'} not measured ({_some(facts.unmeasured)}). The same command goes on "
            "where it stopped."
        )
    if facts.pruned:
        yield (
            f"A budget chose what to measure: {formatting.count(facts.pruned)} of {_many(facts.cells, 'cell')} "
            f"{'was' if facts.pruned == 1 else 'were'} pruned, and the list below says why each was. The best of what "
            "was measured need not be the best of all; without --budget the same command measures the rest."
        )
    limit = run.request.get("limit")
    if isinstance(limit, int) and limit:
        yield (
            f"The sweep was a first look, at no more than {_many(limit, 'image')} per split (--limit {limit}): "
            "with all images the accuracies, and who comes first, may be others."
        )
    alike = health.near_duplicates.pairs if health.near_duplicates else {}
    for article, kind, shared in (("an", "exact", _across(health.straddling or {})), ("a", "near", _across(alike))):
        for first, second, copies in shared:
            if known_from_train and (first, second) == ("train", "test"):
                continue
            tested, images = second == "test", copies.images
            harm = "test accuracy may be too good" if tested else "the ranking on val may favour what memorises"
            relation = f"has {article} {kind} copy in {first}" if images == 1 else f"have {kind} copies in {first}"
            yield f"{_many(images, f'{second} image')} {relation}: {harm}."
    conflicting = health.conflicting_labels.groups if health.conflicting_labels else 0
    if conflicting:
        yield f"{_many(conflicting, 'image')} {'occurs' if conflicting == 1 else 'occur'} under more than one label."
    yield from (caveat.text for caveat in (*facts.caveats, *class_balance.caveats(health.per_class, facts)))
    for split, absent, harm in (
        ("val", health.missing_in_val, "no choice took {} into account"),
        ("test", health.missing_in_test, "no score says whether {} recognised"),
    ):
        if absent:
            them = ("it", "it is") if len(absent) == 1 else ("them", "they are")
            meaning = harm.format(them[split == "test"])
            yield f"{_many(len(absent), 'class', 'classes')} without images in {split} ({_some(absent)}): {meaning}."
    if health.unreadable:
        verb = "was" if len(health.unreadable) == 1 else "were"
        yield f"{_many(len(health.unreadable), 'file')} could not be read and {verb} left out."
    unfinished = [(facts.failed, "failed"), (facts.skipped, "was skipped" if facts.skipped == 1 else "were skipped")]
    parts = [f"{_many(amount, 'cell')} {verb}" for amount, verb in unfinished if amount]
    if parts:
        yield f"{' and '.join(parts)}: the comparison is incomplete."


def findings(health: Health) -> list[dict[str, Any]]:
    """The health record as named findings, each with the items to look at."""
    found = []

    def add(name: str, value: str, items: Sequence[Any] = (), total: int | None = None) -> None:
        total = len(items) if total is None else max(total, len(items))
        shown = [describe(item) for item in msgspec.to_builtins(items[:LISTED])]
        summary = "show" if len(shown) == total else f"show {len(shown)} of {formatting.count(total)}"
        found.append({"name": name, "value": value, "entries": shown, "summary": summary})

    if duplicates := health.duplicates:
        groups, surplus = duplicates.groups, duplicates.surplus
        text = f"{_many(groups, 'group')}, {_many(surplus, 'surplus copy', 'surplus copies')}" if groups else "none"
        add("Exact duplicates", text, duplicates.examples, groups)
    if health.straddling is not UNSET:
        shared = _across(health.straddling)
        if not shared:
            add("Duplicates across splits", "none")
        for first, second, copies in shared:
            add(f"Copies of {first} in {second}", _many(copies.images, "image"), copies.examples)
    if alike := health.near_duplicates:
        pairs, plain = _across(alike.pairs), alike.too_plain
        if not pairs:
            add("Near-duplicates across splits", _none_found(plain, health.images))
        for first, second, near in pairs:
            under = f", {formatting.count(near.other_class)} under another class" if near.other_class else ""
            add(f"Near-copies of {first} in {second}", _many(near.images, "image") + under)
        if plain and plain != health.images:
            text = f"{_many(plain, 'image')} with too little detail to tell a copy from a look-alike"
            add("Not compared for near-duplicates", text)
    if conflicts := health.conflicting_labels:
        text = formatting.count(conflicts.groups) if conflicts.groups else "none"
        add("Same image, different labels", text, conflicts.examples, conflicts.groups)
    if health.unreadable is not UNSET:
        items = health.unreadable
        add("Unreadable files", formatting.count(len(items)) if items else "none", items)
    for split, absent in (("val", health.missing_in_val), ("test", health.missing_in_test)):
        if absent:
            add(f"Classes missing in {split}", formatting.count(len(absent)), absent)
    if health.ignored_files:
        add("Files that are no images", formatting.count(health.ignored_files))
    for note in health.notes:
        add("Note", note)
    return found


def _none_found(plain: int, images: int) -> str:
    """That there are no near-duplicates is only true of what could be compared."""
    if not plain:
        return "none"
    if plain == images:
        return "not looked for: no image has enough detail to tell a copy from a look-alike"
    return f"none among the {_many(images - plain, 'image')} that could be compared"


Shared = TypeVar("Shared", bound=Copies)


def _across(pairs: Mapping[str, Shared]) -> list[tuple[str, str, Shared]]:
    """The pairs of splits that share images: the earlier one, the later one, and what they share."""
    found = []
    for pair, copies in pairs.items():
        first, _, second = pair.partition("/")
        if copies.images:
            found.append((first, second, copies))
    return found


def describe(item: Any) -> str:
    """One entry of the health record as text: a name, names that belong together, or a record."""
    if isinstance(item, Mapping):
        values = [describe(value) for value in item.values()]
        return ": ".join(value for value in values if value)
    if isinstance(item, list | tuple):
        return " = ".join(describe(part) for part in item)
    return "" if item is None else str(item)


def _many(amount: int, one: str, more: str = "") -> str:
    return f"{formatting.count(amount)} {one if amount == 1 else more or one + 's'}"


def _some(names: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(describe(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
