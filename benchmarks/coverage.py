"""Do the statistics keep their promises? Simulated once: what is true is known, and the shares must come out.

    python benchmarks/coverage.py

Right answers are drawn from a normal threshold model: every item has a difficulty that all candidates share, so that
candidates err on the same items as real networks do (correlation 0.7 on the latent scale). Every figure is a share of
`--cases` simulated test sets; the functions are those that the leaderboard and `backbench compare` call. The figures
go to benchmarks/coverage.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from backbench.analysis import Candidate, PerItem, recommend
from backbench.analysis.best_vs_rest import possibly_best
from backbench.analysis.bootstrap import intervals, optimism, resampled_means
from backbench.analysis.candidates import candidates
from backbench.analysis.comparison import compare
from backbench.analysis.metrics import wilson_interval
from backbench.analysis.model_confidence_set import confidence_p_values
from backbench.analysis.paired_tests import paired_bootstrap
from backbench.core import hardware
from backbench.core.columns import COLUMN_NAMES
from backbench.core.files import write_json

SIZES = (200, 2000)
ACCURACIES = (0.7, 0.95)
SHARED = 0.7
EQUALS = 10

Bools = NDArray[np.bool_]


def hits(
    accuracies: Sequence[float], items: int, rng: np.random.Generator, *, seeds: int = 1, spread: float = 0
) -> Bools:
    """Right answers [items, candidates, seeds]; `spread` is the deviation of a seed's threshold on the latent scale."""
    difficulty = rng.normal(size=(items, 1, 1))
    own = rng.normal(size=(items, len(accuracies), seeds))
    latent = np.sqrt(SHARED) * difficulty + np.sqrt(1 - SHARED) * own
    shifts = spread * rng.normal(size=(1, len(accuracies), seeds))
    # The threshold is set so that the mean over all seeds that could be has the accuracy asked for.
    thresholds = norm.ppf(np.array(accuracies))[None, :, None] * np.sqrt(1 + spread**2)
    return np.asarray(latent + shifts < thresholds)


def table(names: Sequence[str], found: Bools) -> tuple[pd.DataFrame, dict[str, PerItem]]:
    """The table that a sweep would have left of these answers, and the answers by cell; scores are in given order."""
    rows, answers = [], {}
    for place, name in enumerate(names):
        for seed in range(found.shape[2]):
            right = found[:, place, seed]
            cell = f"{name}-{seed}"
            low, high = wilson_interval(float(right.mean()), len(right))
            rows.append(
                dict.fromkeys(COLUMN_NAMES)
                | {"backbone": name, "weights": "imagenet", "freeze": "all-1", "image_size": 96, "seed": seed}
                | {"status": "ok", "test_acc": right.mean(), "test_acc_lo": low, "test_acc_hi": high}
                | {"selection_score": 0.9 - place / 100, "cell_id": cell, "dataset": "simulated"}
            )
            answers[cell] = PerItem(right)
    frame = pd.DataFrame(rows, columns=list(COLUMN_NAMES))
    scratch = frame["backbone"] == "scratch"
    return frame.assign(weights=frame["weights"].mask(scratch, "none")), answers


def share(outcomes: Any) -> float:
    """A share of cases, rounded."""
    return round(float(np.mean(outcomes)), 4)


