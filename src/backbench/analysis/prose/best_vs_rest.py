"""How the best candidate does against the others on test: which it cannot be told apart from, which it beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backbench.analysis.best_vs_rest import BestVersusOther
from backbench.analysis.candidates import Candidate
from backbench.analysis.prose.phrases import (
    CONFIDENCE_SET,
    TESTS,
    TIED_BY_INTERVALS,
    TIED_BY_SET,
    paired_interval,
    points,
)
from backbench.analysis.recommendation_facts import Recommendation
from backbench.analysis.significance import ALPHA
from backbench.core import formatting
from backbench.core.formatting import MOST_NAMES, listed

NOT_ON_TEST = "A choice made on test would make the test accuracy of the chosen candidate too high."


def tied_means(facts: Recommendation) -> str:
    """What is true of all candidates that are marked as tied with the best."""
    return TIED_BY_SET if facts.best_vs_rest else TIED_BY_INTERVALS


def comparisons(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """The sentences; without predictions on test the runner-up is compared by intervals alone."""
    if not facts.best_vs_rest:
        yield from _by_intervals(facts, best)
        return
    tied = [pair for pair in facts.best_vs_rest if pair.verdict == "tied"]
    beaten = [pair for pair in facts.best_vs_rest if pair.verdict == "better"]
    ahead = [pair for pair in facts.best_vs_rest if pair.verdict == "worse"]
    if best.cell_id in {candidate.cell_id for candidate in facts.possibly_best} and not ahead:
        yield from _among_the_best(best, tied, beaten)
    else:
        yield _behind(facts, ahead)
        if beaten:
            yield _beats("It", beaten, "{} of the other candidates")


def _among_the_best(
    best: Candidate, tied: Sequence[BestVersusOther], beaten: Sequence[BestVersusOther]
) -> Iterator[str]:
    inside = [pair for pair in tied if pair.both_possibly_best]
    outside = [pair for pair in tied if not pair.both_possibly_best]
    if inside:
        which = "either" if len(inside) == 1 else f"any of the {len(inside) + 1}"
        tests = evidence(inside)
        yield (
            f"On test it cannot be told apart from {_names(inside)}{_lead(inside)}: {which} may be the best "
            f"({tests if tests == CONFIDENCE_SET else f'{CONFIDENCE_SET}; {tests}'})."
        )
    if beaten:
        everyone = "the other {} candidates" if tied else "all {} other candidates"
        yield _beats("It" if inside else "On test it", beaten, everyone)
    if outside:
        verb, them = ("is", "it") if len(outside) == 1 else ("are", "them")
        yield (
            f"{_names(outside, '{} candidates')} {verb} probably not the best on test (outside the {CONFIDENCE_SET}), "
            f"but {best.label} itself is not shown to beat {them} ({evidence(outside)})."
        )


def _behind(facts: Recommendation, ahead: Sequence[BestVersusOther]) -> str:
    members = facts.possibly_best
    which = f"{'one of ' if len(members) > 1 else ''}{listed([candidate.label for candidate in members])}"
    pairs = "no single candidate is ahead of it beyond chance"
    if ahead:
        pairs = f"{_names(ahead, '{} candidates')} {'beats' if len(ahead) == 1 else 'beat'} it{_by(ahead)}"
    return f"Val ranked it first, but on test the best is {which} ({CONFIDENCE_SET}); {pairs}. {NOT_ON_TEST}"


def _beats(subject: str, beaten: Sequence[BestVersusOther], number: str) -> str:
    return f"{subject} beats {_names(beaten, number)}{_by(beaten)}."


def _by_intervals(facts: Recommendation, best: Candidate) -> Iterator[str]:
    other = facts.runner_up
    if other is None or other.test_acc is None or best.test_acc_lo is None:
        return
    verdict = facts.verdict_on(other)
    relation = "the intervals overlap, so the order may be chance" if verdict == "tied" else "the intervals are apart"
    yield (
        f"The runner-up on val is {other.label} with {formatting.percent(other.test_acc)} on test "
        f"({formatting.interval(other.test_acc_lo, other.test_acc_hi)}): {relation}."
    )


def _names(pairs: Sequence[BestVersusOther], number: str = "") -> str:
    """The names of the others, or how many they are where a list would be long."""
    names = [pair.other.label for pair in pairs]
    return number.format(len(names)) if number and len(names) > MOST_NAMES else listed(names)


def _lead(pairs: Sequence[BestVersusOther]) -> str:
    """By how much the best is ahead of the only other, or behind it; several have no lead in common."""
    if len(pairs) > 1:
        return ""
    lead = pairs[0].lead
    behind = lead.mean < 0
    interval = paired_interval(lead, turned=behind, tied=True)
    return f" ({points(abs(lead.mean))} {'behind' if behind else 'ahead'}, {interval})"


def _by(pairs: Sequence[BestVersusOther]) -> str:
    """By how much one beats the other, and the evidence."""
    if len(pairs) > 1:
        return f" ({evidence(pairs)})"
    lead = pairs[0].lead
    return f" by {points(abs(lead.mean))} ({paired_interval(lead, turned=lead.mean < 0)}; {evidence(pairs)})"


def evidence(pairs: Sequence[BestVersusOther]) -> str:
    """The paired tests behind the verdict that these pairs share; the confidence set where it alone says tied."""
    p_values = [pair.p_holm for pair in pairs]
    tied = pairs[0].verdict == "tied"
    if tied and min(p_values) < ALPHA:
        return CONFIDENCE_SET
    smallest, largest = formatting.p_value(min(p_values)), formatting.p_value(max(p_values))
    which = "" if smallest == largest else "smallest " if tied else "largest "
    p = f"{which}{smallest if tied else largest}"
    names = " and ".join(TESTS[name] for name in sorted({pair.test for pair in pairs}))
    return f"{names}, Holm-corrected, {p}"
