"""What limits the trust in the answer, in plain sentences: small splits, and the luck of whoever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backbench.analysis import numbers
from backbench.analysis.wording import images, points

if TYPE_CHECKING:  # the facts are built with these sentences: a true import would go round in a circle
    from backbench.analysis.advice import Recommendation
    from backbench.analysis.candidates import Candidate

# Below this many images, one more or less moves an accuracy by half a point or more.
SMALL_SPLIT = 200

# Below this many, resampling them says less than it seems to: what did not occur cannot be drawn.
FEWEST = 20

# Selection scores are probabilities: less than half a point of luck is not worth a sentence.
WORTH_SAYING = 0.005


def cautions(facts: Recommendation) -> tuple[str, ...]:
    """The sentences, the weightier first; plain text that holds untrusted names."""
    if facts.best is None:
        return ()
    return (
        *_small_val(facts, facts.best),
        *_luck(facts, facts.best),
        *_small_test(facts, facts.best),
    )


def _small_val(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """Measured where the answers on val are known, else a word of warning where val is small."""
    if facts.candidates > 1 and facts.val_items is not None and facts.val_items < FEWEST:
        yield (
            f"Val has only {images(facts.val_items)}, too few to say how sure the choice is: the order of the "
            "candidates is mostly luck."
        )
    elif facts.undecided:
        nearest, others = facts.undecided[0], facts.compared_on_val
        theirs, ours = numbers.decimal(nearest.selection_score), numbers.decimal(best.selection_score)
        scores = f"selection score {theirs} against {ours}"
        if others == 1:
            which = f"the only other candidate, {nearest.label},"
        else:
            amount = "any" if len(facts.undecided) == others else numbers.count(len(facts.undecided))
            which = f"{amount} of the {others} other candidates"
        yield (
            f"Val, with {images(facts.val_items or 0)}, is too small to tell {which} from the leader, {best.label}"
            + (f" ({scores}; " if others == 1 else f": the nearest is {nearest.label} ({scores}; ")
            + "paired bootstrap over the val images)."
        )
    elif not facts.compared_on_val and (facts.val_items or SMALL_SPLIT) < SMALL_SPLIT and facts.candidates > 1:
        yield f"Val has only {images(facts.val_items or 0)}: the order of candidates that are close is partly luck."


def _luck(facts: Recommendation, best: Candidate) -> Iterator[str]:
    """The winner's curse: the best of many on val was also lucky there."""
    if facts.optimism is None or facts.optimism < WORTH_SAYING:
        return
    yield (
        f"{best.label} is the best of {facts.compared_on_val + 1} on val, and the best of many was also lucky: its "
        f"selection score, {numbers.decimal(best.selection_score)}, is probably about "
        f"{numbers.decimal(facts.optimism)} too high (bootstrap over the val images). Its test accuracy is not: test "
        "took no part in the choice."
    )


def _small_test(facts: Recommendation, best: Candidate) -> Iterator[str]:
    if facts.test_items is not None and facts.test_items < SMALL_SPLIT and best.test_acc is not None:
        advice = "trust the interval, not the percentage"
        if facts.test_items < FEWEST:
            advice += ", and of two candidates only the exact test, since intervals of differences are too narrow here"
        yield (
            f"The test set has only {images(facts.test_items)}, so one image is "
            f"{points(1 / max(facts.test_items, 1))}: {advice}."
        )
