"""The recommendation: which candidate to use, what speaks for it, and what the numbers cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from backbench.analysis.answers import ByCell
from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.cautions import cautions
from backbench.analysis.choice import choice_on_val
from backbench.analysis.frames import cell_labels, tidy
from backbench.analysis.metrics import wilson_interval
from backbench.analysis.paired import Advantage, advantages, tested
from backbench.analysis.planned import UNMEASURED
from backbench.analysis.rivals import Rival, possibly_best, rivals
from backbench.analysis.sentences import sentences
from backbench.analysis.wording import IN_THE_SET, OVERLAPPING
from backbench.core.cells import Status


@dataclass(frozen=True)
class Recommendation:
    """The answer, its facts and its wording.

    `ranking` holds all candidates by `selection_score`, `best` is the first of them. `undecided` are the others, out of
    `compared_on_val`, that val cannot tell from it, and `optimism` is by how much its score is probably too high as it
    was chosen for it. `possibly_best` are the candidates that may be the best on test (95 % Model Confidence Set), in
    order of rank; `rivals` compare the best with each other one there.
    A network is *within reach* of the best when its val accuracy, at some freeze depth, is not below the 95 %
    Wilson interval of the best one's val accuracy; `reach` counts them, `fastest` and `smallest` are chosen among those
    (the best is one of them) and are None when the number of val items or the cost is unknown; of all pretrained ones
    `fastest_pretrained` and `smallest_pretrained` are, at their best depth, None unless they cost less than the best.
    `pretrained` is the first pretrained candidate; `over_scratch` and `over_control` say how far it is ahead of the
    other two on test.
    `need_for_pretraining` is `yes`, `no`, `unclear` (measured, but chance or a conflict of val and test is not
    excluded) or `unknown` (not measured); `scratch_asked` is whether the small CNN was to be measured at all.
    Of all `cells`, those that a sweep was to measure and has not are `unmeasured`, by name.
    `sentences` say all of it, the answer first; the last of them, `cautions`, say how far to trust it.
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
    rivals: tuple[Rival, ...] = ()
    networks: int = 0
    reach: int = 0
    fastest: Candidate | None = None
    smallest: Candidate | None = None
    fastest_pretrained: Candidate | None = None
    smallest_pretrained: Candidate | None = None
    scratch: Candidate | None = None
    scratch_asked: bool = False
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
    cells: int = 0
    sentences: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    def verdict_on(self, other: Candidate) -> str:
        """How the best compares with another on test: `better`, `worse` or `tied`.

        By the paired test and the set of the possibly best where there are answers, else by whether the two intervals
        overlap, which is more cautious.
        """
        rival = self.rival(other)
        return rival.verdict if rival else _by_intervals(self.best, other)

    def tied(self, other: Candidate) -> bool:
        """Whether another is marked as tied with the best, which means what `tied_means` says."""
        if other is self.best or other.test_acc is None:
            return False
        if self.rivals:
            rival = self.rival(other)
            return rival is not None and rival.together
        return self.verdict_on(other) == "tied"

    @property
    def tied_means(self) -> str:
        """What is true of all that are marked as tied with the best."""
        return IN_THE_SET if self.rivals else OVERLAPPING

    def rival(self, other: Candidate) -> Rival | None:
        """The paired test of the best against another, where there is one."""
        return next((rival for rival in self.rivals if rival.candidate.cell_id == other.cell_id), None)


def recommendation(
    table: pd.DataFrame,
    answers: ByCell | None = None,
    *,
    val_items: int | None = None,
    test_items: int | None = None,
) -> Recommendation:
    """Which candidate to use and why.

    `answers` maps `cell_id` to what the cell answered, all on the same items: with them, candidates are compared in
    pairs. `val_items` and `test_items` are the sizes of the splits.
    """
    rows = tidy(table)
    statuses = rows["status"].value_counts()
    facts = Recommendation(
        val_items=val_items,
        test_items=test_items,
        failed=int(statuses.get(Status.FAILED, 0)),
        skipped=int(statuses.get(Status.SKIPPED, 0)),
        pruned=int(statuses.get(Status.PRUNED, 0)),
        unmeasured=tuple(cell_labels(rows)[rows["status"] == UNMEASURED]),
        cells=len(rows),
        scratch_asked=bool((rows["backbone"] == "scratch").any()),
    )
    found = candidates(table)
    if found:
        facts = _compare(facts, found, answers or {})
    reasons = rows.loc[~rows["status"].isin([Status.OK, UNMEASURED]), "reason"]
    common = str(reasons.value_counts().index[0]) if len(reasons) else ""
    limits = cautions(facts)
    return replace(facts, sentences=(*sentences(facts, common_reason=common), *limits), cautions=limits)


