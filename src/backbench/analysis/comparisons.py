"""How the best one does against the others on test, in plain sentences: whom it cannot be told from, whom it beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from backbench.analysis import numbers
from backbench.analysis.significance import ALPHA
from backbench.analysis.wording import LISTED, SET, TESTS, listed, paired_interval, points

if TYPE_CHECKING:  # the facts are built with these sentences: a true import would go round in a circle
    from backbench.analysis.advice import Recommendation
    from backbench.analysis.candidates import Candidate
    from backbench.analysis.rivals import Rival

NOT_ON_TEST = "A choice made on test would make its own test accuracy too good to be true."


def comparisons(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """The sentences; without answers on test the runner-up is compared by intervals alone."""
    if not facts.rivals:
        yield from _unpaired(facts, best)
        return
    tied = [rival for rival in facts.rivals if rival.verdict == "tied"]
    beaten = [rival for rival in facts.rivals if rival.verdict == "better"]
    ahead = [rival for rival in facts.rivals if rival.verdict == "worse"]
    if best.cell_id in {candidate.cell_id for candidate in facts.possibly_best} and not ahead:
        yield from _among_the_best(best, tied, beaten)
    else:
        yield from _behind(facts, ahead)
        if beaten:
            yield _beats("It", beaten, "{} of the other candidates")


def _among_the_best(best: Candidate, tied: Sequence[Rival], beaten: Sequence[Rival]) -> Iterator[str]:
    together = [rival for rival in tied if rival.together]
    apart = [rival for rival in tied if not rival.together]
    if together:
        which = "either" if len(together) == 1 else f"any of the {len(together) + 1}"
        tests = proof(together)
        yield (
            f"On test it cannot be told apart from {_names(together)}{_lead(together)}: {which} may be the best "
            f"({tests if tests == SET else f'{SET}; {tests}'})."
        )
    if beaten:
        everyone = "the other {} candidates" if tied else "all {} other candidates"
        yield _beats("It" if together else "On test it", beaten, everyone)
    if apart:
        verb, them = ("is", "it") if len(apart) == 1 else ("are", "them")
        yield (
            f"{_names(apart, '{} candidates')} {verb} hardly the best on test (outside the {SET}), though "
            f"{best.label} itself is not shown to beat {them} ({proof(apart)})."
        )


def _behind(facts: Recommendation, ahead: Sequence[Rival]) -> Iterator[str]:
    members = facts.possibly_best
    which = f"{'one of ' if len(members) > 1 else ''}{listed([candidate.label for candidate in members])}"
    pairs = "no single one is ahead of it beyond chance"
    if ahead:
        pairs = f"{_names(ahead, '{} candidates')} {'beats' if len(ahead) == 1 else 'beat'} it{_by(ahead)}"
    yield f"Val ranked it first, but on test the best is {which} ({SET}); {pairs}. {NOT_ON_TEST}"


def _beats(subject: str, beaten: Sequence[Rival], number: str) -> str:
    return f"{subject} beats {_names(beaten, number)}{_by(beaten)}."


def _unpaired(facts: Recommendation, best: Candidate) -> Iterator[str]:
    other = facts.runner_up
    if other is None or other.test_acc is None or best.test_acc_lo is None:
        return
    verdict = facts.verdict_on(other)
    relation = "the intervals overlap, so the order may be chance" if verdict == "tied" else "the intervals are apart"
    yield (
        f"The runner-up on val is {other.label} with {numbers.percent(other.test_acc)} on test "
        f"({numbers.interval(other.test_acc_lo, other.test_acc_hi)}): {relation}."
    )


def _names(rivals: Sequence[Rival], number: str = "") -> str:
    """Their names, or their number in words where a list would be long."""
    names = [rival.candidate.label for rival in rivals]
    return number.format(len(names)) if number and len(names) > LISTED else listed(names)


def _lead(rivals: Sequence[Rival]) -> str:
    """By how much the best is ahead of one rival, or behind it; several have no lead in common."""
    if len(rivals) > 1:
        return ""
    lead = rivals[0].lead
    behind = lead.mean < 0
    interval = paired_interval(lead, turned=behind, tied=True)
    return f" ({points(abs(lead.mean))} {'behind' if behind else 'ahead'}, {interval})"


def _by(rivals: Sequence[Rival]) -> str:
    """By how much one beats the other, and what proves it."""
    if len(rivals) > 1:
        return f" ({proof(rivals)})"
    lead = rivals[0].lead
    return f" by {points(abs(lead.mean))} ({paired_interval(lead, turned=lead.mean < 0)}; {proof(rivals)})"


def proof(rivals: Sequence[Rival]) -> str:
    """The paired tests that tell these rivals from the best, or fail to; the set where it alone says tied."""
    p_values = [rival.p_holm for rival in rivals]
    tied = rivals[0].verdict == "tied"
    if tied and min(p_values) < ALPHA:
        return SET
    smallest, largest = numbers.p_value(min(p_values)), numbers.p_value(max(p_values))
    which = "" if smallest == largest else "smallest " if tied else "largest "
    p = f"{which}{smallest if tied else largest}"
    names = " and ".join(TESTS[name] for name in sorted({rival.test for rival in rivals}))
    return f"{names}, Holm-corrected, {p}"
