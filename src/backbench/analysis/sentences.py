"""The recommendation in plain sentences, each made from the facts and left out when they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backbench.analysis import numbers
from backbench.analysis.comparisons import comparisons, proof
from backbench.analysis.wording import difference, frozen, interval, listed, named, points, seeds
from backbench.core.backbone import RANDOM_WEIGHTS

if TYPE_CHECKING:  # the facts are built with these sentences: a true import would go round in a circle
    from backbench.analysis.advice import Recommendation
    from backbench.analysis.candidates import Candidate


# The words and, once, what they mean; see `advice.Recommendation`.
REACH = "within reach on val (not below the 95% interval of the best one's val accuracy)"


def sentences(facts: Recommendation, *, common_reason: str = "") -> tuple[str, ...]:
    """The answer first, then its evidence; plain text that holds untrusted names."""
    if facts.best is None:
        return tuple(_nothing(facts, common_reason))
    return tuple(_answer(facts, facts.best))


def _nothing(facts: Recommendation, common_reason: str) -> Iterator[str]:
    parts = [
        f"{number} {status}"
        for number, status in (
            (facts.failed, "failed"),
            (facts.skipped, "skipped"),
            (facts.pruned, "pruned"),
            (len(facts.unmeasured), "not measured"),
        )
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
        yield from comparisons(facts, best)
    yield from _need(facts, best)
    yield from _control(facts)


def _headline(best: Candidate) -> str:
    if best.test_acc is None:
        return f"Use {named(best)}; its test accuracy was not measured."
    text = f"Use {named(best)}: it classifies {numbers.percent(best.test_acc)} of the test images correctly"
    return f"{text}{interval(best)}{seeds(best)}."


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
        yield f"It costs {listed(parts)}."


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
        yield from _at_a_price(facts, best)
        return
    fastest, smallest = facts.fastest, facts.smallest
    if fastest is not None and smallest is not None and fastest is smallest:
        if fastest is best:
            yield f"Of the {facts.reach} networks {REACH} it is also the fastest and the smallest."
        else:
            cost = f"{_latency(fastest)}, {_size(fastest)}"
            yield f"If it must be fast or small: {fastest.label} ({cost}{_test(fastest)}) is {REACH}."
        return
    reach = REACH
    if fastest is not None and fastest is not best:
        yield f"If it must be fast: {fastest.label} ({_latency(fastest)}{_test(fastest)}) is {reach}."
        reach = "within reach, too"
    if smallest is not None and smallest is not best:
        yield f"If it must be small: {smallest.label} ({_size(smallest)}{_test(smallest)}) is {reach}."


def _at_a_price(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """Where nothing comes close: what the fastest and the smallest pretrained network save, and what they cost."""
    fastest, smallest = facts.fastest_pretrained, facts.smallest_pretrained
    text = f"No other network is {REACH}"
    parts = []
    if fastest is not None and fastest is smallest:
        saved = f"{_latency(fastest)} instead of {_latency(best)}, {_size(fastest)} instead of {_size(best)}"
        parts = [f"{fastest.label} is the fastest and the smallest pretrained one ({saved}){_price(facts, fastest)}"]
    else:
        if fastest is not None:
            saved = f"{_latency(fastest)} instead of {_latency(best)}"
            parts += [f"{fastest.label} is the fastest pretrained one ({saved}){_price(facts, fastest)}"]
        if smallest is not None:
            saved = f"{_size(smallest)} instead of {_size(best)}"
            one = "" if parts else " pretrained one"
            parts += [f"{smallest.label} is the smallest{one} ({saved}){_price(facts, smallest)}"]
    if parts:
        what = " or ".join(name for name, one in (("speed", fastest), ("size", smallest)) if one is not None)
        yield f"{text}, so {what} is bought with accuracy: {'; '.join(parts)}."
    else:
        yield f"{text}, and no other pretrained one is faster or smaller."


def _price(facts: Recommendation, cheap: Candidate) -> str:
    best, rival = facts.best, facts.rival(cheap)
    if best is None or best.test_acc is None or cheap.test_acc is None:
        return ""
    tied = rival is not None and rival.verdict == "tied"
    return f", {difference(best.test_acc - cheap.test_acc, best, rival.lead if rival else None, tied=tied)} on test"


def _need(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """Was a pretrained network needed at all?"""
    scratch, pretrained = facts.scratch, facts.pretrained
    if scratch is None:
        if facts.control is None or pretrained is None:
            why = "scratch did not finish" if facts.scratch_asked else "add scratch to --backbones to find out"
            yield f"Whether a pretrained network is needed was not measured: {why}."
        return
    if pretrained is None:
        yield "Whether a pretrained network would do better was not measured: none finished."
        return
    if scratch.test_acc is None or pretrained.test_acc is None:
        return
    score = f"scratch reaches {numbers.percent(scratch.test_acc)} on test"
    distance = difference(
        pretrained.test_acc - scratch.test_acc,
        pretrained,
        facts.over_scratch,
        tied=facts.need_for_pretraining == "unclear",
    )
    if facts.need_for_pretraining == "yes":
        yield f"A pretrained network is worth it here: {score}, {distance}."
    elif facts.need_for_pretraining == "no":
        yield f"A pretrained network is not needed here: {score}, {distance}."
    elif best.scratch:
        yield (
            f"Whether a pretrained network is needed is not settled: val prefers scratch, test {pretrained.label}; "
            f"{score}, {distance}."
        )
    else:
        rival = facts.rival(scratch) if best is pretrained else None
        evidence = f" ({proof([rival])})" if rival else ""
        doubt = "and a difference of that size may be chance"
        if facts.over_scratch and facts.over_scratch.verdict != "tied":
            among = f" of all {len(facts.rivals)} comparisons together" if len(facts.rivals) > 1 else ""
            doubt = f"but the stricter test{among} leaves open whether that is chance"
        yield f"A pretrained network is not shown to be needed: {score}, {distance}, {doubt}{evidence}."


def _control(facts: Recommendation) -> Iterator[str]:
    control, pretrained = facts.control, facts.pretrained
    if control is None or pretrained is None or control.test_acc is None or pretrained.test_acc is None:
        return
    yield (
        f"{control.backbone} with {RANDOM_WEIGHTS} ({frozen(control.freeze)}) reaches "
        f"{numbers.percent(control.test_acc)} on test, "
        f"{difference(pretrained.test_acc - control.test_acc, pretrained, facts.over_control)}."
    )


def _latency(candidate: Candidate) -> str:
    return f"{numbers.plain(candidate.latency_ms)} ms"


def _size(candidate: Candidate) -> str:
    return f"{numbers.magnitude(candidate.params)} parameters"


def _test(candidate: Candidate) -> str:
    return "" if candidate.test_acc is None else f", {numbers.percent(candidate.test_acc)} on test"
