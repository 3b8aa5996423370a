"""Accuracy and gap against freeze depth: on paper a panel per network, to touch one line per network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from backbench.analysis import freeze_depth
from backbench.analysis.prose.freeze_depth import sentence
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
    WHISKER,
    Numbers,
    Picture,
    percentages,
    picture,
    ticks,
)
from backbench.report.live import Live
from backbench.report.loader import ReportData

NAME = "accuracy-against-freeze-depth"

# Panels beyond this would be too many to look at; the networks that rank first are shown.
MOST_PANELS = 12
IN_A_ROW = 4

FAINT = 0.6
DASHED: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (3, 2))}


def draw(stored: ReportData) -> Picture | None:
    """Train and test accuracy over the freeze depths; None unless some network has two."""
    found = freeze_depth.series(stored.table)
    if not found:
        return None
    shown = found[:MOST_PANELS]
    left_out = f" On paper {len(found) - len(shown)} more are left out." if len(found) > len(shown) else ""
    with mpl.rc_context(STYLE):
        return picture(
            _figure(shown),
            name=NAME,
            title="Accuracy and gap against freeze depth",
            caption=f"{sentence(freeze_depth.unfreezing_gains(stored.table, stored.answers))} From left to right more"
            f" of the network is trained.{left_out}",
            alt=f"Train and test accuracy of {len(shown)} network{'s' * (len(shown) > 1)} over the freeze depths. "
            + "; ".join(_in_words(name, rows) for name, rows in shown)
            + ".",
            numbers=_numbers(found),
            live=live.wanted(lambda: _live(found)),
        )


def _numbers(found: Sequence[tuple[str, pd.DataFrame]]) -> Numbers:
    rows = (
        (
            name,
            row["freeze"],
            formatting.percent(row["frozen_params_pct"] / 100),
            formatting.percent(row["test_acc"]),
            formatting.percent(row["train_acc"]),
            formatting.points(row["gap"]),
        )
        for name, series in found
        for row in series.to_dict(orient="records")
    )
    return Numbers(("Network", "Freeze", "Frozen share", "Test", "Train", "Gap, points"), tuple(rows))


def _figure(shown: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    every = {pair for _, rows in shown for pair in zip(rows["order"], rows["freeze"], strict=True)}
    places = {freeze: position for position, (_, freeze) in enumerate(sorted(every))}
    # Long axes need wide panels.
    columns = min(len(shown), IN_A_ROW if len(places) <= 3 else 3 if len(places) <= 5 else 2)
    lines = math.ceil(len(shown) / columns)
    # In inches: a panel, what stands between two, and the margins. Constrained layout takes a second to find the same.
    panel, between, top, bottom = 1.8, 0.85, 0.75, 0.7
    height = lines * panel + (lines - 1) * between + top + bottom
    figure = Figure(figsize=(8.4, height))
    figure.subplots_adjust(
        left=0.08, right=0.99, top=1 - top / height, bottom=bottom / height, wspace=0.08, hspace=between / panel
    )
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for i, (axes, (name, rows)) in enumerate(zip(grid.flat, shown, strict=False)):
        for _, others in [*shown[:i], *shown[i + 1 :]]:
            axes.plot(others["freeze"].map(places), 100 * others["test_acc"], color=WHISKER, linewidth=1.2, zorder=2)
        _panel(axes, rows, places)
        axes.set_title(name, fontsize=10, color=INK, loc="left")
    low = 100 * min(rows[["test_acc_lo", "test_acc", "train_acc"]].min().min() for _, rows in shown)
    grid.flat[0].set_ylim(max(0.0, low - 0.04 * (100 - low) - 1), 101)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, %")
    handles = [
        Line2D([], [], marker="o", color=TEST, markersize=6, linewidth=1.6, label="test, with 95% interval"),
        Patch(facecolor=GAP, alpha=FAINT, linewidth=0, label="gap"),
        Line2D([], [], marker="o", color=TRAIN, markerfacecolor=HOLE, markersize=6, **DASHED, label="train"),
        Line2D([], [], color=WHISKER, linewidth=1.2, label="test, the other networks"),
    ][: 4 if len(shown) > 1 else 3]
    key: dict[str, Any] = {"loc": "lower left", "ncols": len(handles), "borderpad": 0, "fontsize": 9.5}
    figure.legend(handles=handles, bbox_to_anchor=(0.07, 1 - (top - 0.42) / height), **key)
    below = "freeze depth, and the share of the parameters that it freezes"
    figure.text(0.535, 0.05 / height, below, ha="center", color=MUTED)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, places: dict[str, int]) -> None:
    x = rows["freeze"].map(places).to_numpy()
    train, test = 100 * rows["train_acc"].to_numpy(), 100 * rows["test_acc"].to_numpy()
    low = 100 * rows["test_acc_lo"].fillna(rows["test_acc"]).to_numpy()
    high = 100 * rows["test_acc_hi"].fillna(rows["test_acc"]).to_numpy()
    axes.fill_between(x, test, train, color=GAP, alpha=FAINT, linewidth=0, zorder=1)
    axes.plot(x, train, "o", color=TRAIN, markerfacecolor=HOLE, markersize=5.5, **DASHED, zorder=3, clip_on=False)
    axes.vlines(x, low, high, color=TEST, linewidth=1.6, zorder=4)
    axes.plot(x, test, "o-", color=TEST, markersize=6, linewidth=1.6, zorder=5, clip_on=False)
    shares = dict(zip(rows["freeze"], rows["frozen_params_pct"], strict=True))
    axes.set_xticks(list(places.values()), [_tick(freeze, shares.get(freeze, np.nan)) for freeze in places])
    axes.set_xlim(-0.35, max(places.values()) + 0.35)
    axes.tick_params(axis="both", labelsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y")


def _tick(freeze: str, share: float) -> str:
    return f"{freeze}\n{share:.0f}%" if np.isfinite(share) else f"{freeze}\n"


def _in_words(name: str, rows: pd.DataFrame) -> str:
    points = (
        f"{row['freeze']} train {formatting.percent(row['train_acc'])}, test {formatting.percent(row['test_acc'])}"
        for row in rows.to_dict(orient="records")
    )
    return f"{name}: {', '.join(points)}"


def _live(found: Sequence[tuple[str, pd.DataFrame]]) -> Live:
    rows = pd.concat([percentages(series).assign(label=name) for name, series in found], ignore_index=True)
    rows["gap"] = rows["train"] - rows["test"]
    order = list(dict.fromkeys(rows.sort_values("order", kind="stable")["freeze"]))
    views = {
        "test accuracy": _specification(rows, order, "test", "test accuracy, %"),
        "overfitting gap": _specification(rows, order, "gap", "gap, points"),
    }
    key = (("line test", found[0][0]), ("line other", "the other networks"))
    return Live(views, key, choice="Measure", focus=key[0][1])


def _specification(rows: pd.DataFrame, order: Sequence[str], column: str, title: str) -> dict[str, Any]:
    import altair as alt

    columns = ["label", "backbone", "freeze", "test", "train", "low", "high", "points", "gap"]
    low, high = (rows["low"].min(), rows["high"].max()) if column == "test" else (rows["gap"].min(), rows["gap"].max())
    room = max(0.05 * (high - low), 0.5)
    limits = (low - room, min(high + room, 101.0))
    x = alt.X(
        "freeze:N", sort=list(order), title="freeze depth", axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.4)
    )
    scale = alt.Scale(domain=limits, nice=False)
    y = alt.Y(f"{column}:Q", scale=scale, axis=alt.Axis(title=title, values=ticks(*limits), format=".4~g"))
    base = live.rows_of("depths").encode(
        x=x,
        y=y,
        detail="label:N",
        tooltip=live.tooltip("freeze", "train", "points"),
    )
    focus = base.transform_filter(live.FOCUS)
    layers: list[Any] = [
        base.mark_line(color=live.OTHER, strokeWidth=1.5, opacity=0.45),
        base.mark_point(filled=True, size=45, color=live.OTHER, opacity=0.6),
        focus.mark_line(color=live.TEST, strokeWidth=2.5),
        focus.mark_point(filled=True, size=90, color=live.TEST, opacity=1),
    ]
    if column == "test":
        layers.insert(
            2,
            focus.mark_rule(color=live.TEST, size=1.8).encode(y=alt.Y("low:Q", scale=scale, title=title), y2="high:Q"),
        )
    return live.specification(layers, {"depths": rows[columns]}, height=320, first=str(rows["label"].iloc[0]))
