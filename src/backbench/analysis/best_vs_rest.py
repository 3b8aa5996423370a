"""The best candidate against each other one on test: which may be the best there, and which the best beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backbench.analysis.candidates import Candidate
from backbench.analysis.model_confidence_set import confidence_p_values
from backbench.analysis.paired_tests import Advantage, PairedBootstrap
from backbench.analysis.significance import ALPHA, holm


@dataclass(frozen=True)
class BestVersusOther:
    """The best candidate compared with another on the same test items.

    `wins` are the items that only the best has right, `losses` those that only the other has right (with several seeds
    means over all pairs of them); `p_value` is of the paired `test` (`exact McNemar`, with several seeds `Welch`),
    `p_holm` the same corrected for all comparisons with the best; `lead` is the best's, with its paired interval.
    `both_possibly_best` says that both are in the set of candidates that may be the best on test.
    """

    other: Candidate
    wins: float
    losses: float
    p_value: float
    p_holm: float
    lead: Advantage
    both_possibly_best: bool = False
    test: str = "exact McNemar"

    @property
    def verdict(self) -> str:
        """Seen from the best: `better`, `worse` or `tied`.

        Two are told apart only where the paired test does it and they are not both in the set of the possibly best, so
        that neither kind of evidence is quoted against the other.
        """
        if self.p_holm >= ALPHA or self.both_possibly_best:
            return "tied"
        return "better" if self.lead.mean > 0 else "worse"


def possibly_best(bootstrap: PairedBootstrap) -> tuple[Candidate, ...]:
    """The candidates that may be the best on test, in order of rank: the 95 % Model Confidence Set.

    A candidate outside the set stays when the paired test against the highest test accuracy does not confirm that it is
    worse: on some tens of items the bootstrap rejects more than the exact test allows.
    """
    if not bootstrap.candidates:
        return ()
    accuracies = bootstrap.accuracies
    p_values, leader = confidence_p_values(accuracies, bootstrap.draws), int(accuracies.argmax())
    return tuple(
        candidate
        for index, candidate in enumerate(bootstrap.candidates)
        if p_values[index] > ALPHA or bootstrap.pair_test(leader, index).p_value >= ALPHA
    )


def best_vs_rest(
    best: Candidate, bootstrap: PairedBootstrap, members: tuple[Candidate, ...]
) -> tuple[BestVersusOther, ...]:
    """The best against each other candidate on test, in order of rank; `members` are the possibly best."""
    first = bootstrap.index(best)
    others = [index for index in range(len(bootstrap.candidates)) if index != first]
    if first is None or not others:
        return ()
    tests = [bootstrap.pair_test(first, index) for index in others]
    corrected = holm(np.array([test.p_value for test in tests]))
    member_ids = {candidate.cell_id for candidate in members}
    return tuple(
        BestVersusOther(
            other=bootstrap.candidates[index],
            wins=test.wins,
            losses=test.losses,
            p_value=test.p_value,
            p_holm=float(p),
            lead=lead,
            both_possibly_best={best.cell_id, bootstrap.candidates[index].cell_id} <= member_ids,
            test=test.name,
        )
        for index, test, p, lead in zip(others, tests, corrected, bootstrap.advantages(first, others), strict=True)
    )
