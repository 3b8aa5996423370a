"""Accuracy against what it costs to run, with the Pareto front: latency on paper, parameters and FLOPs to choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from backbench.analysis import pareto
from backbench.core import formatting
from backbench.report import live
from backbench.report.drawing import (
    INK,
    MUTED,
    OTHER,
    STYLE,
    TEST,
    WHISKER,
    Picture,
    legend,
    percentages,
    picture,
    ticks,
)
from backbench.report.live import Live
from backbench.report.loader import ReportData
from backbench.report.pictures.placement import along, place

NAME = "accuracy-against-latency"

# With more candidates than this only the names of the front are written.
MOST_NAMES = 30

# The drawing area, in pixels, for which the names in the live picture are placed: a card of the page on a wide screen.
WIDE, HIGH = 1000.0, 380.0
LETTER, LINE = 6.6, 13.0


@dataclass(frozen=True)
class Cost:
    """A column that says what one image costs; `scale` turns it into the unit of its axis."""

    column: str
    view: str
    axis: str
    scale: float
    shown: Callable[[float | None], str]


COSTS = (
    Cost("latency_ms", "latency", "latency of one image, ms", 1.0, formatting.plain),
    Cost("params", "parameters", "parameters, millions", 1e-6, formatting.magnitude),
    Cost("flops", "compute", "compute of one image, GFLOPs", 1e-9, formatting.gflops),
)


def draw(stored: ReportData) -> Picture | None:
    """Every candidate with a test accuracy and a latency; None without any."""
    shown = _shown(stored.rows, COSTS[0])
    if shown.empty:
        return None
    members = ", ".join(
        f"{row['label']} ({formatting.plain(row['latency_ms'])} ms, {formatting.percent(row['test_acc'])})"
        for row in shown[shown["front"]].sort_values("cost", kind="stable").to_dict(orient="records")
    )
    with mpl.rc_context(STYLE):
        figure, unnamed = _figure(shown)
        caption = (
            "On the Pareto front, no other candidate has both a better selection score and a lower cost. It is found on"
            f" val and drawn at test accuracy. By latency, from fast to slow: {members}."
        )
        if unnamed:
            caption += " Where there is no room for a name, there is none."
        return picture(
            figure,
            name=NAME,
            title="Accuracy against cost",
            caption=caption,
            alt=f"Test accuracy against latency of {len(shown)} candidates. "
            f"On the Pareto front, from fast to slow: {members}.",
            live=live.wanted(lambda: _live(stored.rows)),
        )


def _shown(rows: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """The candidates that have both numbers, with `cost` in the axis's unit and `front`."""
    known = percentages(rows[rows["test_acc"].notna() & (rows[cost.column] > 0)].reset_index(drop=True))
    return known.assign(
        cost=known[cost.column] * cost.scale,
        front=pareto(known, cost.column),
        learned=(known["weights"] != "none") & (known["backbone"] != "scratch"),
    )


