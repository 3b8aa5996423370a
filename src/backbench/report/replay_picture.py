"""The picture of a replay: what a search loses at which share of the time, and how often it has the best."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from backbench.core import formatting as text
from backbench.report.drawing import GRID, MUTED, STYLE, TEST, TRAIN, Numbers, Picture, legend, picture

NAMES = {"halving": "successive halving", "one-epoch": "one epoch of all, then the best"}
COLOURS = (TEST, TRAIN)

# Of the draws, between these.
BAND = (0.1, 0.9)


def summary(replayed: pd.DataFrame) -> pd.DataFrame:
    """One row per budget and strategy: medians over the draws, the band of the regret, and how often the best survived.

    Columns: budget, strategy, spent, cells, regret, regret_low, regret_high, regret_best, survived.
    """
    groups = replayed.groupby(["budget", "strategy"], sort=False)
    medians = groups[["spent", "cells", "regret", "regret_best"]].median()
    low, high = (groups["regret"].quantile(share) for share in BAND)
    medians.insert(3, "regret_low", low)
    medians.insert(4, "regret_high", high)
    return medians.assign(survived=groups["survived"].mean()).reset_index()


def as_text(replayed: pd.DataFrame) -> str:
    """The summary for the terminal."""
    rows = summary(replayed)
    width = max(len(NAMES.get(name, name)) for name in rows["strategy"])
    heading = f"{'budget':>7} {'search':{width}} {'spent':>7} {'cells':>6} {'points lost':>12} {'80 % of draws':>16}"
    lines = [f"{heading} {'had the best':>13}"]
    for row in rows.sort_values("budget", kind="stable").to_dict(orient="records"):
        band = f"{text.points(row['regret_low'])} to {text.points(row['regret_high'])}"
        lines.append(
            f"{row['budget']:>7.0%} {NAMES.get(row['strategy'], row['strategy']):{width}} {row['spent']:>7.1%}"
            f" {row['cells']:>6.0f} {text.points(row['regret']):>12} {band:>16} {row['survived']:>13.0%}"
        )
    return "\n".join(lines)


def drawn(replayed: pd.DataFrame, *, dataset: str) -> Picture:
    """Regret with its band, and survival, over the share of the exhaustive time, one line a strategy."""
    rows = summary(replayed)
    draws = replayed["draw"].nunique()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.9))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(wspace=0.24)
        handles = []
        for (name, found), colour in zip(rows.groupby("strategy", sort=False), COLOURS, strict=False):
            x = 100 * found["budget"]
            left.fill_between(x, 100 * found["regret_low"], 100 * found["regret_high"], color=colour, alpha=0.14, lw=0)
            handles += left.plot(x, 100 * found["regret"], "o-", color=colour, ms=5, lw=2, label=NAMES.get(name, name))
            right.plot(x, 100 * found["survived"], "o-", color=colour, ms=5, lw=2)
        left.axhline(0, color=MUTED, lw=1, zorder=0)
        left.set_ylabel("points of test accuracy lost")
        right.set_ylabel("draws that kept the best, %")
        right.set_ylim(-4, 104)
        for axes in (left, right):
            _shares(axes, 100 * rows["budget"].to_numpy("float64"))
        legend(figure, left, handles)
        shown = rows.to_dict(orient="records")
        return picture(
            figure,
            name="replay",
            title="What a budget would have cost",
            caption=(
                f"{draws} replays of the sweep of {dataset}, with val images drawn anew and the seeds in another order."
                " Left: what the choice lacks to that of the whole sweep, median and the middle 80 % of the replays."
                " Right: how often the whole sweep's choice was measured."
            ),
            alt=_alt(shown),
            numbers=Numbers(
                ("Budget", "Search", "Spent", "Points lost", "Kept the best"),
                tuple(
                    (
                        f"{row['budget']:.0%}",
                        NAMES.get(row["strategy"], row["strategy"]),
                        text.percent(row["spent"]),
                        text.points(row["regret"]),
                        text.percent(row["survived"]),
                    )
                    for row in shown
                ),
            ),
        )


def _shares(axes: Axes, shares: np.ndarray) -> None:
    places = sorted(set(shares.tolist()))
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel("budget, % of the whole sweep's time")
    axes.grid(axis="y", color=GRID)


def _alt(rows: list[dict[str, float]]) -> str:
    said = [f"{NAMES.get(str(row['strategy']), row['strategy'])} at {row['budget']:.0%} of the time loses"
            f" {text.points(row['regret'])} points" for row in rows]  # fmt: skip
    return "; ".join(said)