def _compare(facts: Recommendation, found: Sequence[Candidate], answers: ByCell) -> Recommendation:
    known = tested(found, answers)
    found = [known.candidates[place] if (place := known.place(one)) is not None else one for one in found]
    best = found[0]
    scratch = next((c for c in found if c.scratch), None)
    pretrained = next((c for c in found if c.pretrained), None)
    controls = [c for c in found if not c.scratch and not c.pretrained]
    reference = pretrained or best
    # Only the weights should differ; among its depths, the one that did best without them is the fair one.
    controls.sort(key=lambda c: c.network != reference.network)
    control = controls[0] if controls else None
    over_scratch, over_control = advantages([(pretrained, scratch), (pretrained, control)], known)
    choice, members = choice_on_val(found, answers), possibly_best(known)
    reach = _within_reach(found, facts.val_items)
    facts = replace(
        facts,
        best=best,
        ranking=tuple(found),
        candidates=len(found),
        tied_on_val=sum(c.selection_score == best.selection_score for c in found),
        undecided=choice.undecided,
        compared_on_val=choice.compared,
        optimism=choice.optimism,
        possibly_best=members,
        runner_up=found[1] if len(found) > 1 else None,
        rivals=rivals(best, known, members),
        networks=len({c.network for c in found}),
        reach=len(reach),
        fastest=_cheapest(reach, "latency_ms"),
        smallest=_cheapest(reach, "params"),
        fastest_pretrained=_cheaper(best, found, "latency_ms"),
        smallest_pretrained=_cheaper(best, found, "params"),
        scratch=scratch,
        pretrained=pretrained,
        control=control,
        over_scratch=over_scratch,
        over_control=over_control,
        val_items=choice.items or facts.val_items,
        test_items=len(answers[best.cell_id].hits) if best.cell_id in answers else facts.test_items,
    )
    return replace(facts, need_for_pretraining=_need(facts))


def _within_reach(found: Sequence[Candidate], val_items: int | None) -> list[Candidate]:
    """The best, and the first of every other network whose val accuracy is not clearly below."""
    best = found[0]
    if not val_items or best.val_acc is None:
        return []
    floor, _ = wilson_interval(best.val_acc, val_items)
    return _firsts([c for c in found if c is best or (c.val_acc is not None and c.val_acc >= floor)])


def _firsts(found: Sequence[Candidate]) -> list[Candidate]:
    """The first of every network."""
    first: dict[tuple[str, float | None], Candidate] = {}
    for candidate in found:
        first.setdefault(candidate.network, candidate)
    return list(first.values())


def _cheapest(candidates: Sequence[Candidate], cost: str) -> Candidate | None:
    return min(
        (c for c in candidates if getattr(c, cost) is not None), key=lambda c: float(getattr(c, cost)), default=None
    )


def _cheaper(best: Candidate, found: Sequence[Candidate], cost: str) -> Candidate | None:
    """The cheapest other pretrained network at its first depth, where it costs less than the best."""
    others = _firsts([c for c in found if c.pretrained and c.network != best.network])
    cheapest, price = _cheapest(others, cost), getattr(best, cost)
    return cheapest if cheapest and price is not None and getattr(cheapest, cost) < price else None


def _need(facts: Recommendation) -> str:
    best, scratch, pretrained = facts.best, facts.scratch, facts.pretrained
    if best is None or scratch is None or pretrained is None:
        return "unknown"
    if best.scratch:
        return "unclear" if facts.verdict_on(pretrained) == "worse" else "no"
    # A network with random weights that ranks first settles nothing by itself: the two in question are compared.
    if best is pretrained:
        verdict = facts.verdict_on(scratch)
    else:
        verdict = facts.over_scratch.verdict if facts.over_scratch else _by_intervals(pretrained, scratch)
    return {"better": "yes", "worse": "no", "tied": "unclear"}[verdict]


def _by_intervals(first: Candidate | None, second: Candidate) -> str:
    if first is None or first.test_acc_lo is None or first.test_acc_hi is None:
        return "tied"
    if second.test_acc_hi is not None and first.test_acc_lo > second.test_acc_hi:
        return "better"
    return "worse" if second.test_acc_lo is not None and first.test_acc_hi < second.test_acc_lo else "tied"
