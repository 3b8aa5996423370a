"""What a search would have found at which budget, had it met what an exhaustive sweep measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from backbench.budget.history import SweepHistory, past
from backbench.budget.protocol import Arm, Measurement, PerItemScores, Round, Strategy
from backbench.budget.strategies import STRATEGIES
from backbench.core import formatting
from backbench.core.files import whole_file, write_text
from backbench.report.plots import replay as replay_plot
from backbench.results import store

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)
DRAWS = 20


@dataclass(frozen=True)
class ReplayResult:
    """One search: the seconds it took, the arm it would recommend, and how many cells it finished."""

    seconds: float
    chosen: Arm | None
    measured: int
    cells: frozenset[str]


def play(past: SweepHistory, strategy: Strategy, *, budget: float) -> ReplayResult:
    """Let a search run, and again with what it knows, until nothing new fits into so many seconds.

    A step that does not fit into what its round may spend is left out, unless nothing else does and the budget has it.
    """
    spent, touched = 0.0, set[str]()
    known: dict[Measurement, PerItemScores] = {}

    def measure(asked: Round) -> dict[Measurement, PerItemScores]:
        nonlocal spent
        until, started = spent + asked.share * (budget - spent), False
        new = [step for step in asked.steps if step not in known]
        for limit in (until, budget):
            for step in new:
                seconds = past.cost(step) + (0.0 if step.arm.network in touched else past.shared[step.arm.network])
                if step in known or spent + seconds > limit or (started and limit == budget):
                    continue
                started = True
                spent += seconds
                touched.add(step.arm.network)
                known[step] = past.seen(step)
        return {step: known[step] for step in asked.steps if step in known}

    before = -1
    while len(known) > before:
        before = len(known)
        search = strategy(past.arms)
        asked: Round | None = next(search)
        while asked is not None:
            try:
                asked = search.send(measure(asked))
            except StopIteration:
                asked = None
    done = {step.cell: seen for step, seen in known.items() if step.effort.complete}
    return ReplayResult(spent, best(past.arms, done), len(done), frozenset(done))


def best(arms: Iterable[Arm], done: Mapping[str, PerItemScores]) -> Arm | None:
    """The arm with the best mean selection score over the seeds that were finished, as on the leaderboard."""
    scores = {
        arm: fmean(float(np.exp(done[cell].mean())) for cell in arm.cells if cell in done)
        for arm in arms
        if any(cell in done for cell in arm.cells)
    }
    return max(scores, key=scores.__getitem__) if scores else None


def replay(past: SweepHistory, *, shares: Sequence[float] = SHARES, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """One row per strategy, share of the exhaustive seconds, and draw.

    Each draw is another sweep as it might have been: val images drawn with replacement, and the seeds of each arm in
    another order. `regret` is what the choice lacks in test accuracy to the exhaustive sweep's choice on the same draw,
    `regret_best` to the best of all on test; `survived` whether a cell of the exhaustive choice was finished.
    """
    rows = []
    for draw in range(draws):
        drawn = _drawn(past, np.random.default_rng([seed, draw]))
        exhaustive = best(drawn.arms, drawn.final)
        if exhaustive is None:
            continue
        top = max(drawn.test.values())
        for name, strategy in STRATEGIES.items():
            for share in shares:
                played = play(drawn, strategy, budget=share * past.total)
                found = drawn.test[played.chosen] if played.chosen else 0.0
                rows.append(
                    {
                        "strategy": name,
                        "budget": share,
                        "draw": draw,
                        "spent": played.seconds / past.total,
                        "cells": played.measured,
                        "chosen": played.chosen.label if played.chosen else "",
                        "regret": drawn.test[exhaustive] - found,
                        "regret_best": top - found,
                        "survived": any(cell in played.cells for cell in exhaustive.cells),
                    }
                )
    return pd.DataFrame(rows)


def _drawn(past: SweepHistory, rng: np.random.Generator) -> SweepHistory:
    n = len(next(iter(past.final.values())))
    items = rng.integers(0, n, n)
    arms = {arm: replace(arm, cells=tuple(rng.permutation(arm.cells).tolist())) for arm in past.arms}
    return replace(
        past,
        arms=tuple(arms.values()),
        final={cell: values[items] for cell, values in past.final.items()},
        tried={trial: values[items] for trial, values in past.tried.items()},
        test={arms[arm]: accuracy for arm, accuracy in past.test.items()},
    )


def write(directory: Path, *, draws: int = DRAWS) -> Iterator[str]:
    """Replay the sweep of a folder, leave `replay.csv` and `plots/replay.*` there, and say what it came to.

    Raises RequestError where the folder has no sweep that measured everything.
    """
    dataset = store.read_run(directory).dataset.name
    known = past(directory)
    yield (
        f"{dataset}: {len(known.arms)} candidates, {formatting.duration(known.total)} in all;"
        f" {draws} replays with val images drawn anew and the seeds in another order"
    )
    found = replay(known, draws=draws)
    png, svg = replay_plot.files(found, dataset=dataset)
    write_text(directory / "replay.csv", found.to_csv(index=False, lineterminator="\n"))
    for ending, content in (("png", png), ("svg", svg.encode())):
        with whole_file(directory / "plots" / f"replay.{ending}") as temporary:
            temporary.write_bytes(content)
    yield ""
    yield replay_plot.as_text(found)
    yield ""
    yield f"plot: {directory / 'plots' / 'replay.png'}"
