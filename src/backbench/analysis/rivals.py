"""The best against all others on test: who may be the best there, and whom it beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backbench.analysis.candidates import Candidate
from backbench.analysis.confidence_set import confidence_p_values
from backbench.analysis.paired import Advantage, Tested
from backbench.analysis.significance import ALPHA, holm


@dataclass(frozen=True)
class Rival:
    """A candidate compared with the best one on the same test items.

    `wins` are the items that only the best has right, `losses` those that only the rival has right (with several seeds
    means over all pairs of them); `p_value` is of the paired `test` (`exact McNemar`, with several seeds `Welch`),
    `p_holm` the same corrected for all rivals of this recommendation; `lead` is the best's, with its paired interval.
    `together` says that both are in the set of those that may be the best on test.
    """

    candidate: Candidate
    wins: float
    losses: float
    p_value: float
    p_holm: float
    lead: Advantage
    together: bool = False
    test: str = "exact McNemar"

    @property
    def verdict(self) -> str:
        """Seen from the best: `better`, `worse` or `tied`.

        Two are told apart only where the paired test does it and they are not both in the set of the possibly best, so
        that neither kind of evidence is quoted against the other.
        """
        if self.p_holm >= ALPHA or self.together:
            return "tied"
        return "better" if self.lead.mean > 0 else "worse"


def possibly_best(known: Tested) -> tuple[Candidate, ...]:
    """The candidates that may be the best on test, in order of rank: the 95 % Model Confidence Set.

    Who falls out of the set stays when the paired test against the highest test accuracy does not confirm it: on some
    tens of items the bootstrap is surer than the exact test allows.
    """
    if not known.candidates:
        return ()
    accuracies = known.accuracies
    p_values, leader = confidence_p_values(accuracies, known.draws), int(accuracies.argmax())
    return tuple(
        candidate
        for place, candidate in enumerate(known.candidates)
        if p_values[place] > ALPHA or known.pair_test(leader, place).p_value >= ALPHA
    )


def rivals(best: Candidate, known: Tested, members: tuple[Candidate, ...]) -> tuple[Rival, ...]:
    """The others against the best on test, in order of rank; `members` are those that may be the best there."""
    first = known.place(best)
    others = [place for place in range(len(known.candidates)) if place != first]
    if first is None or not others:
        return ()
    tests = [known.pair_test(first, place) for place in others]
    corrected = holm(np.array([test.p_value for test in tests]))
    inside = {candidate.cell_id for candidate in members}
    return tuple(
        Rival(
            candidate=known.candidates[place],
            wins=test.wins,
            losses=test.losses,
            p_value=test.p_value,
            p_holm=float(p),
            lead=lead,
            together={best.cell_id, known.candidates[place].cell_id} <= inside,
            test=test.name,
        )
        for place, test, p, lead in zip(others, tests, corrected, known.advantages(first, others), strict=True)
    )
