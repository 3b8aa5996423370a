"""The wording of all sentences, compared as a whole with reviewed snapshots; facts are asserted in the other files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from support.tables import cell, frame, lost, right

from backbench.analysis import Advantage, BestVersusOther, Comparison, PerItem, Recommendation, recommend
from backbench.analysis.candidates import candidates
from backbench.analysis.comparison import compare
from backbench.analysis.freeze_depth import UnfreezingGain, unfreezing_gains
from backbench.analysis.prose.best_vs_rest import comparisons, tied_means
from backbench.analysis.prose.freeze_depth import sentence as unfreezing_sentence
from backbench.analysis.prose.phrases import named
from backbench.analysis.prose.transferability_ranking import sentence as transferability_sentence
from backbench.analysis.transferability_ranking import TransferabilityRanking

Snapshot = Callable[[str, str], None]

A, B, C, D = (f"{name}-all-imagenet-0" for name in "ABCD")
SCRATCH = "scratch-none-none-0"


def cases(texts: Mapping[str, str]) -> str:
    """One text for a snapshot: each case with its title."""
    text = "\n\n".join(f"== {title}\n{text}" for title, text in texts.items())
    return text.replace("\N{NO-BREAK SPACE}", " ") + "\n"


def words(facts: Recommendation) -> str:
    return "\n".join([*facts.sentences, *(f"[{c.severity}: {c.code}] {c.text}" for c in facts.caveats)])


def first(count: int, of: int = 200) -> PerItem:
    return right(range(count), of)


def test_ranking_and_cost(snapshot: Snapshot) -> None:
    tied = [cell(name, 0.9, 0.8, flops=flops) for name, flops in (("A", 3), ("B", 1), ("C", 2))]
    two_depths = frame(cell("A", 0.9, 0.80, freeze="all-1"), cell("A", 0.8, 0.79), cell("scratch", 0.2, 0.2))
    no_gap = cell("A", 0.9, 0.9, train_acc=0.89, latency_ms=None, params=None, flops=None)
    texts = {
        "two candidates and scratch": words(
            recommend(frame(cell("A", 0.90, 0.792), cell("B", 0.80, 0.95), cell("scratch", 0.5, 0.41)), val_items=1000)
        ),
        "two depths of one backbone": words(recommend(two_depths, val_items=1000)),
        "one candidate": words(recommend(frame(cell("A", 0.9, 0.8)), val_items=50)),
        "no gap, no cost": words(recommend(frame(no_gap))),
        "test accuracy unknown": words(recommend(frame(cell("A", 0.9, 0.9) | {"test_acc": None, "gap": None}))),
        "all tied on val": words(recommend(frame(*tied))),
        "first two tied on val": words(recommend(frame(*tied[:2], cell("D", 0.5, 0.5)))),
        "freeze depths": "\n".join(
            named(candidates(frame(cell("A", 0.9, 0.9, freeze=freeze, weights=weights)))[0])
            for weights in ("imagenet", "none")
            for freeze in ("all", "all-1", "all-3", "none", "")
        ),
    }
    snapshot("ranking_and_cost", cases(texts))


def test_cheaper_networks(snapshot: Snapshot) -> None:
    best = cell("best", 0.900, 0.80, latency_ms=50.0, params=50_000_000)
    fast = cell("fast", 0.855, 0.78, latency_ms=4.0, params=9_000_000)
    small = cell("small", 0.860, 0.77, latency_ms=6.0, params=2_000_000)
    both = cell("both", 0.870, 0.79, latency_ms=2.0, params=1_000_000)
    apart = frame(
        cell("best", 0.9, 0.90, latency_ms=50.0, params=50_000_000),
        cell("fast", 0.6, 0.71, latency_ms=4.0, params=9_000_000, freeze="all-1"),
        cell("fast", 0.5, 0.60, latency_ms=3.9, params=9_000_000),
        cell("small", 0.55, 0.65, latency_ms=60.0, params=2_000_000),
    )
    per_item = {
        "best-all-imagenet-0": first(90, 100),
        "fast-all-1-imagenet-0": first(71, 100),
        "fast-all-imagenet-0": first(60, 100),
    }
    texts = {
        "fastest and smallest within reach": words(recommend(frame(best, fast, small), val_items=200)),
        "one is both": words(recommend(frame(best, fast, both), val_items=200)),
        "the best is both": words(recommend(frame(both | {"selection_score": 0.95}, best), val_items=200)),
        "none within reach": words(recommend(apart, val_items=1000)),
        "none within reach, with predictions": words(
            recommend(apart[apart["backbone"] != "small"], per_item, val_items=1000)
        ),
        "none within reach, none cheaper": words(
            recommend(frame(cell("A", 0.9, 0.9), cell("B", 0.5, 0.5)), val_items=1000)
        ),
    }
    snapshot("cheaper_networks", cases(texts))


def test_need_for_pretraining(snapshot: Snapshot) -> None:
    def of(*rows: dict[str, Any], per_item: dict[str, PerItem] | None = None) -> str:
        return "\n".join(s for s in recommend(frame(*rows), per_item).sentences if "pretrain" in s or "random" in s)

    small_lead = {A: first(300, 400), B: first(270, 400), SCRATCH: first(305, 400)}
    texts = {
        "scratch was not requested": of(cell("A", 0.9, 0.8)),
        "scratch did not finish": of(cell("A", 0.9, 0.8), lost("scratch", "pruned", "no time", freeze="none")),
        "only scratch finished": of(cell("scratch", 0.9, 0.8), lost("A", "skipped", "no weights")),
        "needed": of(cell("A", 0.9, 0.7), cell("scratch", 0.5, 0.5), per_item={A: first(140), SCRATCH: first(100)}),
        "not needed": of(
            cell("scratch", 0.95, 0.96), cell("A", 0.9, 0.8), per_item={A: first(160), SCRATCH: first(192)}
        ),
        "val and test disagree": of(cell("scratch", 0.95, 0.80), cell("A", 0.90, 0.91)),
        "may be chance, by intervals": of(cell("A", 0.9, 0.91), cell("scratch", 0.8, 0.90)),
        "may be chance, by the paired test": of(
            cell("A", 0.9, 0.52),
            cell("scratch", 0.5, 0.50),
            per_item={A: first(52, 100), SCRATCH: right(np.r_[:47, 52:55], 100)},
        ),
        "only the interval excludes zero": of(
            cell("A", 0.9, 0.75), cell("B", 0.8, 0.7), cell("scratch", 0.5, 0.7625), per_item=small_lead
        ),
        "random weights instead of scratch": of(cell("A", 0.9, 0.8), cell("A", 0.3, 0.25, weights="none")),
        "random weights beside scratch": of(
            cell("A", 0.9, 0.8),
            cell("A", 0.3, 0.25, weights="none"),
            cell("scratch", 0.5, 0.5),
            per_item={A: first(160), "A-all-none-0": first(50), SCRATCH: first(100)},
        ),
    }
    snapshot("need_for_pretraining", cases(texts))


def test_best_vs_rest(snapshot: Snapshot) -> None:
    def of(per_item: dict[str, PerItem], names: str = "ABCD") -> str:
        rows = [
            cell(name, 0.9 - i / 100, per_item[f"{name}-all-imagenet-0"].hits.mean()) for i, name in enumerate(names)
        ]
        facts = recommend(frame(*rows), per_item)
        assert facts.best is not None
        return "\n".join(comparisons(facts, facts.best))

    best, other = recommend(frame(cell("A", 0.9, 0.7), cell("B", 0.8, 0.6))).ranking
    by_set = BestVersusOther(other, 20, 5, 0.004, 0.012, Advantage(0.1, 0.02, 0.18), both_possibly_best=True)
    set_alone = Recommendation(best=best, possibly_best=(best, other), best_vs_rest=(by_set,))
    many = {f"{name}-all-imagenet-0": right(np.r_[:280, 290 + i], 400) for i, name in enumerate("ABCD")}
    many |= {f"{name}-all-imagenet-0": first(150 + i, 400) for i, name in enumerate("EFGHIJ")}
    near = right(np.r_[8:300, 300:302], 400)
    outside = {
        A: right(np.r_[:207, 210:217], 300),
        B: first(100, 300),
        C: right(np.r_[:207, 217], 300),
        D: right(np.r_[:207, 210:217, 218:221], 300),
    }
    texts = {
        "one tied, one beaten": of({A: first(300, 400), B: near, C: first(160, 400)}, "ABC"),
        "several tied, many beaten": of(many, "ABCDEFGHIJ"),
        "all beaten": of({A: first(180), B: first(120), C: first(100)}, "ABC"),
        "all equal": of(dict.fromkeys((A, B, C), first(160)), "ABC"),
        "one outside the set": of(outside),
        "the set alone says tied": "\n".join(comparisons(set_alone, best)),
        "one is better on test": of({A: first(50, 100), B: first(90, 100)}, "AB"),
        "several are better on test": of(
            {A: first(50, 100), B: first(90, 100), C: right(range(1, 92), 100), D: first(9, 100)}
        ),
        "no predictions": "\n".join(recommend(frame(cell("A", 0.9, 0.5), cell("B", 0.8, 0.9))).sentences[3:4]),
        "what the mark 'tied' means": f"{tied_means(set_alone)}\n{tied_means(Recommendation())}",
    }
    snapshot("best_vs_rest", cases(texts))


def test_seeds(snapshot: Snapshot) -> None:
    def of(*correct: int) -> str:
        rows = [cell("A", 0.9, count / 200, freeze="all-1", seed=seed) for seed, count in enumerate(correct)]
        per_item = {row["cell_id"]: first(count) for row, count in zip(rows, correct, strict=True)}
        return words(recommend(frame(*rows, cell("B", 0.5, 0.25)), per_item | {B: first(50)}))

    snapshot("seeds", cases({"two seeds": of(160, 180), "six seeds": of(150, 154, 158, 162, 166, 170)}))


def test_caveats(snapshot: Snapshot) -> None:
    def of(table: pd.DataFrame, per_item: dict[str, PerItem] | None = None, **sizes: int) -> str:
        return "\n".join(f"[{c.severity}: {c.code}] {c.text}" for c in recommend(table, per_item, **sizes).caveats)

    two = frame(cell("A", 0.52, 0.8), cell("B", 0.51, 0.7))
    lead = 0.02 + 0.2 * (-1.0) ** np.arange(64)
    three = frame(cell("A", 0.52, 0.8), cell("B", 0.51, 0.7), cell("C", 0.505, 0.7))
    logs = {A: np.zeros(64), B: -lead, C: -lead - 0.01}
    per_item = {cell_id: right([], 999, values) for cell_id, values in logs.items()}
    far = {**per_item, C: right([], 999, -lead - 0.5)}
    texts = {
        "small val and test": of(two, val_items=50, test_items=150),
        "tiny val and test": of(two, val_items=1, test_items=1),
        "the only other candidate is undecided": of(two, {A: per_item[A], B: per_item[B]}),
        "one of two is undecided": of(three, far),
        "any of two is undecided": of(three, per_item),
    }
    snapshot("caveats", cases(texts))


def test_nothing_finished(snapshot: Snapshot) -> None:
    unfinished = frame(
        lost("A", "failed", "boom\nTraceback"), lost("B", "skipped", "no weights"), lost("C", "failed", "boom"),
        lost("D", "pruned", "no time"), lost("E", "unmeasured", "the sweep did not come to it"),
    )  # fmt: skip
    texts = {"no cell": words(recommend(frame())), "none finished": words(recommend(unfinished))}
    snapshot("nothing_finished", cases(texts))


def test_comparison(snapshot: Snapshot) -> None:
    def of(rows: list[dict[str, Any]], per_item: dict[str, PerItem], *, turned: bool = False) -> Comparison:
        pair = candidates(frame(*rows))
        one, other = reversed(pair) if turned else pair
        return compare(one, other, per_item, dataset="fruit", among=6)

    rows = [cell("A", 0.9, 0.9), cell("scratch", 0.5, 0.5)]
    clear = {A: first(90, 100), SCRATCH: right(np.r_[:45, 90:95], 100)}
    seeds = [cell("A", 0.9, test, freeze="all-1", seed=seed) for seed, test in ((0, 0.8), (1, 0.9))]
    of_seeds = {
        "A-all-1-imagenet-0": first(80, 100),
        "A-all-1-imagenet-1": first(90, 100),
        SCRATCH: right(np.r_[:45, 95:100], 100),
    }
    texts = {
        "a win": str(of(rows, clear)),
        "a loss": str(of(rows, clear, turned=True)),
        "no decision": str(of(rows, {A: first(52, 100), SCRATCH: right(np.r_[:47, 52:55], 100)})),
        "the interval alone": str(of(rows, {A: first(5, 100), SCRATCH: right([], 100)})),
        "equal predictions": str(of(rows, {A: first(6, 10), SCRATCH: first(6, 10)})),
        "as many right": str(of(rows, {A: first(6, 10), SCRATCH: right(range(4, 10), 10)})),
        "two seeds": str(of([*seeds, rows[1]], of_seeds)),
        "in a notebook": of(rows, clear)._repr_html_(),
        "as an object": repr(of(rows, clear)),
    }
    snapshot("comparison", cases(texts))


def test_unfreezing(snapshot: Snapshot) -> None:
    def of(per_item: dict[str, PerItem] | None = None, **accuracies: tuple[float, float]) -> tuple[UnfreezingGain, ...]:
        rows = [
            cell(name.removeprefix("random_"), 0.5 + depth / 10, test, freeze="all-1" if depth else "all",
                 weights="none" if name.startswith("random_") else "imagenet")
            for name, tests in accuracies.items()
            for depth, test in enumerate(tests)
        ]  # fmt: skip
        return unfreezing_gains(frame(*rows), per_item)

    answers = {A: right(np.r_[np.arange(40), 70:80], 100), "A-all-1-imagenet-0": first(70, 100)}
    chance = {A: first(52, 100), "A-all-1-imagenet-0": right(np.r_[:48, 52:54], 100)}
    gains = {
        "one gains": of(A=(0.70, 0.74)),
        "one gains, one loses": of(A=(0.70, 0.74), B=(0.70, 0.685)),
        "three networks": of(A=(0.70, 0.74), B=(0.70, 0.685), C=(0.7, 0.71)),
        "four networks": of(A=(0.70, 0.74), B=(0.70, 0.685), C=(0.7, 0.71), D=(0.7, 0.72)),
        "no change": of(A=(0.7, 0.7004)),
        "with predictions": of(answers, A=(0.5, 0.7)),
        "may be chance": of(chance, A=(0.52, 0.5)),
        "controls are left out": of(A=(0.70, 0.74), random_A=(0.2, 0.5)),
        "controls alone": of(random_A=(0.2, 0.5)),
        "nothing unfrozen": (),
    }
    snapshot("unfreezing", cases({title: unfreezing_sentence(of_case) for title, of_case in gains.items()}))


def test_transferability(snapshot: Snapshot) -> None:
    def of(regret: float, networks: int, prior_regret: float = 0.2) -> str:
        prior = TransferabilityRanking("imagenet_top1", "Published ImageNet accuracy", 0.1, 0.0, prior_regret, 0.1)
        ridge = TransferabilityRanking("ridge_loo_acc", "Ridge regression", 0.5, 0.4, regret, 0.0)
        logme = TransferabilityRanking("logme", "LogME", None, None, regret, 0.0)
        return transferability_sentence((prior, logme, ridge), networks)

    texts = {
        "no score is better than the prior": of(0.2, 12),
        "a score is better": of(0.05, 12),
        "a perfect score, few networks": of(0.0, 4),
        "nothing to gain": of(0.0, 12, prior_regret=0.0),
    }
    snapshot("transferability", cases(texts))
