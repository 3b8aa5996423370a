"""Train against test: every candidate as a dumbbell whose bar is the overfitting gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from backbench.core import formatting
from backbench.report import live
from backbench.report.drawing import (
    GAP,
    HOLE,
    INK,
    MUTED,
    STYLE,
    TEST,
    TRAIN,
    Picture,
    legend,
    percentages,
    picture,
    ticks,
)
from backbench.report.live import Live
from backbench.report.loader import ReportData, contenders

NAME = "train-against-test"

# More rows than this and the dumbbells show the best candidate of each backbone only.
MOST_ROWS = 48
TOLD = 12

# Pixels at the right of the live picture for the gaps in figures.
MARGIN = 52


def draw(stored: ReportData) -> Picture | None:
    """Every candidate with both accuracies, best first; None without any."""
    rows = stored.rows
    shown = rows[rows["test_acc"].notna() & rows["train_acc"].notna()]
    thinned = len(shown) > MOST_ROWS
    if thinned:
        shown = shown.drop_duplicates("backbone")
    if shown.empty:
        return None
    shown = percentages(shown)
    best_of = ", the best candidate of each backbone" if thinned else ""
    told = [
        f"{row['label']}: train {formatting.percent(row['train_acc'])}, test {formatting.percent(row['test_acc'])}"
        for row in shown.head(TOLD).to_dict(orient="records")
    ]
    more = f"; and {len(shown) - TOLD} more, in the table" if len(shown) > TOLD else ""
    with mpl.rc_context(STYLE):
        return picture(
            _figure(shown),
            name=NAME,
            title="Train against test",
            caption=f"Ordered by rank{best_of}. The band between the two dots is the overfitting gap: the longer it is,"
            f" the more the network has learned its training images by heart.{_finding(shown)}",
            alt=f"Train and test accuracy of {len(shown)} candidates in order of rank. {'; '.join(told)}{more}.",
            live=live.wanted(lambda: _live(shown)),
        )


def _finding(shown: pd.DataFrame) -> str:
    """Which gap is widest, of the candidates that are no controls."""
    shown = contenders(shown)
    if len(shown) < 2:
        return ""
    gaps = shown["train_acc"] - shown["test_acc"]
    widest, narrowest = shown.loc[gaps.idxmax()], shown.loc[gaps.idxmin()]
    if widest["points"] == narrowest["points"]:
        return f" It is the same for all, {widest['points']} points."
    return (
        f" It is widest for {widest['label']} ({widest['points']} points) and narrowest for {narrowest['label']} "
        f"({narrowest['points']})."
    )


def _left(shown: pd.DataFrame) -> float:
    left = min(shown["low"].min(), shown["train"].min())
    return float(max(0.0, left - 0.04 * (100 - left) - 1))


def _figure(shown: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(8.4, 1.15 + 0.36 * len(shown)))
    axes = figure.subplots()
    y = np.arange(len(shown))
    train, test, low, high = (shown[name].to_numpy() for name in ("train", "test", "low", "high"))
    axes.hlines(y, test, train, color=GAP, linewidth=7, zorder=2)
    axes.hlines(y, low, high, color=TEST, linewidth=1.6, zorder=3)
    axes.vlines([*low, *high], [*(y - 0.15), *(y - 0.15)], [*(y + 0.15), *(y + 0.15)], color=TEST, linewidth=1.6)
    axes.plot(train, y, "o", markersize=8, color=HOLE, markeredgecolor=TRAIN, markeredgewidth=2, zorder=4)
    axes.plot(test, y, "o", markersize=8, color=TEST, zorder=5)
    right: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right"}
    for i, points in enumerate(shown["points"]):
        axes.text(1.105, i, points, va="center_baseline", **right)
    axes.text(1.105, -0.95, "gap, points", va="center", color=MUTED, **right)
    axes.set_yticks(y, shown["label"], color=INK, va="center_baseline")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(_left(shown), 101)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xticks(ticks(_left(shown), 100))
    axes.set_xlabel("accuracy, %")
    ring: dict[str, Any] = {"markeredgecolor": TRAIN, "markeredgewidth": 2, "markersize": 7, "linewidth": 0}
    handles = [
        Line2D([], [], marker="o", color=TEST, markersize=7, linewidth=1.6, label="test, with 95% interval"),
        Patch(color=GAP, label="gap"),
        Line2D([], [], marker="o", color=HOLE, label="train", **ring),
    ]
    legend(figure, axes, handles)
    return figure


def _live(shown: pd.DataFrame) -> Live:
    import altair as alt

    columns = ["label", "backbone", "train", "test", "low", "high", "points"]
    left = _left(shown)
    # To the right of 100 % there is room for the gaps, written out.
    scale = alt.Scale(domain=[left, 100], range=[0, alt.expr(f"width - {MARGIN}")], nice=False)
    axis = alt.Axis(
        title="accuracy, %",
        values=ticks(left, 100),
        format=".4~g",
        grid=True,
        domain=False,
        labelOverlap=True,
        labelSeparation=6,
    )
    base = live.rows_of("candidates").encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelColor=live.INK, labelLimit=220)),
        opacity=live.faded(),
        tooltip=live.tooltip("train", "points"),
    )
    layers: Sequence[Any] = (
        base.mark_bar(height=9, color=live.GAP).encode(x=alt.X("test:Q", scale=scale, axis=axis), x2="train:Q"),
        base.mark_rule(color=live.TEST, size=1.8).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=70, color=live.TRAIN, fill=live.CARD, strokeWidth=2).encode(x="train:Q"),
        base.mark_point(size=80, color=live.TEST, filled=True).encode(x="test:Q"),
        base.mark_text(align="right", color=live.INK).encode(x=alt.value("width"), text="points:N"),
    )
    key = (
        ("dot test", "test, with 95% interval"),
        ("band gap", "gap, in points at the right"),
        ("ring train", "train"),
    )
    specification = live.specification(layers, {"candidates": shown[columns]}, height=26 * len(shown))
    return Live({"": specification}, key)
