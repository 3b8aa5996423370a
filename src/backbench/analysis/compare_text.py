"""The comparison of two candidates as a person reads it: the verdict first, then its evidence and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from backbench.analysis import numbers
from backbench.analysis.resampling import ENOUGH_SEEDS
from backbench.analysis.significance import ALPHA
from backbench.analysis.wording import TESTS, images, interval, paired_interval, points, seeds

if TYPE_CHECKING:  # a comparison is shown with these sentences: a true import would go round in a circle
    from backbench.analysis.candidates import Candidate
    from backbench.analysis.compare import Comparison


def text(found: Comparison) -> str:
    """For a terminal."""
    rows = list(_evidence(found))
    width = max(len(name) for name, _ in rows)
    lines = [verdict(found), "", *(f"  {name:{width}}  {value}" for name, value in rows)]
    notes = list(_notes(found))
    return numbers.for_terminal("\n".join([*lines, *([""] if notes else []), *notes]))


def html(found: Comparison) -> str:
    """For a notebook; every name is escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in _evidence(found)
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(found))
    return f"<p><strong>{escape(verdict(found))}</strong></p><table>{rows}</table>{notes}"


def verdict(found: Comparison) -> str:
    """Whether the first beats the second, by how much, and on what."""
    first, second, lead = found.first.label, found.second.label, found.lead
    where = f"on the {images(found.test_items)} of the test set" + (f" of {found.dataset}" if found.dataset else "")
    distance = points(abs(lead.mean))
    if found.verdict == "better":
        return f"{first} beats {second} {where}, by {distance} ({paired_interval(lead)})."
    if found.verdict == "worse":
        return (
            f"{first} does not beat {second} {where}: it is {distance} behind ({paired_interval(lead, turned=True)})."
        )
    if not found.test.wins and not found.test.losses:
        return f"{first} and {second} cannot be told apart {where}: they are right on the same ones."
    behind = lead.mean < 0
    relation = f"{first} is {distance} {'behind' if behind else 'ahead'}" if lead.mean else "they are level"
    ends = paired_interval(lead, turned=behind)
    return f"{first} and {second} cannot be told apart {where}: {relation} ({ends})."


def _evidence(found: Comparison) -> Iterator[tuple[str, str]]:
    for one in (found.first, found.second):
        yield one.label, f"{numbers.percent(one.test_acc)} right{interval(one)}{seeds(one) or ', 1 seed'}"
    test = found.test
    mean = " (means over pairs of seeds)" if test.name == "Welch" else ""
    yield (
        "only one is right",
        f"{found.first.label} {_amount(test.wins)}, {found.second.label} {_amount(test.losses)}{mean}",
    )
    yield "test of equality", f"{TESTS[test.name]}, {numbers.p_value(test.p_value)}"


def _amount(items: float) -> str:
    whole = float(items).is_integer()
    return f"on {images(int(items))}" if whole else f"on {items:,.1f} images"


def _notes(found: Comparison) -> Iterator[str]:
    if found.verdict == "tied" and found.lead.verdict != "tied":
        yield "The interval leaves out zero, but the test does not confirm it: only what both say counts as a win."
    elif found.verdict == "tied" and found.test.p_value < ALPHA:
        yield "The test finds a difference, but the interval holds zero: only what both say counts as a win."
    once = [one.label for one in (found.first, found.second) if one.seeds == 1 and _random(one)]
    if once:
        was, it = ("was", "it") if len(once) == 1 else ("were", "them")
        yield f"{' and '.join(once)} {was} trained once: how far another seed moves {it} is not known."
    few = [one.label for one in (found.first, found.second) if 1 < one.seeds < ENOUGH_SEEDS]
    if few:
        yield (
            f"{' and '.join(few)}: with fewer than {ENOUGH_SEEDS} seeds the intervals are over the images alone; the "
            "test takes the spread of the seeds into account."
        )
    if found.among > 2:
        yield (
            "The p-value is of this one pair. Of many pairs of equals, one in twenty looks like a win: the leaderboard "
            "corrects for that."
        )


def _random(candidate: Candidate) -> bool:
    """Whether another seed could have given another result: a probe on learned weights is solved, not trained."""
    return not (candidate.pretrained and candidate.freeze == "all")
