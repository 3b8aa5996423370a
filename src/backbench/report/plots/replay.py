"""The plot of a replay: what a search loses at which share of the time, and how often it has the best. Files only."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from backbench.core import formatting
from backbench.report.plots import style
from backbench.report.plots.plot import Axis, Plot

NAME = "replay"
STRATEGIES = {"halving": "successive halving", "one-epoch": "one epoch of all, then the best"}
ROLES = ("test", "train")

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
    rows = _named(summary(replayed)).sort_values("budget", kind="stable")
    width = max(map(len, rows["label"]))
    heading = f"{'budget':>7} {'search':{width}} {'spent':>7} {'cells':>6} {'points lost':>12} {'80 % of draws':>16}"
    lines = [f"{heading} {'had the best':>13}"]
    for row in rows.to_dict(orient="records"):
        band = f"{formatting.points(row['regret_low'])} to {formatting.points(row['regret_high'])}"
        lines.append(
            f"{row['budget']:>7.0%} {row['label']:{width}} {row['spent']:>7.1%} {row['cells']:>6.0f}"
            f" {formatting.points(row['regret']):>12} {band:>16} {row['survived']:>13.0%}"
        )
    return "\n".join(lines)


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(label=[STRATEGIES.get(name, name) for name in rows["strategy"]])


def prepare(replayed: pd.DataFrame, *, dataset: str) -> Plot:
    """One row per budget and strategy, as `summary`, with the strategy's name as `label`."""
    frame = _named(summary(replayed))
    rows = frame.to_dict(orient="records")
    return Plot(
        NAME,
        title="What a budget would have cost",
        caption=f"{replayed['draw'].nunique()} replays of the sweep of {dataset}, with val images drawn anew and the"
        " seeds in another order. Left: what the choice lacks to that of the whole sweep, median and the middle 80 % of"
        " the replays. Right: how often the whole sweep's choice was measured.",
        alt="; ".join(
            f"{row['label']} at {row['budget']:.0%} of the time loses {formatting.points(row['regret'])} points"
            for row in rows
        ),
        frame=frame,
        legend=tuple(
            (f"line pointed {role}", name) for role, name in zip(ROLES, frame["label"].unique(), strict=False)
        ),
    )


def matplotlib_figure(plot: Plot) -> Figure:
    """Regret with its band, and survival, over the share of the exhaustive time, one line a strategy."""
    shares = sorted((100 * plot.frame["budget"]).unique())
    budget = Axis(
        "budget", "budget, % of the whole sweep's time", (shares[0] / 1.1, shares[-1] * 1.1), shares, log=True
    )
    figure = Figure(figsize=(9.6, 3.9))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(wspace=0.24)
    for role, (_, rows) in zip(ROLES, plot.frame.groupby("label", sort=False), strict=False):
        x, line = 100 * rows["budget"], {"color": style.COLOURS[role], "markersize": 5, "linewidth": 2}
        low, high = 100 * rows["regret_low"], 100 * rows["regret_high"]
        left.fill_between(x, low, high, color=style.COLOURS[role], alpha=0.14, linewidth=0)
        left.plot(x, 100 * rows["regret"], "o-", **line)
        right.plot(x, 100 * rows["survived"], "o-", **line)
    left.axhline(0, color=style.MUTED, linewidth=1, zorder=0)
    left.set_ylabel("points of test accuracy lost")
    right.set(ylabel="draws that kept the best, %", ylim=(-4, 104))
    for axes in (left, right):
        style.set_axes(axes, x=budget)
        axes.grid(axis="x", visible=False)
        axes.grid(axis="y")
    style.legend(figure, left, plot.legend)
    return figure


def files(replayed: pd.DataFrame, *, dataset: str) -> tuple[bytes, str]:
    """PNG and SVG of the plot."""
    return style.files(prepare(replayed, dataset=dataset), matplotlib_figure)
