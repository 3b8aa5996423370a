"""Accuracy against what it costs to run, with the Pareto front: latency in files, parameters and FLOPs to choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from backbench.analysis import pareto
from backbench.core import formatting
from backbench.report.loader import ReportData
from backbench.report.plots import style, vega
from backbench.report.plots.label_placement import along, place
from backbench.report.plots.plot import Axis, Plot, percentages, ticks
from backbench.report.plots.vega import VegaPlot

NAME = "accuracy-against-latency"
COLUMNS = [
    "view", "label", "backbone", "cost", "cost_text", "test", "low", "high", "front", "learned", "align", "dx", "dy",
]  # fmt: skip

# With more candidates than this only the names of the front are written.
MOST_NAMES = 30

# Names are placed for a drawing area of so many pixels, a letter and a line being so large; in a file 100 are an inch.
WIDE, HIGH = 840.0, 460.0
LETTER, LINE = 6.6, 12.0
INCH = 100.0


@dataclass(frozen=True)
class Cost:
    """A column that says what one image costs; `scale` turns it into the unit of its axis."""

    column: str
    view: str
    title: str
    scale: float
    text: Callable[[float | None], str]


COSTS = (
    Cost("latency_ms", "latency", "latency of one image, ms", 1.0, formatting.plain),
    Cost("params", "parameters", "parameters, millions", 1e-6, formatting.magnitude),
    Cost("flops", "compute", "compute of one image, GFLOPs", 1e-9, formatting.gflops),
)


def prepare(stored: ReportData) -> Plot | None:
    """Every candidate with a test accuracy and a latency, and once more for every other cost; None without any."""
    by_latency, *others = (_priced(stored.rows, cost) for cost in COSTS)
    if by_latency.empty:
        return None
    frame = pd.concat([by_latency, *(rows for rows in others if len(rows))], ignore_index=True)
    members = ", ".join(
        f"{row['label']} ({row['cost_text']} ms, {formatting.percent(row['test'] / 100)})"
        for row in by_latency[by_latency["front"]].sort_values("cost", kind="stable").to_dict(orient="records")
    )
    caption = (
        "On the Pareto front, no other candidate has both a better selection score and a lower cost. It is found on val"
        f" and drawn at test accuracy. By latency, from fast to slow: {members}."
    )
    if by_latency["align"].isna().any():
        caption += " Where there is no room for a name, there is none."
    legend = [("dash pointed test", "Pareto front"), ("dot other", "the others"), ("square other", "not pretrained")]
    if frame["learned"].all():
        legend.pop()
    return Plot(
        NAME,
        title="Accuracy against cost",
        caption=caption,
        alt=f"Test accuracy against latency of {len(by_latency)} candidates. "
        f"On the Pareto front, from fast to slow: {members}.",
        frame=frame,
        legend=(*legend, ("line whisker", "95% interval")),
    )


def _priced(rows: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """The candidates that have a test accuracy and this cost, in the axis's unit, with the places of their names."""
    rows = percentages(rows[rows["test_acc"].notna() & (rows[cost.column] > 0)].reset_index(drop=True))
    rows = rows.assign(
        view=cost.view,
        cost=rows[cost.column] * cost.scale,
        cost_text=[cost.text(value) for value in rows[cost.column]],
        front=pareto(rows, cost.column),
        learned=(rows["weights"] != "none") & (rows["backbone"] != "scratch"),
    )
    names = _names(rows) if len(rows) else pd.DataFrame(columns=["align", "dx", "dy"])
    return rows.join(names)[COLUMNS]


def _axes(rows: pd.DataFrame, title: str) -> tuple[Axis, Axis]:
    """Cost and accuracy, with room for names at the right."""
    left, right = np.log10(rows["cost"].min()), np.log10(rows["cost"].max())
    room = max(right - left, 0.5)
    across = (float(10 ** (left - 0.08 * room)), float(10 ** (right + 0.16 * room)))
    low, high = rows["low"].min(), rows["high"].max()
    height = max(high - low, 4.0)
    up = (float(low - 0.06 * height), float(min(high + 0.06 * height, 101.0)))
    return (
        Axis("cost", f"{title} (logarithmic)", across, ticks(*across, log=True), log=True),
        Axis("test", "test accuracy, %", up, ticks(*up, most=7)),
    )


