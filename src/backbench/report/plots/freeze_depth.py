"""Accuracy and gap against freeze depth: in files a panel per network, on the page one line per network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backbench.analysis import freeze_depth as facts
from backbench.analysis.prose.freeze_depth import sentence
from backbench.core import formatting
from backbench.report.loader import ReportData
from backbench.report.plots import style, vega
from backbench.report.plots.plot import Axis, Plot, PlotTable, percentages, ticks
from backbench.report.plots.vega import VegaPlot

NAME = "accuracy-against-freeze-depth"
COLUMNS = ["label", "backbone", "freeze", "order", "frozen_params_pct", "test", "train", "low", "high", "gap", "points"]
PANEL_LEGEND = (
    ("line pointed test", "test, with 95% interval"),
    ("band gap", "gap"),
    ("ring dash train", "train"),
    ("line whisker", "test, the other networks"),
)

# Panels beyond this would be too many to look at; the networks that rank first are shown.
MOST_PANELS = 12
IN_A_ROW = 4

# In inches: a panel, what stands between two, and the margins. Constrained layout takes a second to find the same.
WIDTH, PANEL, BETWEEN, TOP, BOTTOM = 8.4, 1.8, 0.85, 0.75, 0.7
FAINT = 0.6


def prepare(stored: ReportData) -> Plot | None:
    """Train and test accuracy over the freeze depths; None unless some network has two."""
    networks = facts.series(stored.table)
    if not networks:
        return None
    shown = networks[:MOST_PANELS]
    left_out = len(networks) - len(shown)
    return Plot(
        NAME,
        title="Accuracy and gap against freeze depth",
        caption=f"{sentence(facts.unfreezing_gains(stored.table, stored.answers))} From left to right more of the"
        f" network is trained.{f' On paper {left_out} more are left out.' if left_out else ''}",
        alt=f"Train and test accuracy of {len(shown)} network{'s' * (len(shown) > 1)} over the freeze depths. "
        + "; ".join(_in_words(name, rows) for name, rows in shown)
        + ".",
        frame=pd.concat([percentages(rows).assign(label=name) for name, rows in networks], ignore_index=True)[COLUMNS],
        legend=(("line pointed test", networks[0][0]), ("line other", "the other networks")),
        focus=networks[0][0],
        table=PlotTable(
            ("Network", "Freeze", "Frozen share", "Test", "Train", "Gap, points"),
            tuple(
                (
                    name,
                    row["freeze"],
                    *(formatting.percent(row[column]) for column in ("frozen_share", "test_acc", "train_acc")),
                    formatting.points(row["gap"]),
                )
                for name, rows in networks
                for row in rows.assign(frozen_share=rows["frozen_params_pct"] / 100).to_dict(orient="records")
            ),
        ),
    )


def _in_words(name: str, rows: pd.DataFrame) -> str:
    points = (
        f"{row['freeze']} train {formatting.percent(row['train_acc'])}, test {formatting.percent(row['test_acc'])}"
        for row in rows.to_dict(orient="records")
    )
    return f"{name}: {', '.join(points)}"


def _depths(frame: pd.DataFrame) -> list[str]:
    """The labels of the freeze depths, the most frozen first."""
    return list(dict.fromkeys(frame.sort_values("order", kind="stable")["freeze"]))


def matplotlib_figure(plot: Plot) -> Figure:
    """A panel per network, in which the other networks are faint lines."""
    networks = list(plot.frame.groupby("label", sort=False))[:MOST_PANELS]
    frame = pd.concat([rows for _, rows in networks])
    freezes = _depths(frame)
    # Long axes need wide panels.
    across = min(len(networks), IN_A_ROW if len(freezes) <= 3 else 3 if len(freezes) <= 5 else 2)
    down = math.ceil(len(networks) / across)
    height = down * PANEL + (down - 1) * BETWEEN + TOP + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(0.08, BOTTOM / height, 0.99, 1 - TOP / height, wspace=0.08, hspace=BETWEEN / PANEL)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    low = frame[["low", "train"]].min().min()
    ends = (max(0.0, low - 0.04 * (100 - low) - 1), 101.0)
    y = Axis("test", "", ends, ticks(*ends))
    for axes, (name, rows) in zip(grid.flat, networks, strict=False):
        style.set_axes(axes, y=y)
        for _, others in frame[frame["label"] != name].groupby("label", sort=False):
            axes.plot(others["freeze"].map(freezes.index), others["test"], color=style.WHISKER, linewidth=1.2)
        _panel(axes, rows, freezes)
        axes.set_title(name, fontsize=10, color=style.INK, loc="left")
    for axes in grid.flat[len(networks) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, %")
    style.legend(figure, grid.flat[0], PANEL_LEGEND[: 4 if len(networks) > 1 else 3], above=0.42)
    below = "freeze depth, and the share of the parameters that it freezes"
    figure.text(0.535, 0.05 / height, below, ha="center", color=style.MUTED)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, freezes: Sequence[str]) -> None:
    """Test over train with the gap between them."""
    x = rows["freeze"].map(freezes.index)
    axes.fill_between(x, rows["test"], rows["train"], color=style.GAP, alpha=FAINT, linewidth=0, zorder=1)
    train: dict[str, Any] = {"color": style.TRAIN, "markerfacecolor": style.HOLE, "markersize": 5.5, "clip_on": False}
    axes.plot(x, rows["train"], "o", zorder=3, **train, **style.DASHED)
    axes.vlines(x, rows["low"], rows["high"], color=style.TEST, linewidth=1.6, zorder=4)
    axes.plot(x, rows["test"], "o-", color=style.TEST, markersize=6, linewidth=1.6, zorder=5, clip_on=False)
    shares = dict(zip(rows["freeze"], rows["frozen_params_pct"], strict=True))
    known = {freeze: f"{share:.0f}%" for freeze, share in shares.items() if pd.notna(share)}
    axes.set_xticks(range(len(freezes)), [f"{freeze}\n{known.get(freeze, '')}" for freeze in freezes])
    axes.set_xlim(-0.35, len(freezes) - 0.65)
    axes.tick_params(labelsize=9)


def vega_plot(plot: Plot) -> VegaPlot:
    """A line per network of the measure that is chosen."""
    frame = plot.frame
    test = _axis("test", "test accuracy, %", frame["low"].min(), frame["high"].max())
    gap = _axis("gap", "gap, points", frame["gap"].min(), frame["gap"].max())
    return VegaPlot(
        {"test accuracy": _specification(plot, test), "overfitting gap": _specification(plot, gap)}, choice="Measure"
    )


def _axis(column: str, title: str, low: float, high: float) -> Axis:
    room = max(0.05 * (high - low), 0.5)
    ends = (float(low - room), float(min(high + room, 101.0)))
    return Axis(column, title, ends, ticks(*ends))


def _specification(plot: Plot, y: Axis) -> dict[str, Any]:
    axis, scale = alt.Axis(labelAngle=0), alt.Scale(padding=0.4)
    base = alt.Chart().encode(
        x=alt.X("freeze:N", sort=_depths(plot.frame), title="freeze depth", axis=axis, scale=scale),
        y=vega.y_of(y),
        detail="label:N",
        tooltip=vega.tooltip("label", "test", "freeze", "train", "points"),
    )
    focus = base.transform_filter(vega.FOCUS)
    layers = [
        base.mark_line(color=vega.OTHER, strokeWidth=1.5, opacity=0.45),
        base.mark_point(filled=True, size=45, color=vega.OTHER, opacity=0.6),
        focus.mark_line(color=vega.TEST, strokeWidth=2.5),
        focus.mark_point(filled=True, size=90, color=vega.TEST, opacity=1),
    ]
    if y.column == "test":
        interval = focus.mark_rule(color=vega.TEST, size=1.8)
        layers.insert(2, interval.encode(y=vega.y_of(y, "low"), y2="high:Q"))
    return vega.specification(layers, height=320, first=plot.focus)
