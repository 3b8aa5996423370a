"""The pictures of a table: which there are, and the two that show every candidate."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from backbench.analysis import ByCell, grouped, labels, numbers, pareto
from backbench.report import depth_plot
from backbench.report.drawing import (
    GAP,
    HOLE,
    INK,
    MUTED,
    OTHER,
    STYLE,
    TEST,
    TRAIN,
    WHISKER,
    Picture,
    legend,
    picture,
)
from backbench.report.placement import place

NAMES = ("train-against-test", depth_plot.NAME, "accuracy-against-latency")

# More rows than this and the dumbbells show the best candidate of each backbone only.
MOST_ROWS = 48


def draw(table: pd.DataFrame, answers: ByCell | None = None) -> tuple[Picture, ...]:
    """The pictures that the table has numbers for; none when no cell is ok. The same table gives the same bytes.

    `answers` maps `cell_id` to what the cell answered, for the intervals that stand in the captions.
    """
    rows = grouped(table)
    rows["label"] = labels(rows)
    drawn = (_train_against_test(rows), depth_plot.draw(table, answers), _accuracy_against_latency(rows))
    return tuple(one for one in drawn if one is not None)


def _train_against_test(rows: pd.DataFrame) -> Picture | None:
    shown = rows[rows["test_acc"].notna() & rows["train_acc"].notna()]
    thinned = len(shown) > MOST_ROWS
    if thinned:
        shown = shown.drop_duplicates("backbone")
    if shown.empty:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 1.15 + 0.36 * len(shown)))
        axes = figure.subplots()
        y = np.arange(len(shown))
        train, test = 100 * shown["train_acc"].to_numpy(), 100 * shown["test_acc"].to_numpy()
        low = 100 * shown["test_acc_lo"].fillna(shown["test_acc"]).to_numpy()
        high = 100 * shown["test_acc_hi"].fillna(shown["test_acc"]).to_numpy()
        axes.hlines(y, test, train, color=GAP, linewidth=7, zorder=2)
        axes.hlines(y, low, high, color=TEST, linewidth=1.6, zorder=3)
        axes.vlines([*low, *high], [*(y - 0.15), *(y - 0.15)], [*(y + 0.15), *(y + 0.15)], color=TEST, linewidth=1.6)
        axes.plot(train, y, "o", markersize=8, color=HOLE, markeredgecolor=TRAIN, markeredgewidth=2, zorder=4)
        axes.plot(test, y, "o", markersize=8, color=TEST, zorder=5)
        for i, gap in enumerate(shown["train_acc"] - shown["test_acc"]):
            axes.text(
                1.105, i, numbers.points(gap), transform=axes.get_yaxis_transform(), ha="right", va="center_baseline"
            )
        axes.text(
            1.105, -0.95, "gap, points", transform=axes.get_yaxis_transform(), ha="right", va="center", color=MUTED
        )
        axes.set_yticks(y, shown["label"], color=INK, va="center_baseline")
        axes.set_ylim(len(shown) - 0.4, -0.6)
        left = min(low.min(), train.min())
        axes.set_xlim(max(0.0, left - 0.04 * (100 - left) - 1), 101)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
        axes.set_xlabel("accuracy, %")
        handles = [
            Line2D([], [], marker="o", color=TEST, markersize=7, linewidth=1.6, label="test, with 95% interval"),
            Patch(color=GAP, label="gap"),
            Line2D(
                [], [], marker="o", color=HOLE, markeredgecolor=TRAIN, markeredgewidth=2, markersize=7, linewidth=0,
                label="train",
            ),
        ]  # fmt: skip
        legend(figure, axes, handles)
        figures = [
            f"{r['label']}: train {numbers.percent(r['train_acc'])}, test {numbers.percent(r['test_acc'])}"
            for r in shown.head(12).to_dict(orient="records")
        ]
        more = f"; and {len(shown) - 12} more, in the table" if len(shown) > 12 else ""
        best_of = ", the best candidate of each backbone" if thinned else ""
        return picture(
            figure,
            "train-against-test",
            "Train against test",
            f"Ordered by rank{best_of}. The band between the two dots is the overfitting gap: the longer it is, the "
            "more the network has learned its training images by heart.",
            f"Train and test accuracy of {len(shown)} candidates in order of rank. {'; '.join(figures)}{more}.",
        )


def _accuracy_against_latency(rows: pd.DataFrame) -> Picture | None:
    shown = rows[rows["test_acc"].notna() & (rows["latency_ms"] > 0)].reset_index(drop=True)
    if shown.empty:
        return None
    front = pareto(shown).to_numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 5.2))
        axes = figure.subplots()
        x, y = shown["latency_ms"].to_numpy(), 100 * shown["test_acc"].to_numpy()
        low = 100 * shown["test_acc_lo"].fillna(shown["test_acc"]).to_numpy()
        high = 100 * shown["test_acc_hi"].fillna(shown["test_acc"]).to_numpy()
        axes.set_xscale("log")
        _frame(axes, x, low, high)
        axes.vlines(x, low, high, color=WHISKER, linewidth=3, zorder=1)
        order = np.flatnonzero(front)[np.argsort(x[front], kind="stable")]
        axes.plot(x[order], y[order], color=TEST, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
        learned = ((shown["weights"] != "none") & (shown["backbone"] != "scratch")).to_numpy()
        for mask, colour in ((front, TEST), (~front, OTHER)):
            for kind, marker in ((learned, "o"), (~learned, "s")):
                axes.plot(x[mask & kind], y[mask & kind], marker, color=colour, markersize=8, zorder=4)
        axes.set_xlabel("latency of one image, ms (logarithmic)")
        axes.set_ylabel("test accuracy, %")
        axes.grid(axis="both")
        handles = [
            Line2D(
                [], [], marker="o", color=TEST, markersize=7, linewidth=1.2, linestyle=(0, (4, 3)), label="Pareto front"
            ),
            Line2D([], [], marker="o", color=OTHER, markersize=7, linewidth=0, label="the others"),
        ]
        if not learned.all():
            handles.append(
                Line2D([], [], marker="s", color=OTHER, markersize=7, linewidth=0, label="square: not pretrained")
            )
        legend(figure, axes, handles)
        figure.tight_layout()
        unnamed = _name_points(figure, axes, shown, front)
        members = ", ".join(
            f"{r['label']} ({numbers.plain(r['latency_ms'])} ms, {numbers.percent(r['test_acc'])})"
            for r in shown.loc[order].to_dict(orient="records")
        )
        caption = (
            "On the Pareto front, no other candidate has both a better selection score and a lower latency. It is "
            "found on val and drawn at test accuracy; grey bars are 95% intervals."
        )
        if unnamed:
            caption += f" {unnamed} points have no room for their names; the table has them all."
        return picture(
            figure,
            "accuracy-against-latency",
            "Accuracy against latency",
            caption,
            f"Test accuracy against latency of {len(shown)} candidates. "
            f"On the Pareto front, from fast to slow: {members}.",
        )


def _frame(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Limits with room for names at the right, ticks at 1, 2 and 5."""
    left, right = math.log10(x.min()), math.log10(x.max())
    room = max(right - left, 0.5)
    axes.set_xlim(10 ** (left - 0.08 * room), 10 ** (right + 0.16 * room))
    height = max(high.max() - low.min(), 4.0)
    axes.set_ylim(low.min() - 0.06 * height, min(high.max() + 0.06 * height, 101.0))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))


