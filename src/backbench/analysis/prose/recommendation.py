"""The recommendation in plain sentences, each made from the facts and left out when they are missing."""

from __future__ import annotations

from collections.abc import Iterator

from backbench.analysis.candidates import Candidate
from backbench.analysis.prose.best_vs_rest import comparisons, evidence
from backbench.analysis.prose.phrases import difference, frozen, interval, named, points, seeds
from backbench.analysis.recommendation_facts import Recommendation
from backbench.core import formatting
from backbench.core.backbone import RANDOM_WEIGHTS
from backbench.core.formatting import listed

# The term and, once, what it means; see `Recommendation`.
REACH = "within reach on val (not below the 95% interval of the best one's val accuracy)"


def sentences(facts: Recommendation) -> tuple[str, ...]:
    """The answer first, then its evidence; plain text that holds untrusted names."""
    if facts.best is None:
        return tuple(_nothing(facts))
    return tuple(_answer(facts, facts.best))


def _nothing(facts: Recommendation) -> Iterator[str]:
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
    if facts.common_reason:
        yield f"The most frequent reason: {facts.common_reason.strip().splitlines()[0]}"


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
    text = f"Use {named(best)}: it classifies {formatting.percent(best.test_acc)} of the test images correctly"
    return f"{text}{interval(best)}{seeds(best)}."


def _gap(best: Candidate) -> Iterator[str]:
    if best.gap is None or best.train_acc is None:
        return
    train = formatting.percent(best.train_acc)
    if best.gap < 0.01:
        yield f"On the images it was trained on it has {train}: no overfitting gap to speak of."
    else:
        yield f"On the images it was trained on it has {train}: an overfitting gap of {points(best.gap)}."


def _cost(best: Candidate) -> Iterator[str]:
    parts = []
    if best.latency_ms is not None:
        parts.append(f"{formatting.plain(best.latency_ms)} ms for one image")
    if best.params is not None:
        parts.append(f"{formatting.magnitude(best.params)} parameters")
    if best.flops is not None:
        parts.append(f"{formatting.gflops(best.flops)} GFLOPs")
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
    if not facts.within_reach or facts.networks < 2:
        return
    if facts.within_reach == 1:
        yield from _at_a_price(facts, best)
        return
    fastest, smallest = facts.fastest, facts.smallest
    if fastest is not None and smallest is not None and fastest is smallest:
        if fastest is best:
            yield f"Of the {facts.within_reach} networks {REACH} it is also the fastest and the smallest."
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
            which = "" if parts else " pretrained one"
            parts += [f"{smallest.label} is the smallest{which} ({saved}){_price(facts, smallest)}"]
    if parts:
        what = " or ".join(name for name, cheap in (("speed", fastest), ("size", smallest)) if cheap is not None)
        yield f"{text}, so {what} is bought with accuracy: {'; '.join(parts)}."
    else:
        yield f"{text}, and no other pretrained one is faster or smaller."


def _price(facts: Recommendation, cheap: Candidate) -> str:
    best, pair = facts.best, facts.versus(cheap)
    if best is None or best.test_acc is None or cheap.test_acc is None:
        return ""
    tied = pair is not None and pair.verdict == "tied"
    return f", {difference(best.test_acc - cheap.test_acc, best, pair.lead if pair else None, tied=tied)} on test"


def _need(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """Was a pretrained network needed at all?"""
    scratch, pretrained = facts.scratch, facts.pretrained
    if scratch is None:
        if facts.control is None or pretrained is None:
            why = "scratch did not finish" if facts.scratch_requested else "add scratch to --backbones to find out"
            yield f"Whether a pretrained network is needed was not measured: {why}."
        return
    if pretrained is None:
        yield "Whether a pretrained network would do better was not measured: none finished."
        return
    if scratch.test_acc is None or pretrained.test_acc is None:
        return
    score = f"scratch reaches {formatting.percent(scratch.test_acc)} on test"
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
        pair = facts.versus(scratch) if best is pretrained else None
        test = f" ({evidence([pair])})" if pair else ""
        doubt = "and a difference of that size may be chance"
        if facts.over_scratch and facts.over_scratch.verdict != "tied":
            number = len(facts.best_vs_rest)
            corrected = f", corrected for all {number} comparisons," if number > 1 else ""
            doubt = f"but the stricter test{corrected} does not exclude chance"
        yield f"A pretrained network is not shown to be needed: {score}, {distance}, {doubt}{test}."


def _control(facts: Recommendation) -> Iterator[str]:
    control, pretrained = facts.control, facts.pretrained
    if control is None or pretrained is None or control.test_acc is None or pretrained.test_acc is None:
        return
    yield (
        f"{control.backbone} with {RANDOM_WEIGHTS} ({frozen(control.freeze)}) reaches "
        f"{formatting.percent(control.test_acc)} on test, "
        f"{difference(pretrained.test_acc - control.test_acc, pretrained, facts.over_control)}."
    )


def _latency(candidate: Candidate) -> str:
    return f"{formatting.plain(candidate.latency_ms)} ms"


def _size(candidate: Candidate) -> str:
    return f"{formatting.magnitude(candidate.params)} parameters"


def _test(candidate: Candidate) -> str:
    return "" if candidate.test_acc is None else f", {formatting.percent(candidate.test_acc)} on test"
