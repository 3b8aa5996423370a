"""Accuracy class by class: which classes are hard for everyone, and which only for some."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from backbench.core import formatting
from backbench.report.loader import ReportData, contenders, first_seeds
from backbench.report.plots import style, vega
from backbench.report.plots.plot import Plot, PlotTable
from backbench.report.plots.vega import VegaPlot

NAME = "accuracy-by-class"

# The hardest classes and the networks that rank first are shown.
MOST_CLASSES, MOST_NETWORKS = 40, 40

# Pixels: of a letter of a name on the page, at most of a network's name and of a class's.
LETTER, NETWORK_NAME, CLASS_NAME = 6.5, 230, 200
AROUND = 4

# Up to so many networks each cell has room for its number.
MOST_WRITTEN = 12

LONGEST = 28  # letters of the name of a class in a file
SQUARE = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])


def prepare(stored: ReportData) -> Plot | None:
    """The best candidate of each network, of several seeds the lowest; None where no predictions are stored."""
    wrong = errors(stored)
    if wrong.empty:
        return None
    shown = wrong.head(MOST_CLASSES)
    judged = without_controls(stored.rows, wrong)
    of = f"{len(shown)} of the {len(wrong)} classes, the hardest, " if len(wrong) > len(shown) else ""
    mean = 1 - judged.mean(axis=1)
    hardest = ", ".join(f"{name} ({formatting.percent(mean[name])})" for name in mean.index[:3])
    over = f", on average over the {judged.shape[1]} networks" if judged.shape[1] > 1 else ""
    finding = f"Hardest{over}: {hardest}."
    if judged.shape[1] < wrong.shape[1]:
        finding += " Controls with random weights are drawn, but not counted."
    frame = _cells(shown, stored.rows)
    return Plot(
        NAME,
        title="Accuracy by class",
        caption=f"{finding} Each column is the best candidate of one network, {of}ordered from hard to easy: a row"
        " full of colour is a class that is hard for everyone, a single cell of colour a weakness of one network."
        + first_seeds(stored.networks(stored.by_class, MOST_NETWORKS)),
        alt=f"Share of the test images of each class that each network gets wrong. {finding}",
        frame=frame,
        legend=(("heat", f"from 100% right to {formatting.percent(1 - _darkest(frame))}"),),
        table=_table(1 - judged),
    )


def errors(stored: ReportData) -> pd.DataFrame:
    """Share of the test images that are wrong: classes in rows, the hardest first, networks in columns, by rank.

    Classes without test images are left out. How hard a class is, the controls with random weights do not say.
    """
    rows = stored.networks(stored.by_class, MOST_NETWORKS)
    if rows.empty:
        return pd.DataFrame()
    counts = [stored.by_class[cell_id] for cell_id in rows["cell_id"]]
    tested = counts[0][1] > 0
    wrong = np.column_stack([1 - right[tested] / items[tested] for right, items in counts])
    frame = pd.DataFrame(wrong, index=np.array(_names(stored, len(tested)))[tested], columns=list(rows["label"]))
    return frame.iloc[np.argsort(-without_controls(rows, frame).to_numpy().mean(axis=1), kind="stable")]


def without_controls(rows: pd.DataFrame, wrong: pd.DataFrame) -> pd.DataFrame:
    """The columns of the networks that are no controls, by rank; all of them where there are only controls."""
    return wrong[list(contenders(rows[rows["label"].isin(wrong.columns)])["label"])]


def _names(stored: ReportData, classes: int) -> list[str]:
    names = stored.run.dataset.classes
    fits = len(names) == len(set(names)) == classes
    return list(names) if fits else [f"class {i}" for i in range(classes)]


def _cells(wrong: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per class and network: `class`, `label`, `backbone`, the share that is `wrong`, `accuracy` as text."""
    cells = wrong.melt(var_name="label", value_name="wrong", ignore_index=False).rename_axis("class").reset_index()
    return cells.assign(
        backbone=cells["label"].map(dict(zip(rows["label"], rows["backbone"], strict=True))),
        accuracy=[formatting.percent(1 - share).removesuffix("%") for share in cells["wrong"]],
    )


