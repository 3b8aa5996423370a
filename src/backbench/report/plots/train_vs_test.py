"""Train against test: every candidate as a dumbbell whose bar is the overfitting gap."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from backbench.core import formatting
from backbench.report.loader import ReportData, contenders
from backbench.report.plots import style, vega
from backbench.report.plots.plot import Axis, Plot, percentages, ticks
from backbench.report.plots.vega import VegaPlot

NAME = "train-against-test"
COLUMNS = ["label", "backbone", "train", "test", "low", "high", "points"]
LEGEND = (
    ("line pointed test", "test, with 95% interval"),
    ("band gap", "gap, in points at the right"),
    ("ring train", "train"),
)

# More rows than this and the dumbbells show the best candidate of each backbone only.
MOST_ROWS = 48
MOST_IN_WORDS = 12

# Pixels at the right of the page's plot for the gaps in figures.
MARGIN = 52


def prepare(stored: ReportData) -> Plot | None:
    """Every candidate with both accuracies, best first; None without any."""
    rows = stored.rows[stored.rows["test_acc"].notna() & stored.rows["train_acc"].notna()]
    thinned = len(rows) > MOST_ROWS
    if thinned:
        rows = rows.drop_duplicates("backbone")
    if rows.empty:
        return None
    rows = percentages(rows)
    best_of = ", the best candidate of each backbone" if thinned else ""
    in_words = [
        f"{row['label']}: train {formatting.percent(row['train_acc'])}, test {formatting.percent(row['test_acc'])}"
        for row in rows.head(MOST_IN_WORDS).to_dict(orient="records")
    ]
    more = f"; and {len(rows) - MOST_IN_WORDS} more, in the table" if len(rows) > MOST_IN_WORDS else ""
    return Plot(
        NAME,
        title="Train against test",
        caption=f"Ordered by rank{best_of}. The band between the two dots is the overfitting gap: the longer it is,"
        f" the more the network has learned its training images by heart.{_finding(rows)}",
        alt=f"Train and test accuracy of {len(rows)} candidates in order of rank. {'; '.join(in_words)}{more}.",
        frame=rows[COLUMNS],
        legend=LEGEND,
    )


def _finding(rows: pd.DataFrame) -> str:
    """Which gap is widest, of the candidates that are no controls."""
    rows = contenders(rows)
    if len(rows) < 2:
        return ""
    widest, narrowest = rows.loc[rows["gap"].idxmax()], rows.loc[rows["gap"].idxmin()]
    if widest["points"] == narrowest["points"]:
        return f" It is the same for all, {widest['points']} points."
    return (
        f" It is widest for {widest['label']} ({widest['points']} points) and narrowest for {narrowest['label']} "
        f"({narrowest['points']})."
    )


def _accuracy(frame: pd.DataFrame) -> Axis:
    lowest = min(frame["low"].min(), frame["train"].min())
    left = float(max(0.0, lowest - 0.04 * (100 - lowest) - 1))
    return Axis("test", "accuracy, %", (left, 100.0), ticks(left, 100))


def matplotlib_figure(plot: Plot) -> Figure:
    """A row per candidate, the gap in points at its right."""
    frame = plot.frame
    figure, axes = style.new_axes(8.4, 1.15 + 0.36 * len(frame), x=_accuracy(frame))
    y = np.arange(len(frame))
    test, train = frame["test"], frame["train"]
    axes.hlines(y, test, train, color=style.GAP, linewidth=7, zorder=2)
    interval = (test - frame["low"], frame["high"] - test)
    axes.errorbar(test, y, xerr=interval, fmt="none", ecolor=style.TEST, elinewidth=1.6, capsize=4, capthick=1.6)
    dots: dict[str, Any] = {"markersize": 8, "clip_on": False}
    axes.plot(train, y, "o", color=style.HOLE, markeredgecolor=style.TRAIN, markeredgewidth=2, zorder=4, **dots)
    axes.plot(test, y, "o", color=style.TEST, zorder=5, **dots)
    for i, points in enumerate(frame["points"]):
        axes.text(1.105, i, points, va="center_baseline", ha="right", transform=axes.get_yaxis_transform())
    axes.text(1.105, -0.95, "gap, points", color=style.MUTED, ha="right", transform=axes.get_yaxis_transform())
    axes.set_yticks(y, frame["label"], color=style.INK, va="center_baseline")
    axes.set_ylim(len(frame) - 0.4, -0.6)
    style.legend(figure, axes, plot.legend)
    return figure


def vega_plot(plot: Plot) -> VegaPlot:
    """The same rows; to the right of 100 % there is room for the gaps in points."""
    x = vega.x_of(_accuracy(plot.frame), range=[0, alt.expr(f"width - {MARGIN}")])
    base = alt.Chart().encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelColor=vega.INK, labelLimit=220)),
        opacity=vega.faded(),
        tooltip=vega.tooltip("label", "test", "train", "points"),
    )
    layers = (
        base.mark_bar(height=9, color=vega.GAP).encode(x=x, x2="train:Q"),
        base.mark_rule(color=vega.TEST, size=1.8).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=70, color=vega.TRAIN, fill=vega.CARD, strokeWidth=2).encode(x="train:Q"),
        base.mark_point(size=80, color=vega.TEST, filled=True).encode(x="test:Q"),
        base.mark_text(align="right", color=vega.INK).encode(x=alt.value("width"), text="points:N"),
    )
    return VegaPlot({"": vega.specification(layers, height=26 * len(plot.frame))})
