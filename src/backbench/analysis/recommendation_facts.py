"""The recommendation as data: which candidate to use, what it was compared with, and what was not measured."""

from __future__ import annotations

from dataclasses import dataclass

from backbench.analysis.best_vs_rest import BestVersusOther
from backbench.analysis.candidates import Candidate
from backbench.analysis.caveat import Caveat
from backbench.analysis.paired_tests import Advantage


@dataclass(frozen=True)
class Recommendation:
    """The recommended candidate, the facts for and against it, and the sentences that say them.

    Ranking, from val: `ranking` holds all candidates by `selection_score`, `best` is the first, `runner_up` the second.
    `tied_on_val` candidates have the best one's score. `undecided` are the other candidates, out of `compared_on_val`,
    that val cannot tell from the best. `optimism` is by how much the best one's score is probably too high because it
    was chosen for that score.

    Test: `possibly_best` are the candidates that may be the best on test (95 % Model Confidence Set), in order of rank;
    `best_vs_rest` compares the best with each other candidate that has predictions.

    Cost: a network is *within reach* of the best when its val accuracy, at some freeze depth, is not below the 95 %
    Wilson interval of the best one's val accuracy. `within_reach` counts these networks, the best included; `fastest`
    and `smallest` are chosen among them and None where the number of val items or the cost is unknown.
    `fastest_pretrained` and `smallest_pretrained` are the cheapest other pretrained networks at their best depth, None
    unless they cost less than the best.

    Pretraining: `pretrained` is the first pretrained candidate, `scratch` the small CNN, `control` the best candidate
    with random weights; `over_scratch` and `over_control` are the leads of `pretrained` over these two on test.
    `need_for_pretraining` is `yes`, `no`, `unclear` (measured, but chance or a conflict of val and test is not
    excluded) or `unknown` (not measured); `scratch_requested` says whether the small CNN was to be measured at all.

    Cells: of all `cells`, `failed`, `skipped` and `pruned` are counted, `unmeasured` are the names of those that the
    sweep did not come to, and `common_reason` is the most frequent reason of those that are not ok.
    """

    best: Candidate | None = None
    ranking: tuple[Candidate, ...] = ()
    candidates: int = 0
    tied_on_val: int = 0
    undecided: tuple[Candidate, ...] = ()
    compared_on_val: int = 0
    optimism: float | None = None
    possibly_best: tuple[Candidate, ...] = ()
    runner_up: Candidate | None = None
    best_vs_rest: tuple[BestVersusOther, ...] = ()
    networks: int = 0
    within_reach: int = 0
    fastest: Candidate | None = None
    smallest: Candidate | None = None
    fastest_pretrained: Candidate | None = None
    smallest_pretrained: Candidate | None = None
    scratch: Candidate | None = None
    scratch_requested: bool = False
    pretrained: Candidate | None = None
    control: Candidate | None = None
    over_scratch: Advantage | None = None
    over_control: Advantage | None = None
    need_for_pretraining: str = "unknown"
    val_items: int | None = None
    test_items: int | None = None
    failed: int = 0
    skipped: int = 0
    pruned: int = 0
    unmeasured: tuple[str, ...] = ()
    common_reason: str = ""
    cells: int = 0
    sentences: tuple[str, ...] = ()
    caveats: tuple[Caveat, ...] = ()

    def versus(self, other: Candidate) -> BestVersusOther | None:
        """The paired comparison of the best with another candidate, None where there is none."""
        return next((pair for pair in self.best_vs_rest if pair.other.cell_id == other.cell_id), None)

    def verdict_on(self, other: Candidate) -> str:
        """How the best compares with another candidate on test: `better`, `worse` or `tied`.

        By the paired comparison where there are predictions, else by the two intervals, which is more cautious.
        """
        pair = self.versus(other)
        return pair.verdict if pair else verdict_by_intervals(self.best, other)

    def tied(self, other: Candidate) -> bool:
        """Whether another candidate is to be marked as tied with the best.

        With paired comparisons: both may be the best on test. Without: their intervals overlap.
        """
        if other is self.best or other.test_acc is None:
            return False
        if self.best_vs_rest:
            pair = self.versus(other)
            return pair is not None and pair.both_possibly_best
        return self.verdict_on(other) == "tied"


def verdict_by_intervals(first: Candidate | None, second: Candidate) -> str:
    """Seen from the first: `better` or `worse` where the intervals of test accuracy are apart, else `tied`."""
    if first is None or first.test_acc_lo is None or first.test_acc_hi is None:
        return "tied"
    if second.test_acc_hi is not None and first.test_acc_lo > second.test_acc_hi:
        return "better"
    return "worse" if second.test_acc_lo is not None and first.test_acc_hi < second.test_acc_lo else "tied"