def _limits(shown: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both axes, with room for names at the right."""
    left, right = np.log10(shown["cost"].min()), np.log10(shown["cost"].max())
    room = max(right - left, 0.5)
    low, high = shown["low"].min(), shown["high"].max()
    height = max(high - low, 4.0)
    return (
        (float(10 ** (left - 0.08 * room)), float(10 ** (right + 0.16 * room))),
        (float(low - 0.06 * height), float(min(high + 0.06 * height, 101.0))),
    )


def _figure(shown: pd.DataFrame) -> tuple[Figure, int]:
    """The figure, and how many points it has no room to name."""
    front, learned = shown["front"].to_numpy(), shown["learned"].to_numpy()
    figure = Figure(figsize=(8.4, 5.2))
    axes = figure.subplots()
    x, y = shown["cost"].to_numpy(), shown["test"].to_numpy()
    axes.set_xscale("log")
    across, up = _limits(shown)
    axes.set_xlim(across)
    axes.set_ylim(up)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.vlines(x, shown["low"], shown["high"], color=WHISKER, linewidth=3, zorder=1)
    order = np.flatnonzero(front)[np.argsort(x[front], kind="stable")]
    dashes: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (4, 3))}
    axes.plot(x[order], y[order], color=TEST, zorder=2, **dashes)
    for mask, colour in ((front, TEST), (~front, OTHER)):
        for kind, marker in ((learned, "o"), (~learned, "s")):
            axes.plot(x[mask & kind], y[mask & kind], marker, color=colour, markersize=8, zorder=4)
    axes.set_xlabel("latency of one image, ms (logarithmic)")
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="both")
    point: dict[str, Any] = {"color": OTHER, "markersize": 7, "linewidth": 0}
    handles = [
        Line2D([], [], marker="o", color=TEST, markersize=7, label="Pareto front", **dashes),
        Line2D([], [], marker="o", label="the others", **point),
        Line2D([], [], color=WHISKER, linewidth=3, label="95% interval"),
    ]
    if not learned.all():
        handles.insert(2, Line2D([], [], marker="s", label="square: not pretrained", **point))
    legend(figure, axes, handles)
    figure.tight_layout()
    return figure, _name_points(figure, axes, shown)


def _named(shown: pd.DataFrame) -> list[int]:
    """Positions of those to be named: the front's first, then, unless there are too many, the others by rank."""
    front = shown["front"].to_numpy()
    others = [] if len(shown) > MOST_NAMES else np.flatnonzero(~front).tolist()
    return [*np.flatnonzero(front).tolist(), *others]


def _name_points(figure: Figure, axes: Axes, shown: pd.DataFrame) -> int:
    """Write names where there is room, the front's first, then by rank; returns how many found none."""
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    front = shown["front"].to_numpy()
    points = axes.transData.transform(shown[["cost", "test"]].to_numpy())
    order = _named(shown)
    texts = [axes.text(0, 0, shown["label"][i], fontsize=9, color=INK if front[i] else MUTED) for i in order]
    sizes = [(box.width, box.height) for box in (text.get_window_extent(renderer) for text in texts)]
    area = axes.get_window_extent(renderer)
    line = along(points[front])
    spots = place(points[order], sizes, obstacles=points, thin=line, area=(area.x0, area.y0, area.x1, area.y1))
    inverse = axes.transData.inverted()
    for text, size, spot in zip(texts, sizes, spots, strict=True):
        if spot is None:
            text.remove()
            continue
        text.set_position(tuple(inverse.transform((spot[0], spot[1] + size[1] / 2))))
        text.set_verticalalignment("center_baseline")
    return sum(spot is None for spot in spots)


def _live(rows: pd.DataFrame) -> Live:
    known = [(cost, shown) for cost in COSTS if not (shown := _shown(rows, cost)).empty]
    key = [
        ("dash test", "Pareto front, with 95% intervals"),
        ("dot other", "the others"),
        ("square other", "not pretrained"),
    ]
    if all(shown["learned"].all() for _, shown in known):
        key.pop()
    return Live({cost.view: _specification(cost, shown) for cost, shown in known}, tuple(key), choice="Cost")


def _specification(cost: Cost, shown: pd.DataFrame) -> dict[str, Any]:
    import altair as alt

    across, up = _limits(shown)
    x = alt.X(
        "cost:Q",
        scale=alt.Scale(type="log", domain=across, nice=False),
        axis=alt.Axis(
            title=f"{cost.axis} (logarithmic)",
            values=_round_numbers(across),
            format=".4~g",
            grid=True,
            domain=False,
            labelOverlap=True,
        ),
    )
    upright = alt.Scale(domain=up, nice=False)
    y = alt.Y(
        "test:Q",
        scale=upright,
        axis=alt.Axis(title="test accuracy, %", values=ticks(*up, most=7), format=".4~g"),
    )
    rows = shown.assign(costs=[cost.shown(value) for value in shown[cost.column]], size=shown["front"] * 30 + 70)
    columns = ["label", "backbone", "cost", "costs", "test", "low", "high", "front", "learned", "size"]
    base = live.rows_of("candidates").encode(
        x=x, opacity=live.faded(), tooltip=[*live.tooltip(), alt.Tooltip("costs:N", title=cost.axis)]
    )
    shape = alt.condition("datum.learned", alt.value("circle"), alt.value("square"))
    dot = base.mark_point(filled=True).encode(y=y, shape=shape, size=alt.Size("size:Q", scale=None))
    marks: Sequence[Any] = (
        base.transform_filter("datum.front || datum.backbone === chosen")
        .mark_rule(color=live.WHISKER, strokeWidth=3)
        .encode(y=alt.Y("low:Q", scale=upright, title="test accuracy, %"), y2="high:Q"),
        live.rows_of("front").mark_line(color=live.TEST, strokeDash=[4, 3], strokeWidth=1.3).encode(x=x, y=y),
        dot.transform_filter("!datum.front").encode(
            color=alt.condition("datum.backbone === chosen", alt.value(live.TEST), alt.value(live.OTHER))
        ),
        dot.transform_filter("datum.front").encode(color=alt.value(live.TEST)),
        live.rows_of("names")
        .mark_text(
            color=live.MUTED,
            align=alt.expr("datum.align"),
            baseline="middle",
            dx=alt.expr("datum.dx"),
            dy=alt.expr("datum.dy"),
        )
        # Where the picture is narrower than what the names were placed for, they could cover each other.
        .transform_filter(f"width >= {WIDE}")
        .encode(x=x, y=y, text="label:N", opacity=live.faded()),
    )
    data = {
        "candidates": rows[columns],
        "front": rows.loc[rows["front"], ["cost", "test"]],
        "names": _names(shown, across, up),
    }
    return live.specification(marks, data, height=HIGH)


def _names(shown: pd.DataFrame, across: tuple[float, float], up: tuple[float, float]) -> list[dict[str, Any]]:
    """Where names stand beside their points: which end of them is tied to it, and how many pixels away.

    In a wider picture the points move apart and the names with them.
    """
    left, width = np.log10(across[0]), np.ptp(np.log10(across))

    def pixels(cost: Any, test: Any) -> np.ndarray:
        return np.column_stack([(np.log10(cost) - left) / width * WIDE, (test - up[0]) / np.ptp(up) * HIGH])

    points = pixels(shown["cost"], shown["test"])
    front = shown[shown["front"]]
    ends = zip(pixels(front["cost"], front["low"]), pixels(front["cost"], front["high"]), strict=True)
    line = np.concatenate([along(points[front.index]), *(along(np.array(pair)) for pair in ends)])
    order = _named(shown)
    sizes = [(LETTER * len(shown["label"][i]), LINE) for i in order]
    spots = place(points[order], sizes, obstacles=points, thin=line, area=(0, 0, WIDE, HIGH))
    names = []
    for i, (long, high), spot in zip(order, sizes, spots, strict=True):
        if spot is None:
            continue
        (x, y), (start, low) = points[i], spot
        ties = {"left": start - x, "center": start + long / 2 - x, "right": start + long - x}
        align = "left" if start > x else "right" if start + long < x else "center"
        row = {name: shown[name][i] for name in ("label", "backbone", "cost", "test")}
        names.append(row | {"align": align, "dx": float(ties[align]), "dy": float(y - low - high / 2)})
    return names


def _round_numbers(limits: tuple[float, float]) -> list[float]:
    """1, 2 and 5 times the powers of ten between two limits."""
    powers = range(int(np.floor(np.log10(limits[0]))), int(np.ceil(np.log10(limits[1]))) + 1)
    return [
        found
        for power in powers
        for times in (1, 2, 5)
        if limits[0] <= (found := float(f"{times}e{power}")) <= limits[1]
    ]