def _name_points(figure: Figure, axes: Axes, shown: pd.DataFrame, front: np.ndarray) -> int:
    """Write names where there is room, the front's first, then by rank; returns how many found none."""
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    points = axes.transData.transform(np.column_stack([shown["latency_ms"], 100 * shown["test_acc"]]))
    order = sorted(range(len(shown)), key=lambda i: (not front[i], i))
    texts = [axes.text(0, 0, shown["label"][i], fontsize=9, color=INK if front[i] else MUTED) for i in order]
    sizes = [(box.width, box.height) for box in (text.get_window_extent(renderer) for text in texts)]
    area = axes.get_window_extent(renderer)
    line = _along(points[front])
    spots = place(points[order], sizes, obstacles=points, thin=line, area=(area.x0, area.y0, area.x1, area.y1))
    inverse = axes.transData.inverted()
    for text, size, spot in zip(texts, sizes, spots, strict=True):
        if spot is None:
            text.remove()
            continue
        text.set_position(tuple(inverse.transform((spot[0], spot[1] + size[1] / 2))))
        text.set_verticalalignment("center_baseline")
    return sum(spot is None for spot in spots)


def _along(points: np.ndarray) -> np.ndarray:
    """Points every few pixels along the line through the given ones, from left to right."""
    ends = points[np.argsort(points[:, 0], kind="stable")]
    pieces = [np.empty((0, 2))]
    for start, end in pairwise(ends):
        steps = max(2, int(np.hypot(*(end - start)) / 5))
        pieces.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    return np.concatenate(pieces)
