"""The reliability diagram: does a network that says 90 % get nine of ten right?"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from backbench.core import formatting
from backbench.report import live
from backbench.report.drawing import MUTED, OTHER, STYLE, TEST, Numbers, Picture, legend, picture
from backbench.report.live import Live
from backbench.report.loader import ReportData, contenders, first_seed, first_seeds

NAME = "reliability"

MOST = 40

# A share of fewer images than this says little, and would draw lines all over the picture.
FEWEST = 5


def draw(stored: ReportData) -> Picture | None:
    """The best candidate of each network, of several seeds the lowest; None where no predictions are stored."""
    rows = stored.networks(stored.bins, MOST)
    if rows.empty:
        return None
    points, summary = bins(rows, stored), summaries(rows, stored)
    told = contenders(rows)
    finding = _finding(summary[summary["label"].isin(told["label"])], first_seed(told.iloc[0]))
    with mpl.rc_context(STYLE):
        return picture(
            _figure(points, summary["label"].iloc[0]),
            name=NAME,
            title="Reliability",
            caption=f"{finding} On the diagonal a network is as often right as it says; below it is too sure of itself,"
            f" above it not sure enough. Larger dots hold more images; bins with fewer than {FEWEST} are left out."
            + first_seeds(rows),
            alt=f"How often {len(rows)} networks are right on test against how sure they are. {finding}",
            numbers=_numbers(summary),
            live=live.wanted(lambda: _live(points)),
        )


def bins(rows: pd.DataFrame, stored: ReportData) -> pd.DataFrame:
    """One row per candidate and bin: `label`, `backbone`, `confidence` and `right` in percent, `items`."""
    found = []
    for row in rows.to_dict(orient="records"):
        items, confidence, right = stored.bins[row["cell_id"]]
        for i in np.flatnonzero(items >= FEWEST):
            found.append(
                {
                    "label": row["label"],
                    "backbone": row["backbone"],
                    "confidence": 100 * confidence[i] / items[i],
                    "right": 100 * right[i] / items[i],
                    "items": int(items[i]),
                }
            )
    return pd.DataFrame(found, columns=["label", "backbone", "confidence", "right", "items"])


def summaries(rows: pd.DataFrame, stored: ReportData) -> pd.DataFrame:
    """One row per candidate: `label`, mean `confidence` and share `right` of all test items, `ece`; in 0..1."""

    def summary(found: NDArray[np.float64]) -> dict[str, float]:
        items, confidence, right = found
        return {
            "confidence": confidence.sum() / items.sum(),
            "right": right.sum() / items.sum(),
            "ece": np.abs(confidence - right).sum() / items.sum(),
        }

    return pd.DataFrame(
        [
            {"label": label, **summary(stored.bins[cell_id])}
            for label, cell_id in zip(rows["label"], rows["cell_id"], strict=True)
        ]
    )


def _finding(summary: pd.DataFrame, seed: str) -> str:
    """In words; `seed` says which one of the several of the first is shown."""
    first = summary.iloc[0]
    lean = first["confidence"] - first["right"]
    text = (
        f"{first['label']}{seed} is right in {formatting.percent(first['right'])} of its answers on test and on "
        f"average {formatting.percent(first['confidence'])} sure: "
    )
    text += "well matched" if abs(lean) < 0.01 else "too sure of itself" if lean > 0 else "not sure enough"
    text += f" (ECE {formatting.percent(first['ece'])})."
    best = summary.loc[summary["ece"].idxmin()]
    if len(summary) > 1 and best["label"] != first["label"]:
        text += f" Best calibrated is {best['label']} (ECE {formatting.percent(best['ece'])})."
    elif len(summary) > 1:
        text += " No network is better calibrated."
    return text


def _numbers(summary: pd.DataFrame) -> Numbers:
    rows = (
        (row["label"], *(formatting.percent(row[name]) for name in ("right", "confidence", "ece")))
        for row in summary.to_dict(orient="records")
    )
    return Numbers(("Candidate", "Right", "Mean confidence", "ECE"), tuple(rows))


def _figure(points: pd.DataFrame, focus: str) -> Figure:
    figure = Figure(figsize=(5.6, 5.6))
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    for name, own in points[points["label"] != focus].groupby("label", sort=False):
        axes.plot(own["confidence"], own["right"], color=OTHER, linewidth=1, alpha=0.55, zorder=2, label=f"_{name}")
    own = points[points["label"] == focus]
    axes.plot(own["confidence"], own["right"], color=TEST, linewidth=2, zorder=3)
    size = 18 + 200 * own["items"] / max(own["items"].max(), 1) if len(own) else []
    axes.scatter(own["confidence"], own["right"], s=size, color=TEST, zorder=4, linewidth=0)
    axes.set_xlim(0, 103)
    axes.set_ylim(0, 103)
    axes.set_aspect("equal")
    axes.set_xlabel("mean confidence, %")
    axes.set_ylabel("right, %")
    axes.grid(axis="both")
    handles = [Line2D([], [], color=TEST, linewidth=2, marker="o", markersize=7, label=focus)]
    if len(points) > len(own):
        handles.append(Line2D([], [], color=OTHER, linewidth=1, label="the other networks"))
    legend(figure, axes, handles)
    return figure


def _live(points: pd.DataFrame) -> Live:
    import altair as alt

    scale = alt.Scale(domain=[0, 103], nice=False)
    steps = [0, 20, 40, 60, 80, 100]
    axes = {
        "x": alt.X(
            "confidence:Q",
            scale=scale,
            axis=alt.Axis(title="mean confidence, %", values=steps, grid=True, domain=False),
        ),
        "y": alt.Y("right:Q", scale=scale, axis=alt.Axis(title="right, %", values=steps)),
    }
    base = live.rows_of("bins").encode(
        **axes,
        detail="label:N",
        tooltip=[
            alt.Tooltip("label:N", title="candidate"),
            alt.Tooltip("confidence:Q", title="mean confidence, %", format=".1f"),
            alt.Tooltip("right:Q", title="right, %", format=".1f"),
            alt.Tooltip("items:Q", title="test images", format=","),
        ],
    )
    focus = base.transform_filter(live.FOCUS)
    many = points["label"].nunique() > 12
    ends = [{"confidence": 0, "right": 0}, {"confidence": 100, "right": 100}]
    layers: list[Any] = [
        live.rows_of("ends").mark_line(color=live.MUTED, strokeWidth=1.2, strokeDash=[2, 3]).encode(**axes),
        base.mark_line(color=live.OTHER, strokeWidth=1.3, opacity=0.2 if many else 0.4),
        base.mark_point(filled=True, size=25, color=live.OTHER, opacity=0.2 if many else 0.5),
        focus.mark_line(color=live.TEST, strokeWidth=2.2),
        focus.mark_point(filled=True, color=live.TEST, opacity=0.9).encode(
            size=alt.Size("items:Q", scale=alt.Scale(range=[30, 380]), legend=None)
        ),
    ]
    key = (
        ("line test", str(points["label"].iloc[0]) if len(points) else ""),
        ("line other", "the other networks"),
        ("dots muted", "as often right as it says"),
    )
    specification = live.specification(layers, {"bins": points, "ends": ends}, height=440, first=key[0][1])
    return Live({"": specification}, key, focus=key[0][1], most=560)
