"""What a reader must know before trusting the numbers, and what is known about the health of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backbench.analysis import Recommendation, numbers
from backbench.report import class_balance

# Lists of files are for looking at, not for processing: run.json has them whole.
LISTED = 30


def section(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A mapping inside nested mappings, empty when any step is missing or something else."""
    found: Any = content
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def notices(run: Mapping[str, Any], facts: Recommendation, known_from_train: str = "") -> tuple[str, ...]:
    """Warnings in the order of their weight; empty when all is well.

    `known_from_train` says what copies in train do to test accuracy, where that was worked out.
    """
    return tuple(_notices(run, facts, known_from_train))


def counts(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Images per split, empty when they were not recorded."""
    return section(run, "dataset", "counts") or section(run, "dataset", "health", "per_split")


def _notices(run: Mapping[str, Any], facts: Recommendation, known_from_train: str) -> Iterator[str]:
    health = section(run, "dataset", "health")
    if known_from_train:
        yield known_from_train
    if facts.unmeasured:
        missing = len(facts.unmeasured)
        yield (
            f"The sweep has not come to its end: {numbers.count(missing)} of {_many(facts.cells, 'cell')} "
            f"{'was' if missing == 1 else 'were'} not measured ({_some(facts.unmeasured)}). The same command goes on "
            "where it stopped."
        )
    if facts.pruned:
        yield (
            f"A budget chose what to measure: {numbers.count(facts.pruned)} of {_many(facts.cells, 'cell')} "
            f"{'was' if facts.pruned == 1 else 'were'} pruned, and the list below says why each was. The best of what "
            "was measured need not be the best of all; without --budget the same command measures the rest."
        )
    limit = number(section(run, "request").get("limit"))
    if limit:
        yield (
            f"The sweep was a first look, at no more than {_many(limit, 'image')} per split (--limit {limit}): "
            "with all images the accuracies, and who comes first, may be others."
        )
    for article, kind, found in (("an", "exact", straddling(health)), ("a", "near", look_alikes(health))):
        for first, second, images, _ in found:
            if known_from_train and (first, second) == ("train", "test"):
                continue
            tested = second == "test"
            harm = "test accuracy may be too good" if tested else "the ranking on val may favour what memorises"
            relation = f"has {article} {kind} copy in {first}" if images == 1 else f"have {kind} copies in {first}"
            yield f"{_many(images, f'{second} image')} {relation}: {harm}."
    conflicting = _groups(health.get("conflicting_labels"))
    if conflicting:
        yield f"{_many(conflicting, 'image')} {'occurs' if conflicting == 1 else 'occur'} under more than one label."
    yield from facts.cautions
    yield from class_balance.sentences(section(health, "per_class"), facts)
    for split, harm in (("val", "no choice took {} into account"), ("test", "no score says whether {} recognised")):
        absent = sequence(health.get(f"missing_in_{split}"))
        if absent:
            them = ("it", "it is") if len(absent) == 1 else ("them", "they are")
            meaning = harm.format(them[split == "test"])
            yield f"{_many(len(absent), 'class', 'classes')} without images in {split} ({_some(absent)}): {meaning}."
    unreadable = sequence(health.get("unreadable"))
    if unreadable:
        verb = "was" if len(unreadable) == 1 else "were"
        yield f"{_many(len(unreadable), 'file')} could not be read and {verb} left out."
    unfinished = [(facts.failed, "failed"), (facts.skipped, "was skipped" if facts.skipped == 1 else "were skipped")]
    parts = [f"{_many(amount, 'cell')} {verb}" for amount, verb in unfinished if amount]
    if parts:
        yield f"{' and '.join(parts)}: the comparison is incomplete."


def findings(health: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The health record as named findings, each with the items to look at."""
    found = []

    def add(name: str, value: str, items: Sequence[Any] = (), total: int | None = None) -> None:
        total = len(items) if total is None else max(total, len(items))
        shown = [describe(item) for item in items[:LISTED]]
        summary = "show" if len(shown) == total else f"show {len(shown)} of {numbers.count(total)}"
        found.append({"name": name, "value": value, "entries": shown, "summary": summary})

    if "duplicates" in health:
        duplicates = section(health, "duplicates")
        groups, surplus = number(duplicates.get("groups")), number(duplicates.get("surplus"))
        text = f"{_many(groups, 'group')}, {_many(surplus, 'surplus copy', 'surplus copies')}" if groups else "none"
        add("Exact duplicates", text, sequence(duplicates.get("examples")), groups)
    if "straddling" in health:
        shared = straddling(health)
        if not shared:
            add("Duplicates across splits", "none")
        for first, second, images, examples in shared:
            add(f"Copies of {first} in {second}", _many(images, "image"), examples)
    if "near_duplicates" in health:
        shared = look_alikes(health)
        plain, images = number(section(health, "near_duplicates").get("too_plain")), number(health.get("images"))
        if not shared:
            add("Near-duplicates across splits", _none_found(plain, images))
        for first, second, images, _ in shared:
            others = number(section(health, "near_duplicates", "pairs", f"{first}/{second}").get("other_class"))
            under = f", {numbers.count(others)} under another class" if others else ""
            add(f"Near-copies of {first} in {second}", _many(images, "image") + under)
        if plain and plain != images:
            text = f"{_many(plain, 'image')} with too little detail to tell a copy from a look-alike"
            add("Not compared for near-duplicates", text)
    if "conflicting_labels" in health:
        groups = _groups(health["conflicting_labels"])
        examples = sequence(section(health, "conflicting_labels").get("examples"))
        add("Same image, different labels", numbers.count(groups) if groups else "none", examples, groups)
    if "unreadable" in health:
        items = sequence(health["unreadable"])
        add("Unreadable files", numbers.count(len(items)) if items else "none", items)
    for split in ("val", "test"):
        absent = sequence(health.get(f"missing_in_{split}"))
        if absent:
            add(f"Classes missing in {split}", numbers.count(len(absent)), absent)
    ignored = health.get("ignored_files")
    if number(ignored):
        add("Files that are no images", numbers.count(number(ignored)), sequence(ignored))
    for note in sequence(health.get("notes")):
        add("Note", describe(note))
    return found


def _none_found(plain: int, images: int) -> str:
    """That there are no near-duplicates is only true of what could be compared."""
    if not plain:
        return "none"
    if plain == images:
        return "not looked for: no image has enough detail to tell a copy from a look-alike"
    return f"none among the {_many(images - plain, 'image')} that could be compared"


Shared = tuple[str, str, int, Sequence[Any]]


def straddling(health: Mapping[str, Any]) -> list[Shared]:
    """The pairs of splits that share images: the two names, how many images of the second have an exact copy in the
    first, and examples.
    """
    return _across(section(health, "straddling"))


def look_alikes(health: Mapping[str, Any]) -> list[Shared]:
    """The same for images that look alike without being exact copies."""
    return _across(section(health, "near_duplicates", "pairs"))


def _across(pairs: Mapping[str, Any]) -> list[Shared]:
    found = []
    for pair in pairs:
        content = section(pairs, pair)
        images = number(content.get("images"))
        first, _, second = str(pair).partition("/")
        if images:
            found.append((first, second, images, sequence(content.get("examples"))))
    return found


def _groups(value: Any) -> int:
    return number(value.get("groups")) if isinstance(value, Mapping) else number(value)


def describe(item: Any) -> str:
    """One entry of the health record as text: a name, names that belong together, or a record."""
    if isinstance(item, Mapping):
        values = [describe(value) for value in item.values()]
        return ": ".join(value for value in values if value)
    if isinstance(item, list | tuple):
        return " = ".join(describe(part) for part in item)
    return "" if item is None else str(item)


def number(value: Any) -> int:
    """A count, or the length of what is listed instead of counted; 0 when there is neither."""
    if isinstance(value, list | tuple | Mapping):
        return len(value)
    return int(value) if isinstance(value, int | float) and value == value else 0


def sequence(value: Any) -> Sequence[Any]:
    """A list as it is, a mapping as its pairs, one text as a list of it, everything else as nothing."""
    if isinstance(value, Mapping):
        return [f"{key}: {describe(entry)}" for key, entry in value.items()]
    if isinstance(value, str):
        return [value] if value else []
    return value if isinstance(value, list | tuple) else []


def _many(amount: int, one: str, more: str = "") -> str:
    return f"{numbers.count(amount)} {one if amount == 1 else more or one + 's'}"


def _some(names: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(describe(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
