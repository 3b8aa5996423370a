"""The comparison of two candidates as a person reads it: the verdict first, then its evidence and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from backbench.analysis.caveat import Caveat
from backbench.analysis.comparison_facts import ComparisonFacts
from backbench.analysis.prose.phrases import TESTS, images, interval, paired_interval, points, seeds
from backbench.core import formatting


def text(facts: ComparisonFacts, caveats: Sequence[Caveat]) -> str:
    """For a terminal."""
    rows = list(_evidence(facts))
    width = max(len(name) for name, _ in rows)
    lines = [verdict(facts), "", *(f"  {name:{width}}  {value}" for name, value in rows)]
    notes = [caveat.text for caveat in caveats]
    return formatting.for_terminal("\n".join([*lines, *([""] if notes else []), *notes]))


def html(facts: ComparisonFacts, caveats: Sequence[Caveat]) -> str:
    """For a notebook; every name is escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in _evidence(facts)
    )
    notes = "".join(f"<p>{escape(caveat.text)}</p>" for caveat in caveats)
    return f"<p><strong>{escape(verdict(facts))}</strong></p><table>{rows}</table>{notes}"


def verdict(facts: ComparisonFacts) -> str:
    """Whether the first beats the second, by how much, and on what."""
    first, second, lead = facts.first.label, facts.second.label, facts.lead
    where = f"on the {images(facts.test_items)} of the test set" + (f" of {facts.dataset}" if facts.dataset else "")
    distance = points(abs(lead.mean))
    if facts.verdict == "better":
        return f"{first} beats {second} {where}, by {distance} ({paired_interval(lead)})."
    if facts.verdict == "worse":
        return (
            f"{first} does not beat {second} {where}: it is {distance} behind ({paired_interval(lead, turned=True)})."
        )
    if not facts.test.wins and not facts.test.losses:
        return f"{first} and {second} cannot be told apart {where}: they are right on the same images."
    behind = lead.mean < 0
    relation = f"{first} is {distance} {'behind' if behind else 'ahead'}" if lead.mean else "they are level"
    ends = paired_interval(lead, turned=behind)
    return f"{first} and {second} cannot be told apart {where}: {relation} ({ends})."


def _evidence(facts: ComparisonFacts) -> Iterator[tuple[str, str]]:
    for candidate in (facts.first, facts.second):
        accuracy = formatting.percent(candidate.test_acc)
        yield candidate.label, f"{accuracy} right{interval(candidate)}{seeds(candidate) or ', 1 seed'}"
    test = facts.test
    mean = " (means over pairs of seeds)" if test.name == "Welch" else ""
    yield (
        "only one is right",
        f"{facts.first.label} {_amount(test.wins)}, {facts.second.label} {_amount(test.losses)}{mean}",
    )
    yield "test of equality", f"{TESTS[test.name]}, {formatting.p_value(test.p_value)}"


def _amount(items: float) -> str:
    whole = float(items).is_integer()
    return f"on {images(int(items))}" if whole else f"on {items:,.1f} images"