def _table(right: pd.DataFrame) -> PlotTable:
    rows = [
        (
            str(name),
            formatting.percent(float(shares.mean())),
            f"{formatting.percent(float(shares.min()))} ({shares.idxmin()})",
            f"{formatting.percent(float(shares.max()))} ({shares.idxmax()})",
        )
        for name, shares in right.iterrows()
    ]
    return PlotTable(("Class", "Mean accuracy", "Lowest", "Highest"), tuple(rows))


def _darkest(frame: pd.DataFrame) -> float:
    """The share of wrong answers that is drawn in full colour."""
    return max(float(frame["wrong"].max()), 0.01)


def _slanted(networks: list[str]) -> bool:
    """Whether the names of the networks are too many or too long to stand upright beside each other."""
    return len(networks) > 4 or max(map(len, networks)) > 10


def matplotlib_figure(plot: Plot) -> Figure:
    """A cell for every class and network, the more wrong the stronger its colour."""
    frame = plot.frame
    classes, networks = list(frame["class"].unique()), list(frame["label"].unique())
    written = len(networks) <= MOST_WRITTEN
    figure = Figure(figsize=(min(2.6 + 0.75 * len(networks), 9.2) if written else 9.2, 1.7 + 0.25 * len(classes)))
    axes = figure.subplots()
    x, y = frame["label"].map(networks.index), frame["class"].map(classes.index)
    colours = [to_rgba(style.HEAT, share / _darkest(frame)) for share in frame["wrong"]]
    squares = np.column_stack([x, y])[:, None, :] + SQUARE
    axes.add_collection(PolyCollection(squares, facecolors=colours, linewidths=0))
    if written:
        for column, row, text in zip(x, y, frame["accuracy"], strict=True):
            axes.text(column, row, text, ha="center", va="center_baseline", fontsize=8.5)
    axes.set(xlim=(-0.5, len(networks) - 0.5), ylim=(len(classes) - 0.5, -0.5))
    axes.xaxis.tick_top()
    slanted: dict[str, Any] = {"rotation": 55, "ha": "left", "rotation_mode": "anchor"} if _slanted(networks) else {}
    look: dict[str, Any] = {"color": style.INK, "fontsize": 9}
    axes.set_xticks(range(len(networks)), networks, **look, **slanted)
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes]
    axes.set_yticks(range(len(classes)), short, va="center_baseline", **look)
    axes.spines[:].set_visible(False)
    return figure


def vega_plot(plot: Plot) -> VegaPlot:
    """The same cells, as wide as their numbers and the slanted names of the networks need."""
    frame = plot.frame
    classes, networks = list(frame["class"].unique()), list(frame["label"].unique())
    written, slanted = len(networks) <= MOST_WRITTEN, _slanted(networks)
    angle = {"labelAngle": -55, "labelAlign": "left", "labelBaseline": "middle"} if slanted else {"labelAngle": 0}
    top = alt.Axis(orient="top", labelColor=vega.INK, labelLimit=NETWORK_NAME, domain=False, **angle)
    base = alt.Chart().encode(
        x=alt.X("label:N", sort=None, title=None, axis=top),
        y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelColor=vega.INK, labelLimit=CLASS_NAME)),
        opacity=vega.faded(),
        tooltip=vega.tooltip("class", "label", "accuracy"),
    )
    scale = alt.Scale(domain=[0, _darkest(frame)], range=[0.02, 1])
    cells = base.mark_rect(color=vega.HEAT, stroke=vega.CARD, strokeWidth=1)
    layers = [cells.encode(fillOpacity=alt.FillOpacity("wrong:Q", scale=scale, legend=None))]
    if written:
        layers.append(base.mark_text(fontSize=11).encode(text="accuracy:N"))
    # The slanted name of the last column reaches beyond it. Vega makes room for that, but takes letters for narrower
    # than some fonts have them, hence a quarter more; on a phone a column must still be as wide as its numbers.
    beyond = round(0.6 * min(LETTER * max(map(len, networks)), NETWORK_NAME)) if slanted else 0
    padding = {"left": AROUND, "top": AROUND, "right": AROUND + beyond // 4, "bottom": AROUND}
    across = 16 if not written else 40 if slanted else 75
    names = round(min(LETTER * max(map(len, classes)), CLASS_NAME)) + 10
    content = vega.specification(layers, height=(22 if written else 18) * len(classes))
    return VegaPlot(
        {"": {**content, "padding": padding}},
        least=names + across * len(networks) + beyond + padding["right"],
        most=200 + 105 * len(networks) + beyond,
    )
