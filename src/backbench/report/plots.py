"""The pictures: drawn once by matplotlib, kept as PNG and SVG, and as an SVG that takes its colours from the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from backbench.analysis import grouped, labels, numbers, pareto
from backbench.report.placement import place

NAMES = ("train-against-test", "accuracy-against-latency")

# Each colour is used for one role only, so that the page can replace it by its own variable for light and dark.
# Blue and orange stay apart for every common kind of colour blindness.
INK, MUTED, GRID, WHISKER = "#1c2833", "#5a6773", "#dde3e9", "#c3cdd6"
TEST, TRAIN, GAP, OTHER = "#0b62a4", "#b45309", "#f3cfa3", "#7d8b98"
PAPER, HOLE = "#ffffff", "#fefefe"
ROLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    WHISKER: "var(--whisker)",
    TEST: "var(--test)",
    TRAIN: "var(--train)",
    GAP: "var(--gap)",
    OTHER: "var(--other)",
    PAPER: "none",
    HOLE: "var(--card)",
}

# More rows than this and the dumbbells show the best candidate of each backbone only.
MOST_ROWS = 48

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True)
class Picture:
    """One picture in its three forms; `alt` says in words what it shows, `inline` belongs inside an HTML page."""

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: str
    inline: str


def draw(table: pd.DataFrame) -> tuple[Picture, ...]:
    """The pictures that the table has numbers for; none when no cell is ok. The same table gives the same bytes."""
    rows = grouped(table)
    rows["label"] = labels(rows)
    drawn = (_train_against_test(rows), _accuracy_against_latency(rows))
    return tuple(picture for picture in drawn if picture is not None)


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
        _legend(figure, axes, handles)
        figures = [
            f"{r['label']}: train {numbers.percent(r['train_acc'])}, test {numbers.percent(r['test_acc'])}"
            for r in shown.head(12).to_dict(orient="records")
        ]
        more = f"; and {len(shown) - 12} more, in the table" if len(shown) > 12 else ""
        best_of = ", the best candidate of each backbone" if thinned else ""
        return _picture(
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
        _legend(figure, axes, handles)
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
        return _picture(
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


def _legend(figure: Figure, axes: Axes, handles: Sequence[Artist]) -> None:
    above = 1 + 0.12 / (figure.get_figheight() - 1)
    axes.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(-0.01, above),
        ncols=len(handles),
        borderpad=0,
        fontsize=9.5,
    )


def _picture(figure: Figure, name: str, title: str, caption: str, alt: str) -> Picture:
    with mpl.rc_context({"svg.hashsalt": name}):
        vector, raster = io.StringIO(), io.BytesIO()
        figure.savefig(vector, format="svg", bbox_inches="tight", pad_inches=0.12, metadata={"Date": None})
        figure.savefig(raster, format="png", bbox_inches="tight", pad_inches=0.12, dpi=160, metadata={"Software": None})
    svg = vector.getvalue()
    return Picture(name, title, caption, alt, raster.getvalue(), svg, _inline(svg, name, alt))


def _inline(svg: str, name: str, alt: str) -> str:
    """The drawing without prolog, ids made unique in the page, colours handed over to the page's variables."""
    body = svg[svg.index("<svg ") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style .*?</style>", "", body, flags=re.DOTALL)

    def adapt(match: re.Match[str]) -> str:
        # Only inside of tags: text between them is somebody's words. Neither `<` nor `>` stands unescaped in either.
        tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", match[0])
        tag = re.sub(r'(?<= )id="', f'id="{name}-', tag).replace("url(#", f"url(#{name}-")
        tag = re.sub(r'xlink:href="#', f'href="#{name}-', tag)
        return re.sub(r"#[0-9a-f]{6}\b", lambda colour: ROLES.get(colour[0], colour[0]), tag)

    body = re.sub(r"<[^<>]+>", adapt, body)
    opening = f'<svg role="img" aria-label="{escape(alt)}" viewBox='
    return re.sub(r"<svg [^<>]*?viewBox=", lambda _: opening, body, count=1)
