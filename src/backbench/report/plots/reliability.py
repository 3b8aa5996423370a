"""The reliability diagram: does a network that says 90 % get nine of ten right?"""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from backbench.core import formatting
from backbench.report.loader import ReportData, contenders, first_seed, first_seeds
from backbench.report.plots import style, vega
from backbench.report.plots.plot import Axis, Plot, PlotTable
from backbench.report.plots.vega import VegaPlot

NAME = "reliability"

MOST = 40

# A bin of fewer images than this says little, and would draw lines all over the plot.
FEWEST = 5

# Beyond 100 % there is room for the dots.
ENDS, TICKS = (0.0, 103.0), (0, 20, 40, 60, 80, 100)
CONFIDENCE = Axis("confidence", "mean confidence, %", ENDS, TICKS)
RIGHT = Axis("right", "right, %", ENDS, TICKS)


def prepare(stored: ReportData) -> Plot | None:
    """The best candidate of each network, of several seeds the lowest; None where no predictions are stored."""
    rows = stored.networks(stored.bins, MOST)
    if rows.empty:
        return None
    summary = summaries(rows, stored)
    judged = contenders(rows)
    finding = _finding(summary[summary["label"].isin(judged["label"])], first_seed(judged.iloc[0]))
    focus = str(rows["label"].iloc[0])
    before = (("dash test", "without its temperature"),) if summary["before"].notna().any() else ()
    others = (("line other", "the other networks"),) if len(rows) > 1 else ()
    return Plot(
        NAME,
        title="Reliability",
        caption=f"{finding}{_gain(summary.iloc[0])} On the diagonal a network is as often right as it says; below it"
        f" is too sure of itself, above it not sure enough. Larger dots hold more images; bins with fewer than {FEWEST}"
        " are left out." + first_seeds(rows),
        alt=f"How often {len(rows)} networks are right on test against how sure they are. {finding}",
        frame=bins(rows, stored),
        legend=(("line pointed test", focus), *before, *others, ("dots muted", "calibrated")),
        focus=focus,
        table=PlotTable(
            ("Candidate", "Right", "Mean confidence", "ECE", "without its temperature"),
            tuple(
                (row["label"], *(formatting.percent(row[name]) for name in ("right", "confidence", "ece", "before")))
                for row in summary.to_dict(orient="records")
            ),
        ),
    )


def bins(rows: pd.DataFrame, stored: ReportData) -> pd.DataFrame:
    """One row per candidate and bin: `label`, `backbone`, `confidence` and `right` in percent, `items`.

    `before` are the bins of what the network says without its temperature.
    """
    points = [
        {
            "label": row["label"],
            "backbone": row["backbone"],
            "before": before,
            "confidence": 100 * confidence / items,
            "right": 100 * right / items,
            "items": int(items),
        }
        for row in rows.to_dict(orient="records")
        for before, known in ((False, stored.bins), (True, stored.bins_before))
        for items, confidence, right in known.get(row["cell_id"], np.empty((3, 0))).T
        if items >= FEWEST
    ]
    types = {"label": object, "backbone": object, "before": bool, "confidence": float, "right": float, "items": int}
    return pd.DataFrame(points, columns=list(types)).astype(types)


def summaries(rows: pd.DataFrame, stored: ReportData) -> pd.DataFrame:
    """One row per candidate: `label`, mean `confidence` and share `right` of all test items, `ece`; in 0..1.

    `before` is the ECE without the temperature, NaN in cells of earlier protocols, which have none.
    """
    summary = []
    for label, cell_id in zip(rows["label"], rows["cell_id"], strict=True):
        items, confidence, right = stored.bins[cell_id]
        sums = {"confidence": confidence.sum(), "right": right.sum(), "ece": np.abs(confidence - right).sum()}
        if cell_id in stored.bins_before:
            _, before, right_before = stored.bins_before[cell_id]
            sums["before"] = np.abs(before - right_before).sum()
        summary.append({"label": label, "before": np.nan, **{name: sums[name] / items.sum() for name in sums}})
    return pd.DataFrame(summary)