def wilson(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> float:
    """How many 95 % intervals of one accuracy cover it."""
    ends = [wilson_interval(share, items) for share in rng.binomial(items, accuracy, cases) / items]
    return share([low <= accuracy <= high for low, high in ends])


def paired(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> dict[str, float]:
    """How many 95 % intervals of a difference cover it; equal candidates, and one that is two points behind."""
    found = {}
    for name, behind in (("equal", 0.0), ("two points apart", 0.02)):
        differences = np.empty((items, cases))
        for case in range(cases):
            both = hits((accuracy, accuracy - behind), items, rng)[:, :, 0]
            differences[:, case] = both[:, 0].astype(float) - both[:, 1]
        low, high = intervals(resampled_means(differences, rng=rng))
        rounding = 1e-9
        found[name] = share((low - rounding <= behind) & (behind <= high + rounding))
    return found


def a_candidate() -> Candidate:
    """Any candidate, to be given a name."""
    return candidates(table(["A"], np.ones((1, 1, 1), dtype=bool))[0])[0]


def named(model: Candidate, place: int, seeds: int) -> Candidate:
    """A candidate of its own."""
    ids = tuple(f"{place}-{seed}" for seed in range(seeds))
    return replace(model, label=str(place), backbone=str(place), cell_id=ids[0], cell_ids=ids, seeds=seeds)


def by_cell(found: Bools) -> dict[str, PerItem]:
    """Per-item results under the ids that `named` gives."""
    _, places, seeds = found.shape
    return {f"{place}-{seed}": PerItem(found[:, place, seed]) for place in range(places) for seed in range(seeds)}


def compared(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> float:
    """How many pairs of equals `backbench compare` tells apart."""
    first, second = (named(a_candidate(), place, 1) for place in range(2))
    claims = []
    for _ in range(cases):
        answers = by_cell(hits((accuracy, accuracy), items, rng))
        claims.append(compare(first, second, answers, dataset="", among=2).verdict != "tied")
    return share(claims)


def recommended(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> dict[str, float]:
    """How many recommendations among ten equals claim something: a win, a loss, or that pretraining is needed."""
    names = [*(f"N{place}" for place in range(EQUALS - 1)), "scratch"]
    claims, left_out = [], []
    for _ in range(cases):
        facts = recommend(*table(names, hits([accuracy] * EQUALS, items, rng)))
        claims.append(any(pair.verdict != "tied" for pair in facts.best_vs_rest) or facts.need_for_pretraining == "yes")
        left_out.append(len(facts.possibly_best) < EQUALS)
    return {"a false claim": share(claims), "the set leaves out an equal": share(left_out)}


def confidence_set(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> dict[str, float]:
    """How many sets hold the one that is truly best, of ten that are half a point apart; bootstrap alone and in use."""
    every = [named(a_candidate(), place, 1) for place in range(EQUALS)]
    alone, in_use, sizes = [], [], []
    for _ in range(cases):
        bootstrap = paired_bootstrap(
            every, by_cell(hits([accuracy - 0.005 * place for place in range(EQUALS)], items, rng))
        )
        alone.append(confidence_p_values(bootstrap.accuracies, bootstrap.draws)[0] > 0.05)
        members = possibly_best(bootstrap)
        in_use.append(members[0].cell_id == every[0].cell_id)
        sizes.append(len(members))
    mean_size = round(float(np.mean(sizes)), 2)
    return {"holds the best": share(in_use), "bootstrap alone": share(alone), "mean size": mean_size}


def seeded(accuracy: float, items: int, cases: int, rng: np.random.Generator) -> dict[str, Any]:
    """Candidates with several seeds: two-way intervals that cover, and equals that are told apart; half the cases."""
    found: dict[str, Any] = {}
    for spread in (0.0, 0.1):
        part: dict[str, float] = {}
        for seeds in (2, 3, 5):
            pair = [named(a_candidate(), place, seeds) for place in range(2)]
            claims, single, difference = [], [], []
            for _ in range(cases // 2):
                answers = by_cell(hits((accuracy, accuracy), items, rng, seeds=seeds, spread=spread))
                result = compare(pair[0], pair[1], answers, dataset="", among=2)
                claims.append(result.verdict != "tied")
                single.append((result.first.test_acc_lo or 0) <= accuracy <= (result.first.test_acc_hi or 0))
                difference.append(result.lead.low <= 0 <= result.lead.high)
            part[f"{seeds} seeds, equals told apart"] = share(claims)
            if result.first.over_seeds:
                part[f"{seeds} seeds, interval covers"] = share(single)
                part[f"{seeds} seeds, interval of the difference covers"] = share(difference)
        found[f"seeds vary by {spread:g} on the latent scale"] = part
    return found


def luck(cases: int, rng: np.random.Generator) -> dict[str, float]:
    """The winner's curse among equals on val (log-scores, standard error 0.035): what it is, and what is estimated."""
    true, estimated = [], []
    for _ in range(cases):
        logs = -0.5 + 0.5 * (
            np.sqrt(SHARED) * rng.normal(size=(200, 1)) + np.sqrt(1 - SHARED) * rng.normal(size=(200, 10))
        )
        draws = resampled_means(logs, rng=rng, rounds=500)
        true.append(np.exp(logs.mean(axis=0)).max() - np.exp(-0.5))
        estimated.append(optimism(np.exp(logs.mean(axis=0)), np.exp(draws)))
    return {"true": round(float(np.mean(true)), 4), "estimated": round(float(np.mean(estimated)), 4)}


CHECKS = {
    "95% Wilson interval covers": wilson,
    "95% paired bootstrap interval of a difference covers": paired,
    "compare tells equals apart": compared,
    "recommendation among ten equals": recommended,
    "95% model confidence set of ten": confidence_set,
    "several seeds": seeded,
}


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--only", choices=list(CHECKS), nargs="*", default=list(CHECKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    kept: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    kept |= {"device": hardware.cpu(), "cases": asked.cases, "correlation": SHARED}
    for name in asked.only:
        kept[name] = {}
        for items in SIZES:
            for accuracy in ACCURACIES:
                began = time.perf_counter()
                # Each figure has a stream of its own, so that it can be made again alone.
                rng = np.random.default_rng([list(CHECKS).index(name), items, round(100 * accuracy)])
                kept[name][f"{items} items, accuracy {accuracy}"] = found = CHECKS[name](
                    accuracy, items, asked.cases, rng
                )
                print(
                    f"{name}, {items} items, accuracy {accuracy}: {found} ({time.perf_counter() - began:.0f} s)",
                    flush=True,
                )
        write_json(asked.out, kept)
    kept["winner's curse of ten equals on val, in points of the selection score"] = luck(
        asked.cases, np.random.default_rng(0)
    )
    write_json(asked.out, kept)


if __name__ == "__main__":
    main()
