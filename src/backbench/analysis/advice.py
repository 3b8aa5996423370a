"""The recommendation: which candidate to use, what speaks for it, and what the numbers cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backbench.analysis import significance, wording
from backbench.analysis.frames import grouped, labels, tidy
from backbench.metrics import wilson_interval

Predictions = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Candidate:
    """One backbone at one freeze depth, its seeds averaged; shares in 0..1, None where nothing was measured."""

    label: str
    cell_id: str
    backbone: str
    weights: str
    freeze: str
    seeds: int
    selection_score: float | None
    train_acc: float | None
    val_acc: float | None
    test_acc: float | None
    test_acc_lo: float | None
    test_acc_hi: float | None
    test_acc_min: float | None
    test_acc_max: float | None
    gap: float | None
    params: float | None
    flops: float | None
    latency_ms: float | None

    @property
    def scratch(self) -> bool:
        """Whether this is the hand-made CNN."""
        return self.backbone == "scratch"

    @property
    def pretrained(self) -> bool:
        """Whether it started from learned weights."""
        return not self.scratch and self.weights != "none"


@dataclass(frozen=True)
class Rival:
    """A candidate compared with the best one on the same test items.

    `wins` are the items that only the best has right, `losses` those that only the rival has right; `p_value` is of the
    exact McNemar test, `p_holm` the same corrected for all rivals of this recommendation.
    Where a candidate has several seeds, the predictions of the lowest one are compared.
    """

    candidate: Candidate
    wins: int
    losses: int
    p_value: float
    p_holm: float

    @property
    def verdict(self) -> str:
        """Seen from the best: `better`, `worse` or `tied`."""
        if self.p_holm >= significance.ALPHA:
            return "tied"
        return "better" if self.wins > self.losses else "worse"


@dataclass(frozen=True)
class Recommendation:
    """The answer, its facts and its wording.

    `best` ranks first on `selection_score`. A candidate is *within reach* of it when its val accuracy is not below the
    95 % Wilson interval of the best one's val accuracy; `fastest` and `smallest` are chosen among those (the best is
    one of them) and are None when the number of val items or the cost is unknown. `need_for_pretraining` is `yes`,
    `no`, `unclear` (measured, but chance or a conflict of val and test is not excluded) or `unknown` (not measured).
    `sentences` say all of it, the answer first; the last of them, `cautions`, say how far to trust it.
    """

    best: Candidate | None = None
    candidates: int = 0
    tied_on_val: int = 0
    runner_up: Candidate | None = None
    rivals: tuple[Rival, ...] = ()
    reach: int = 0
    fastest: Candidate | None = None
    smallest: Candidate | None = None
    scratch: Candidate | None = None
    pretrained: Candidate | None = None
    control: Candidate | None = None
    need_for_pretraining: str = "unknown"
    val_items: int | None = None
    test_items: int | None = None
    failed: int = 0
    skipped: int = 0
    pruned: int = 0
    sentences: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    def verdict_on(self, other: Candidate) -> str:
        """How the best compares with another on test: `better`, `worse` or `tied`.

        By the paired test where there is one, else by whether the two intervals overlap, which is more cautious.
        """
        for rival in self.rivals:
            if rival.candidate.cell_id == other.cell_id:
                return rival.verdict
        return _by_intervals(self.best, other)


def recommendation(
    table: pd.DataFrame,
    predictions: Predictions | None = None,
    labels: NDArray[np.integer] | None = None,
    *,
    val_items: int | None = None,
    test_items: int | None = None,
) -> Recommendation:
    """Which candidate to use and why.

    `predictions` maps `cell_id` to test class probabilities [n, C] and may load them on demand, `labels` are the n test
    labels: with both, every candidate is compared with the best by a paired test. `val_items` and `test_items` are the
    sizes of the splits. Raises ValueError for predictions that do not fit the labels.
    """
    rows = tidy(table)
    statuses = rows["status"].value_counts()
    facts = Recommendation(
        val_items=val_items,
        test_items=len(labels) if labels is not None else test_items,
        failed=int(statuses.get("failed", 0)),
        skipped=int(statuses.get("skipped", 0)),
        pruned=int(statuses.get("pruned", 0)),
    )
    candidates = _candidates(table)
    if candidates:
        facts = _compare(facts, candidates, _rivals(candidates, predictions, labels))
    reasons = rows.loc[rows["status"] != "ok", "reason"]
    common = str(reasons.value_counts().index[0]) if len(reasons) else ""
    cautions = wording.cautions(facts)
    return replace(facts, sentences=(*wording.sentences(facts, common_reason=common), *cautions), cautions=cautions)


def _candidates(table: pd.DataFrame) -> list[Candidate]:
    groups = grouped(table)
    groups["label"] = labels(groups)
    names = Candidate.__dataclass_fields__
    return [
        Candidate(**{name: _value(row[name]) for name in names})
        for row in groups[list(names)].to_dict(orient="records")
    ]


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _rivals(
    candidates: list[Candidate], predictions: Predictions | None, labels: NDArray[np.integer] | None
) -> tuple[Rival, ...]:
    """The others against the first, where predictions of both exist; one set at a time is held in memory."""
    best, *others = candidates
    if predictions is None or labels is None or (probabilities := predictions.get(best.cell_id)) is None:
        return ()
    best_hits = significance.hits(probabilities, labels)
    rivals = []
    for other in others:
        if (probabilities := predictions.get(other.cell_id)) is not None:
            wins, losses, p = significance.mcnemar(best_hits, significance.hits(probabilities, labels))
            rivals.append(Rival(other, wins, losses, p, p))
    corrected = significance.holm(np.array([rival.p_value for rival in rivals]))
    return tuple(replace(rival, p_holm=float(p)) for rival, p in zip(rivals, corrected, strict=True))


def _compare(facts: Recommendation, candidates: list[Candidate], rivals: tuple[Rival, ...]) -> Recommendation:
    best = candidates[0]
    scratch = next((c for c in candidates if c.scratch), None)
    pretrained = next((c for c in candidates if c.pretrained), None)
    controls = [c for c in candidates if not c.scratch and not c.pretrained]
    reference = pretrained or best
    # The control says most where only the weights differ from the candidate it stands beside.
    controls.sort(key=lambda c: (c.backbone != reference.backbone, c.freeze != reference.freeze))
    reach = _within_reach(candidates, facts.val_items)
    facts = replace(
        facts,
        best=best,
        candidates=len(candidates),
        tied_on_val=sum(c.selection_score == best.selection_score for c in candidates),
        runner_up=candidates[1] if len(candidates) > 1 else None,
        rivals=rivals,
        reach=len(reach),
        fastest=min((c for c in reach if c.latency_ms is not None), key=lambda c: c.latency_ms or 0, default=None),
        smallest=min((c for c in reach if c.params is not None), key=lambda c: c.params or 0, default=None),
        scratch=scratch,
        pretrained=pretrained,
        control=controls[0] if controls else None,
    )
    return replace(facts, need_for_pretraining=_need(facts))


def _within_reach(candidates: list[Candidate], val_items: int | None) -> list[Candidate]:
    best = candidates[0]
    if not val_items or best.val_acc is None:
        return []
    floor, _ = wilson_interval(best.val_acc, val_items)
    return [best, *(c for c in candidates[1:] if c.val_acc is not None and c.val_acc >= floor)]


def _need(facts: Recommendation) -> str:
    best, scratch, pretrained = facts.best, facts.scratch, facts.pretrained
    if best is None or scratch is None or pretrained is None:
        return "unknown"
    if best.scratch:
        return "unclear" if facts.verdict_on(pretrained) == "worse" else "no"
    # A network with random weights that ranks first settles nothing by itself: the two in question are compared.
    verdict = facts.verdict_on(scratch) if best is pretrained else _by_intervals(pretrained, scratch)
    return {"better": "yes", "worse": "no", "tied": "unclear"}[verdict]


def _by_intervals(first: Candidate | None, second: Candidate) -> str:
    if first is None or first.test_acc_lo is None or first.test_acc_hi is None:
        return "tied"
    if second.test_acc_hi is not None and first.test_acc_lo > second.test_acc_hi:
        return "better"
    return "worse" if second.test_acc_lo is not None and first.test_acc_hi < second.test_acc_lo else "tied"