def _gain(first: pd.Series) -> str:
    """What the temperature of the first has changed, empty where it has none."""
    if pd.isna(first["before"]):
        return ""
    return f" Without its temperature the ECE of {first['label']} would be {formatting.percent(first['before'])}."


def _finding(summary: pd.DataFrame, seed: str) -> str:
    """In words; `seed` says which one of the several of the first is shown."""
    first = summary.iloc[0]
    lean = first["confidence"] - first["right"]
    text = (
        f"{first['label']}{seed} is right in {formatting.percent(first['right'])} of its answers on test and on average"
        f" {formatting.percent(first['confidence'])} sure: "
    )
    text += "well matched" if abs(lean) < 0.01 else "too sure of itself" if lean > 0 else "not sure enough"
    text += f" (ECE {formatting.percent(first['ece'])})."
    best = summary.loc[summary["ece"].idxmin()]
    if len(summary) > 1 and best["label"] != first["label"]:
        text += f" Best calibrated is {best['label']} (ECE {formatting.percent(best['ece'])})."
    elif len(summary) > 1:
        text += " No network is better calibrated."
    return text


def matplotlib_figure(plot: Plot) -> Figure:
    """A line per network, of the focus that without its temperature as well; its dots are as large as their bins."""
    figure, axes = style.new_axes(5.6, 5.6, x=CONFIDENCE, y=RIGHT)
    axes.set_aspect("equal")
    axes.plot([0, 100], [0, 100], color=style.MUTED, zorder=1, **style.DOTTED)
    looks: dict[bool, dict[str, Any]] = {
        True: {"color": style.TEST, "linewidth": 2, "zorder": 3},
        False: {"color": style.OTHER, "linewidth": 1, "zorder": 2, "alpha": 0.55},
    }
    for name, points in plot.frame[~plot.frame["before"]].groupby("label", sort=False):
        axes.plot(points["confidence"], points["right"], **looks[name == plot.focus])
    focus = plot.frame[plot.frame["label"] == plot.focus]
    before, focus = focus[focus["before"]], focus[~focus["before"]]
    axes.plot(before["confidence"], before["right"], color=style.TEST, zorder=2, **style.DASHED)
    sizes = 18 + 200 * focus["items"] / max(focus["items"].max(), 1)
    axes.scatter(focus["confidence"], focus["right"], s=sizes, color=style.TEST, linewidth=0, zorder=4)
    style.legend(figure, axes, plot.legend)
    return figure


def vega_plot(plot: Plot) -> VegaPlot:
    """The same lines, with a dot for every bin of every network."""
    everything = alt.Chart().encode(
        x=vega.x_of(CONFIDENCE),
        y=vega.y_of(RIGHT),
        detail="label:N",
        tooltip=vega.tooltip("label", "confidence", "right", "items"),
    )
    base = everything.transform_filter("!datum.before")
    before = everything.transform_filter("datum.before").transform_filter(vega.FOCUS)
    focus = base.transform_filter(vega.FOCUS)
    many = plot.frame["label"].nunique() > 12
    ends = {"x": alt.datum(0), "y": alt.datum(0), "x2": alt.datum(100), "y2": alt.datum(100)}
    diagonal = alt.Chart(alt.sequence(1)).mark_rule(color=vega.MUTED, strokeWidth=1.2, strokeDash=[2, 3])
    size = alt.Size("items:Q", scale=alt.Scale(range=[30, 380]), legend=None)
    layers = (
        diagonal.encode(**ends),
        base.mark_line(color=vega.OTHER, strokeWidth=1.3, opacity=0.2 if many else 0.4),
        base.mark_point(filled=True, size=25, color=vega.OTHER, opacity=0.2 if many else 0.5),
        before.mark_line(color=vega.TEST, strokeWidth=1.4, strokeDash=[3, 2]),
        focus.mark_line(color=vega.TEST, strokeWidth=2.2),
        focus.mark_point(filled=True, color=vega.TEST, opacity=0.9).encode(size=size),
    )
    return VegaPlot({"": vega.specification(layers, height=440, first=plot.focus)}, most=560)
