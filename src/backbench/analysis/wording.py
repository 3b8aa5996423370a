"""The recommendation in plain sentences, each made from the facts and left out when they are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from backbench.analysis import numbers

if TYPE_CHECKING:  # the facts are built with these sentences: a true import would go round in a circle
    from backbench.analysis.advice import Recommendation
    from backbench.analysis.answers import Advantage, Rival
    from backbench.analysis.candidates import Candidate

LISTED = 4


def sentences(facts: Recommendation, *, common_reason: str = "") -> tuple[str, ...]:
    """The answer first, then its evidence; plain text that holds untrusted names."""
    if facts.best is None:
        return tuple(_nothing(facts, common_reason))
    return tuple(_answer(facts, facts.best))


def _nothing(facts: Recommendation, common_reason: str) -> Iterator[str]:
    parts = [
        f"{number} {status}"
        for number, status in ((facts.failed, "failed"), (facts.skipped, "skipped"), (facts.pruned, "pruned"))
        if number
    ]
    if not parts:
        yield "Nothing can be recommended: no cell has been run."
        return
    yield f"Nothing can be recommended: no candidate finished ({', '.join(parts)})."
    if common_reason:
        yield f"The most frequent reason: {common_reason.strip().splitlines()[0]}"


def _answer(facts: Recommendation, best: Candidate) -> Iterator[str]:
    yield _headline(best)
    yield from _gap(best)
    yield from _cost(best)
    if facts.candidates == 1:
        yield "It is the only candidate that finished, so there is nothing to compare it with."
    else:
        yield from _tie(facts)
        yield from _cheaper(facts, best)
        yield from _comparisons(facts, best)
    yield from _need(facts, best)
    yield from _control(facts)


def named(candidate: Candidate) -> str:
    """A candidate in words: backbone, weights and how deep it is frozen."""
    if candidate.scratch:
        return "scratch, the small hand-made CNN"
    weights = "" if candidate.pretrained else ", random weights"
    return f"{candidate.backbone}{weights}, {frozen(candidate.freeze)}"


def frozen(freeze: str) -> str:
    """A freeze depth in words."""
    if freeze == "all":
        return "completely frozen"
    if freeze == "none":
        return "nothing frozen"
    if freeze.startswith("all-") and freeze[4:].isdigit():
        stages = int(freeze[4:])
        return "all but its last stage frozen" if stages == 1 else f"all but its last {stages} stages frozen"
    return f"frozen: {freeze}" if freeze else "freeze depth unknown"


def _headline(best: Candidate) -> str:
    if best.test_acc is None:
        return f"Use {named(best)}; its test accuracy was not measured."
    text = f"Use {named(best)}: it classifies {numbers.percent(best.test_acc)} of the test images correctly"
    if best.test_acc_lo is not None:
        text += f" (95% interval {numbers.interval(best.test_acc_lo, best.test_acc_hi)})"
    if best.seeds > 1:
        seeds = numbers.interval(best.test_acc_min, best.test_acc_max)
        text += f", the mean of {best.seeds} seeds that range over {seeds}"
    return text + "."


def _gap(best: Candidate) -> Iterator[str]:
    if best.gap is None or best.train_acc is None:
        return
    train = numbers.percent(best.train_acc)
    if best.gap < 0.01:
        yield f"On the images it was trained on it has {train}: no overfitting gap to speak of."
    else:
        yield f"On the images it was trained on it has {train}: an overfitting gap of {points(best.gap)}."


def _cost(best: Candidate) -> Iterator[str]:
    parts = []
    if best.latency_ms is not None:
        parts.append(f"{numbers.plain(best.latency_ms)} ms for one image")
    if best.params is not None:
        parts.append(f"{numbers.magnitude(best.params)} parameters")
    if best.flops is not None:
        parts.append(f"{numbers.gflops(best.flops)} GFLOPs")
    if parts:
        yield f"It costs {_listed(parts)}."


def _tie(facts: Recommendation) -> Iterator[str]:
    if facts.tied_on_val < 2:
        return
    which = "All" if facts.tied_on_val == facts.candidates else "The first"
    yield (
        f"{which} {facts.tied_on_val} candidates have the same selection score; lower loss on val, then fewer FLOPs, "
        "decided the order between them."
    )


def _cheaper(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """The fastest and the smallest of those that val does not rule out."""
    if not facts.reach or facts.networks < 2:
        return
    if facts.reach == 1:
        yield "No other network comes within reach of it on val, so speed or size is bought with accuracy."
        return
    fastest, smallest = facts.fastest, facts.smallest
    if fastest is not None and smallest is not None and fastest is smallest:
        if fastest is best:
            yield f"Of the {facts.reach} networks within reach on val it is also the fastest and the smallest."
        else:
            cost = f"{_latency(fastest)}, {_size(fastest)}"
            yield f"If it must be fast or small: {fastest.label} is within reach on val ({cost}{_test(fastest)})."
        return
    if fastest is not None and fastest is not best:
        yield f"If it must be fast: {fastest.label} is within reach on val ({_latency(fastest)}{_test(fastest)})."
    if smallest is not None and smallest is not best:
        yield f"If it must be small: {smallest.label} is within reach on val ({_size(smallest)}{_test(smallest)})."


def _comparisons(facts: Recommendation, best: Candidate) -> Iterator[str]:
    if not facts.rivals:
        yield from _unpaired(facts, best)
        return
    tied = [rival for rival in facts.rivals if rival.verdict == "tied"]
    beaten = [rival for rival in facts.rivals if rival.verdict == "better"]
    ahead = [rival for rival in facts.rivals if rival.verdict == "worse"]
    if tied:
        yield f"On test it cannot be told apart from {_names(tied)} {_evidence(tied)}."
    if beaten and (tied or ahead):
        yield f"It beats {_names(beaten, 'the other {} candidates')} {_evidence(beaten)}."
    elif beaten:
        yield f"On test it beats {_names(beaten, 'all {} other candidates')} {_evidence(beaten)}."
    if ahead:
        yield (
            f"{_names(ahead, '{} candidates')} did better on test {_evidence(ahead)}, although val ranked "
            f"{best.label} first. A choice made on test would make its own test accuracy too good to be true."
        )


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
    return number.format(len(names)) if number and len(names) > LISTED else _listed(names)


def _evidence(rivals: Sequence[Rival]) -> str:
    smallest, largest = min(r.p_holm for r in rivals), max(r.p_holm for r in rivals)
    if len(rivals) == 1 or numbers.p_value(smallest) == numbers.p_value(largest):
        p = numbers.p_value(largest)
    elif rivals[0].verdict == "tied":
        p = f"smallest {numbers.p_value(smallest)}"
    else:
        p = f"largest {numbers.p_value(largest)}"
    return f"(exact McNemar test, Holm-corrected, {p})"


def _need(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """Was a pretrained network needed at all?"""
    scratch, pretrained = facts.scratch, facts.pretrained
    if scratch is None:
        if facts.control is None or pretrained is None:
            yield "Whether a pretrained network is needed was not measured: add scratch to --backbones to find out."
        return
    if pretrained is None:
        yield "Whether a pretrained network would do better was not measured: none finished."
        return
    if scratch.test_acc is None or pretrained.test_acc is None:
        return
    score = f"scratch reaches {numbers.percent(scratch.test_acc)} on test"
    difference = _difference(pretrained.test_acc - scratch.test_acc, pretrained, facts.over_scratch)
    if facts.need_for_pretraining == "yes":
        yield f"A pretrained network is worth it here: {score}, {difference}."
    elif facts.need_for_pretraining == "no":
        yield f"A pretrained network is not needed here: {score}, {difference}."
    elif best.scratch:
        yield (
            f"Whether a pretrained network is needed is not settled: val prefers scratch, test {pretrained.label}; "
            f"{score}, {difference}."
        )
    else:
        rival = facts.rival(scratch) if best is pretrained else None
        evidence = f" {_evidence([rival])}" if rival else ""
        yield (
            f"A pretrained network is not shown to be needed: {score}, {difference}, and a difference of that size may "
            f"be chance{evidence}."
        )


def _control(facts: Recommendation) -> Iterator[str]:
    control, pretrained = facts.control, facts.pretrained
    if control is None or pretrained is None or control.test_acc is None or pretrained.test_acc is None:
        return
    yield (
        f"{control.backbone} with random weights ({frozen(control.freeze)}) reaches "
        f"{numbers.percent(control.test_acc)} on test, "
        f"{_difference(pretrained.test_acc - control.test_acc, pretrained, facts.over_control)}."
    )


def _difference(lead: float, ahead: Candidate, advantage: Advantage | None) -> str:
    """How far something is below (or above) the one said to be ahead, with the paired interval where there is one."""
    text = f"{points(abs(lead))} {'below' if lead >= 0 else 'above'} {ahead.label}"
    if advantage is None:
        return text
    low, high = (advantage.low, advantage.high) if lead >= 0 else (-advantage.high, -advantage.low)
    return f"{text} (paired 95% interval {numbers.points(low)} to {numbers.points(high)} points)"


def points(share: float) -> str:
    """A difference of shares in words: `4.2 points`, `1.0 point`."""
    text = numbers.points(share)
    return f"{text} point" if text == "1.0" else f"{text} points"


def images(items: int) -> str:
    """A number of images in words."""
    return f"{numbers.count(items)} image" if items == 1 else f"{numbers.count(items)} images"


def _latency(candidate: Candidate) -> str:
    return f"{numbers.plain(candidate.latency_ms)} ms"


def _size(candidate: Candidate) -> str:
    return f"{numbers.magnitude(candidate.params)} parameters"


def _test(candidate: Candidate) -> str:
    return "" if candidate.test_acc is None else f", {numbers.percent(candidate.test_acc)} on test"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) > LISTED + 1:
        parts = [*parts[:LISTED], f"{len(parts) - LISTED} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
