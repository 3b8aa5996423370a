"""The picture of freeze depths: a panel per network, from fully frozen to fully trained, with the gap in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from backbench.analysis import ByCell, depths, numbers
from backbench.report.drawing import GAP, HOLE, INK, MUTED, STYLE, TEST, TRAIN, WHISKER, Picture, picture

NAME = "accuracy-against-freeze-depth"

# Panels beyond this would be too many to look at; the networks that rank first are shown.
MOST_PANELS = 12
IN_A_ROW = 4

FAINT = 0.6
DASHED: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (3, 2))}


def draw(table: pd.DataFrame, answers: ByCell | None = None) -> Picture | None:
    """Train and test accuracy over the freeze depths; None unless some network has two."""
    found = depths.series(table)
    if not found:
        return None
    shown = found[:MOST_PANELS]
    left_out = f" The table has {len(found) - len(shown)} more." if len(found) > len(shown) else ""
    with mpl.rc_context(STYLE):
        return picture(
            _figure(shown),
            NAME,
            "Accuracy and gap against freeze depth",
            f"{depths.sentence(depths.unfreezing(table, answers))} From left to right more of the network is trained; "
            f"the band between train and test is the overfitting gap.{left_out}",
            f"Train and test accuracy of {len(shown)} network{'s' * (len(shown) > 1)} over the freeze depths. "
            + "; ".join(_in_words(name, rows) for name, rows in shown)
            + ".",
        )


def _figure(shown: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    every = {pair for _, rows in shown for pair in zip(rows["order"], rows["freeze"], strict=True)}
    places = {freeze: position for position, (_, freeze) in enumerate(sorted(every))}
    # Long axes need wide panels.
    columns = min(len(shown), IN_A_ROW if len(places) <= 3 else 3 if len(places) <= 5 else 2)
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(8.4, 1.3 + 2.5 * lines), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.06))
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
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), borderpad=0, fontsize=9.5)
    figure.supxlabel("freeze depth, and the share of the parameters that it freezes", fontsize=10, color=MUTED)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, places: dict[str, int]) -> None:
    x = rows["freeze"].map(places).to_numpy()
    train, test = 100 * rows["train_acc"].to_numpy(), 100 * rows["test_acc"].to_numpy()
    low = 100 * rows["test_acc_lo"].fillna(rows["test_acc"]).to_numpy()
    high = 100 * rows["test_acc_hi"].fillna(rows["test_acc"]).to_numpy()
    axes.fill_between(x, test, train, color=GAP, alpha=FAINT, linewidth=0, zorder=1)
    axes.plot(x, train, "o", color=TRAIN, markerfacecolor=HOLE, markersize=5.5, **DASHED, zorder=3)
    axes.vlines(x, low, high, color=TEST, linewidth=1.6, zorder=4)
    axes.plot(x, test, "o-", color=TEST, markersize=6, linewidth=1.6, zorder=5)
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
        f"{row['freeze']} train {numbers.percent(row['train_acc'])}, test {numbers.percent(row['test_acc'])}"
        for row in rows.to_dict(orient="records")
    )
    return f"{name}: {', '.join(points)}"