def _names(rows: pd.DataFrame) -> pd.DataFrame:
    """Where names stand beside their points: which end is tied to it (`align`) and how many pixels away (`dx`, `dy`).

    The names of the front are placed first, then, unless there are too many, the others by rank; rows without room for
    a name are left out. In a wider drawing the points move apart and the names with them.
    """
    across, up = _axes(rows, "")
    left, width = np.log10(across.ends[0]), np.ptp(np.log10(across.ends))

    def pixels(cost: pd.Series, test: pd.Series) -> np.ndarray:
        return np.column_stack([(np.log10(cost) - left) / width * WIDE, (test - up.ends[0]) / np.ptp(up.ends) * HIGH])

    points = pixels(rows["cost"], rows["test"])
    front = rows[rows["front"]]
    intervals = zip(pixels(front["cost"], front["low"]), pixels(front["cost"], front["high"]), strict=True)
    lines = np.concatenate([along(points[front.index]), *(along(np.array(ends)) for ends in intervals)])
    order = [*front.index, *(rows.index.difference(front.index) if len(rows) <= MOST_NAMES else ())]
    sizes = [(LETTER * len(rows["label"][i]), LINE) for i in order]
    spots = place(points[order], sizes, obstacles=points, thin=lines, area=(0, 0, WIDE, HIGH))
    names = {}
    for i, (length, line), spot in zip(order, sizes, spots, strict=True):
        if spot is not None:
            (x, y), (start, low) = points[i], spot
            align = "left" if start > x else "right" if start + length < x else "center"
            tied = {"left": start, "center": start + length / 2, "right": start + length}[align]
            names[i] = {"align": align, "dx": float(tied - x), "dy": float(y - low - line / 2)}
    return pd.DataFrame.from_dict(names, orient="index", columns=["align", "dx", "dy"])


def matplotlib_figure(plot: Plot) -> Figure:
    """Latency only, the drawing area as large as the names were placed for."""
    rows = plot.frame[plot.frame["view"] == COSTS[0].view]
    x, y = _axes(rows, COSTS[0].title)
    figure, axes = style.new_axes((WIDE + 80) / INCH, (HIGH + 120) / INCH, x=x, y=y)
    figure.subplots_adjust(left=0, bottom=0, right=WIDE / (WIDE + 80), top=HIGH / (HIGH + 120))
    axes.vlines(rows["cost"], rows["low"], rows["high"], color=style.WHISKER, linewidth=3, zorder=1)
    front = rows[rows["front"]].sort_values("cost", kind="stable")
    axes.plot(front["cost"], front["test"], color=style.TEST, zorder=2, **style.DASHED)
    for (on_front, learned), group in rows.groupby(["front", "learned"]):
        colour = style.TEST if on_front else style.OTHER
        axes.plot(group["cost"], group["test"], "o" if learned else "s", color=colour, markersize=8, zorder=4)
    pixel = 72 / INCH
    for row in rows[rows["align"].notna()].to_dict(orient="records"):
        axes.annotate(
            row["label"], (row["cost"], row["test"]), (row["dx"] * pixel, -row["dy"] * pixel),
            textcoords="offset points", ha=row["align"], va="center_baseline", fontsize=12 * pixel,
            color=style.INK if row["front"] else style.MUTED,
        )  # fmt: skip
    style.legend(figure, axes, plot.legend)
    return figure


def vega_plot(plot: Plot) -> VegaPlot:
    """A view for every cost that there are numbers for."""
    costs = {cost.view: cost for cost in COSTS}
    groups = plot.frame.groupby("view", sort=False)
    return VegaPlot({view: _specification(costs[view], rows) for view, rows in groups}, choice="Cost")


def _specification(cost: Cost, rows: pd.DataFrame) -> dict[str, Any]:
    x, y = _axes(rows, cost.title)
    point = alt.Chart().transform_filter(f"datum.view === '{cost.view}'").encode(x=vega.x_of(x), y=vega.y_of(y))
    on_front, beside = point.transform_filter("datum.front"), point.transform_filter("!datum.front")
    of_interest = point.transform_filter("datum.front || datum.backbone === chosen")
    # Where the plot is narrower than what the names were placed for, they could cover each other.
    named = point.transform_filter(f"datum.align && width >= {WIDE}")
    name: dict[str, Any] = {"align": alt.expr("datum.align"), "dx": alt.expr("datum.dx"), "dy": alt.expr("datum.dy")}
    told = {
        "opacity": vega.faded(),
        "tooltip": [*vega.tooltip("label", "test"), alt.Tooltip("cost_text:N", title=cost.title)],
    }
    shape = alt.condition("datum.learned", alt.value("circle"), alt.value("square"))
    colour = alt.condition("datum.backbone === chosen", alt.value(vega.TEST), alt.value(vega.OTHER))
    layers = (
        of_interest.mark_rule(color=vega.WHISKER, strokeWidth=3).encode(y=vega.y_of(y, "low"), y2="high:Q"),
        on_front.mark_line(color=vega.TEST, strokeDash=[4, 3], strokeWidth=1.3),
        beside.mark_point(filled=True, size=70).encode(shape=shape, color=colour, **told),
        on_front.mark_point(filled=True, size=100, color=vega.TEST).encode(shape=shape, **told),
        named.mark_text(color=vega.MUTED, baseline="middle", **name).encode(text="label:N", **told),
    )
    return vega.specification(layers, height=HIGH)
