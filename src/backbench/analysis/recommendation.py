"""The recommendation: which candidate to use, what speaks for it, and what the numbers cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from backbench.analysis.best_vs_rest import best_vs_rest, possibly_best
from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.metrics import wilson_interval
from backbench.analysis.missing_cells import UNMEASURED
from backbench.analysis.paired_tests import advantages, paired_bootstrap
from backbench.analysis.per_item import ByCell
from backbench.analysis.prose.caveats import caveats
from backbench.analysis.prose.recommendation import sentences
from backbench.analysis.ranking import cell_labels, tidy
from backbench.analysis.recommendation_facts import Recommendation, verdict_by_intervals
from backbench.analysis.selection_uncertainty import selection_uncertainty
from backbench.core.cells import Status


def recommend(
    table: pd.DataFrame,
    per_item: ByCell | None = None,
    *,
    val_items: int | None = None,
    test_items: int | None = None,
) -> Recommendation:
    """Which candidate to use and why.

    `per_item` maps `cell_id` to what the cell predicted, all on the same items: with it, candidates are compared in
    pairs. `val_items` and `test_items` are the sizes of the splits.
    """
    rows = tidy(table)
    statuses = rows["status"].value_counts()
    reasons = rows.loc[~rows["status"].isin([Status.OK, UNMEASURED]), "reason"]
    facts = Recommendation(
        val_items=val_items,
        test_items=test_items,
        failed=int(statuses.get(Status.FAILED, 0)),
        skipped=int(statuses.get(Status.SKIPPED, 0)),
        pruned=int(statuses.get(Status.PRUNED, 0)),
        unmeasured=tuple(cell_labels(rows)[rows["status"] == UNMEASURED]),
        common_reason=str(reasons.value_counts().index[0]) if len(reasons) else "",
        cells=len(rows),
        scratch_requested=bool((rows["backbone"] == "scratch").any()),
    )
    ranking = candidates(table)
    if ranking:
        facts = _compare(facts, ranking, per_item or {})
    return replace(facts, sentences=sentences(facts), caveats=caveats(facts))


def _compare(facts: Recommendation, ranking: Sequence[Candidate], per_item: ByCell) -> Recommendation:
    bootstrap = paired_bootstrap(ranking, per_item)
    # The bootstrap gives candidates with many seeds an interval that covers the seeds, too.
    ranking = [c if (index := bootstrap.index(c)) is None else bootstrap.candidates[index] for c in ranking]
    best = ranking[0]
    scratch = next((c for c in ranking if c.scratch), None)
    pretrained = next((c for c in ranking if c.pretrained), None)
    controls = [c for c in ranking if not c.scratch and not c.pretrained]
    reference = pretrained or best
    # Only the weights should differ; among its depths, the one that did best without them is the fair one.
    controls.sort(key=lambda c: c.network != reference.network)
    control = controls[0] if controls else None
    over_scratch, over_control = advantages([(pretrained, scratch), (pretrained, control)], bootstrap)
    uncertainty, members = selection_uncertainty(ranking, per_item), possibly_best(bootstrap)
    reachable = _within_reach(ranking, facts.val_items)
    facts = replace(
        facts,
        best=best,
        ranking=tuple(ranking),
        candidates=len(ranking),
        tied_on_val=sum(c.selection_score == best.selection_score for c in ranking),
        undecided=uncertainty.undecided,
        compared_on_val=uncertainty.compared,
        optimism=uncertainty.optimism,
        possibly_best=members,
        runner_up=ranking[1] if len(ranking) > 1 else None,
        best_vs_rest=best_vs_rest(best, bootstrap, members),
        networks=len({c.network for c in ranking}),
        within_reach=len(reachable),
        fastest=_cheapest(reachable, "latency_ms"),
        smallest=_cheapest(reachable, "params"),
        fastest_pretrained=_cheaper_pretrained(best, ranking, "latency_ms"),
        smallest_pretrained=_cheaper_pretrained(best, ranking, "params"),
        scratch=scratch,
        pretrained=pretrained,
        control=control,
        over_scratch=over_scratch,
        over_control=over_control,
        val_items=uncertainty.items or facts.val_items,
        test_items=len(per_item[best.cell_id].hits) if best.cell_id in per_item else facts.test_items,
    )
    return replace(facts, need_for_pretraining=_need_for_pretraining(facts))


def _within_reach(ranking: Sequence[Candidate], val_items: int | None) -> list[Candidate]:
    """The best, and the first of every other network whose val accuracy is not clearly below."""
    best = ranking[0]
    if not val_items or best.val_acc is None:
        return []
    floor, _ = wilson_interval(best.val_acc, val_items)
    return _firsts([c for c in ranking if c is best or (c.val_acc is not None and c.val_acc >= floor)])


def _firsts(ranking: Sequence[Candidate]) -> list[Candidate]:
    """The first candidate of every network."""
    first: dict[tuple[str, float | None], Candidate] = {}
    for candidate in ranking:
        first.setdefault(candidate.network, candidate)
    return list(first.values())


def _cheapest(candidates: Sequence[Candidate], cost: str) -> Candidate | None:
    return min(
        (c for c in candidates if getattr(c, cost) is not None), key=lambda c: float(getattr(c, cost)), default=None
    )


def _cheaper_pretrained(best: Candidate, ranking: Sequence[Candidate], cost: str) -> Candidate | None:
    """The cheapest other pretrained network at its first depth, where it costs less than the best."""
    others = _firsts([c for c in ranking if c.pretrained and c.network != best.network])
    cheapest, best_cost = _cheapest(others, cost), getattr(best, cost)
    return cheapest if cheapest and best_cost is not None and getattr(cheapest, cost) < best_cost else None


def _need_for_pretraining(facts: Recommendation) -> str:
    best, scratch, pretrained = facts.best, facts.scratch, facts.pretrained
    if best is None or scratch is None or pretrained is None:
        return "unknown"
    if best.scratch:
        return "unclear" if facts.verdict_on(pretrained) == "worse" else "no"
    # A network with random weights that ranks first settles nothing by itself: the two in question are compared.
    if best is pretrained:
        verdict = facts.verdict_on(scratch)
    else:
        verdict = facts.over_scratch.verdict if facts.over_scratch else verdict_by_intervals(pretrained, scratch)
    return {"better": "yes", "worse": "no", "tied": "unclear"}[verdict]
