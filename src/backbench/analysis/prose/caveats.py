"""What limits the trust in a recommendation or a comparison: which caveats apply, and their sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backbench.analysis.bootstrap import ENOUGH_SEEDS
from backbench.analysis.candidates import Candidate
from backbench.analysis.caveat import Caveat, CaveatCode, Severity
from backbench.analysis.comparison_facts import ComparisonFacts
from backbench.analysis.prose.phrases import images, points
from backbench.analysis.recommendation_facts import Recommendation
from backbench.analysis.seed_spread import depends_on_seed, spread
from backbench.analysis.significance import ALPHA
from backbench.core import formatting

# Below this many images, one more or less moves an accuracy by half a point or more.
SMALL_SPLIT = 200

# Below this many, resampling says less than it seems to: what did not occur cannot be drawn.
TINY_SPLIT = 20

# Selection scores are probabilities: less than half a point too high is not worth a sentence.
LEAST_OPTIMISM = 0.005


def caveats(facts: Recommendation) -> tuple[Caveat, ...]:
    """The caveats of a recommendation, warnings first."""
    if facts.best is None:
        return ()
    best = facts.best
    return (*_val(facts, best), *_optimism(facts, best), *_small_test(facts, best), *_trained_once(best))


def comparison_caveats(facts: ComparisonFacts) -> tuple[Caveat, ...]:
    """The caveats of a comparison."""
    return (*_disagreement(facts), *_seeds(facts), *_single_pair(facts))


def _val(facts: Recommendation, best: Candidate) -> Iterator[Caveat]:
    """Whether val can tell the candidates apart: measured where predictions on val are known, else judged by size."""
    if facts.candidates > 1 and facts.val_items is not None and facts.val_items < TINY_SPLIT:
        yield Caveat(
            CaveatCode.VAL_TINY,
            Severity.WARNING,
            f"Val has only {images(facts.val_items)}, too few to say how sure the choice is: the order of the "
            "candidates is mostly luck.",
        )
    elif facts.undecided:
        yield Caveat(CaveatCode.VAL_UNDECIDED, Severity.WARNING, _undecided(facts, best))
    elif not facts.compared_on_val and (facts.val_items or SMALL_SPLIT) < SMALL_SPLIT and facts.candidates > 1:
        yield Caveat(
            CaveatCode.VAL_SMALL,
            Severity.WARNING,
            f"Val has only {images(facts.val_items or 0)}: the order of candidates with similar scores is partly luck.",
        )


def _undecided(facts: Recommendation, best: Candidate) -> str:
    nearest, others = facts.undecided[0], facts.compared_on_val
    scores = (
        f"selection score {formatting.decimal(nearest.selection_score)} against "
        f"{formatting.decimal(best.selection_score)}"
    )
    val = f"Val, with {images(facts.val_items or 0)}, is too small to tell"
    evidence = "paired bootstrap over the val images"
    if others == 1:
        return f"{val} the only other candidate, {nearest.label}, from the leader, {best.label} ({scores}; {evidence})."
    amount = "any" if len(facts.undecided) == others else formatting.count(len(facts.undecided))
    return (
        f"{val} {amount} of the {others} other candidates from the leader, {best.label}: the nearest is "
        f"{nearest.label} ({scores}; {evidence})."
    )


def _optimism(facts: Recommendation, best: Candidate) -> Iterator[Caveat]:
    """The winner's curse: the highest of many scores is too high on average."""
    if facts.optimism is None or facts.optimism < LEAST_OPTIMISM:
        return
    yield Caveat(
        CaveatCode.SCORE_OPTIMISTIC,
        Severity.NOTE,
        f"{best.label} has the highest selection score of {facts.compared_on_val + 1} candidates on val, and the "
        f"highest of many scores is partly luck: {formatting.decimal(best.selection_score)} is probably about "
        f"{formatting.decimal(facts.optimism)} too high (bootstrap over the val images). Its test accuracy is not "
        "affected: test took no part in the choice.",
    )


def _small_test(facts: Recommendation, best: Candidate) -> Iterator[Caveat]:
    if facts.test_items is None or facts.test_items >= SMALL_SPLIT or best.test_acc is None:
        return
    advice = "trust the interval, not the percentage"
    if facts.test_items < TINY_SPLIT:
        advice += ", and to compare two candidates only the exact test, since intervals of differences are too narrow"
    yield Caveat(
        CaveatCode.TEST_SMALL,
        Severity.NOTE,
        f"The test set has only {images(facts.test_items)}, so one image is "
        f"{points(1 / max(facts.test_items, 1))}: {advice}.",
    )


def _trained_once(best: Candidate) -> Iterator[Caveat]:
    if best.seeds == 1 and best.test_acc is not None and depends_on_seed(best):
        yield Caveat(
            CaveatCode.TRAINED_ONCE,
            Severity.NOTE,
            f"{best.label} was trained once, and the interval of its test accuracy is over the test images alone: "
            f"{_another_seed([best], 'it')} With --seeds 3 this is measured.",
        )


def _another_seed(once: Sequence[Candidate], it: str) -> str:
    """By how much another seed would move candidates that were trained once."""
    known = [spread(candidate) for candidate in once]
    measured = [each for each in known if each is not None]
    if len(measured) < len(known):
        return f"how much another seed would move {it} is not known."
    return (
        f"another seed typically moves {it} by {points(max(measured))} either way (standard deviation over seeds of "
        "cells like it)."
    )


def _disagreement(facts: ComparisonFacts) -> Iterator[Caveat]:
    if facts.verdict != "tied":
        return
    if facts.lead.verdict != "tied":
        sentence = "The interval excludes zero, but the test finds no difference: a win needs both."
        yield Caveat(CaveatCode.INTERVAL_ALONE, Severity.WARNING, sentence)
    elif facts.test.p_value < ALPHA:
        sentence = "The test finds a difference, but the interval includes zero: a win needs both."
        yield Caveat(CaveatCode.TEST_ALONE, Severity.WARNING, sentence)


def _seeds(facts: ComparisonFacts) -> Iterator[Caveat]:
    pair = (facts.first, facts.second)
    once = [candidate for candidate in pair if candidate.seeds == 1 and depends_on_seed(candidate)]
    if once:
        was, it = ("was", "it") if len(once) == 1 else ("were", "each")
        names = " and ".join(candidate.label for candidate in once)
        yield Caveat(
            CaveatCode.TRAINED_ONCE,
            Severity.NOTE,
            f"{names} {was} trained once: {_another_seed(once, it)}",
        )
    few = [candidate.label for candidate in pair if 1 < candidate.seeds < ENOUGH_SEEDS]
    if few:
        yield Caveat(
            CaveatCode.FEW_SEEDS,
            Severity.NOTE,
            f"{' and '.join(few)}: with fewer than {ENOUGH_SEEDS} seeds the intervals are over the images alone; the "
            "test takes the spread of the seeds into account.",
        )


def _single_pair(facts: ComparisonFacts) -> Iterator[Caveat]:
    if facts.among > 2:
        yield Caveat(
            CaveatCode.NOT_CORRECTED,
            Severity.NOTE,
            "The p-value is for this pair alone. Of many pairs of equally good candidates, one in twenty looks like a "
            "win: the leaderboard corrects for that.",
        )
