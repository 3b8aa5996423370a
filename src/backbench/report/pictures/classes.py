"""Accuracy class by class: which classes are hard for everyone, and which only for some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from backbench.core import formatting
from backbench.report import live
from backbench.report.drawing import HEAT, INK, STYLE, Numbers, Picture, picture
from backbench.report.live import Live
from backbench.report.loader import ReportData, contenders, first_seeds

NAME = "accuracy-by-class"

# The hardest classes and the networks that rank first are shown.
MOST_CLASSES, MOST_NETWORKS = 40, 40

# Pixels: of a letter of a name in the live picture, at most of a network's name and of a class's.
LETTER, LABELS, CLASSES = 6.5, 230, 200
AROUND = {"left": 4, "top": 4, "right": 4, "bottom": 4}

# Up to so many networks each cell has room for its number.
WRITTEN = 12


def draw(stored: ReportData) -> Picture | None:
    """The best candidate of each network, of several seeds the lowest; None where no predictions are stored."""
    wrong = errors(stored)
    if wrong.empty:
        return None
    shown = wrong.head(MOST_CLASSES)
    told = learned(stored.rows, wrong)
    of = f"{len(shown)} of the {len(wrong)} classes, the hardest, " if len(wrong) > len(shown) else ""
    mean = 1 - told.mean(axis=1)
    hardest = ", ".join(f"{name} ({formatting.percent(mean[name])})" for name in mean.index[:3])
    finding = f"Hardest, on average over the {told.shape[1]} networks: {hardest}."
    if told.shape[1] == 1:
        finding = f"Hardest: {hardest}."
    if told.shape[1] < wrong.shape[1]:
        finding += " Controls with random weights are drawn, but not counted."
    with mpl.rc_context(STYLE):
        return picture(
            _figure(shown),
            name=NAME,
            title="Accuracy by class",
            caption=f"{finding} Each column is the best candidate of one network, {of}ordered from hard to easy: a row"
            " full of colour is a class that is hard for everyone, a single cell of colour a weakness of one network."
            + first_seeds(stored.networks(stored.by_class, MOST_NETWORKS)),
            alt=f"Share of the test images of each class that each network gets wrong. {finding}",
            numbers=_numbers(told),
            live=live.wanted(lambda: _live(shown, stored.rows)),
        )


def errors(stored: ReportData) -> pd.DataFrame:
    """Share of the test images that are wrong: classes in rows, the hardest first, networks in columns, by rank.

    Classes without test images are left out. How hard a class is, the controls with random weights do not say.
    """
    rows = stored.networks(stored.by_class, MOST_NETWORKS)
    if rows.empty:
        return pd.DataFrame()
    counts = [stored.by_class[cell_id] for cell_id in rows["cell_id"]]
    known = counts[0][1] > 0
    wrong = np.column_stack([1 - right[known] / items[known] for right, items in counts])
    frame = pd.DataFrame(wrong, index=np.array(_names(stored, len(known)))[known], columns=list(rows["label"]))
    return frame.iloc[np.argsort(-learned(rows, frame).to_numpy().mean(axis=1), kind="stable")]


def learned(rows: pd.DataFrame, wrong: pd.DataFrame) -> pd.DataFrame:
    """The columns of the networks that are no controls, by rank; all of them where there are only controls."""
    return wrong[list(contenders(rows[rows["label"].isin(wrong.columns)])["label"])]


def _names(stored: ReportData, classes: int) -> list[str]:
    names = stored.run.dataset.classes
    fits = len(names) == len(set(names)) == classes
    return list(names) if fits else [f"class {i}" for i in range(classes)]


def _numbers(wrong: pd.DataFrame) -> Numbers:
    right = 1 - wrong
    rows = [
        (
            str(name),
            formatting.percent(float(values.mean())),
            f"{formatting.percent(float(values.min()))} ({values.idxmin()})",
            f"{formatting.percent(float(values.max()))} ({values.idxmax()})",
        )
        for name, values in right.iterrows()
    ]
    return Numbers(("Class", "Mean accuracy", "Lowest", "Highest"), tuple(rows))


def _darkest(wrong: pd.DataFrame) -> float:
    return max(float(wrong.to_numpy().max()), 0.01)


def _figure(wrong: pd.DataFrame) -> Figure:
    classes, networks = wrong.shape
    figure = Figure(figsize=(min(2.6 + 0.75 * networks, 9.2) if networks <= WRITTEN else 9.2, 1.7 + 0.25 * classes))
    axes = figure.subplots()
    darkest = _darkest(wrong)
    places = np.argwhere(np.ones(wrong.shape, dtype=bool))
    square = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])
    colours = [to_rgba(HEAT, share / darkest) for share in wrong.to_numpy().ravel()]
    axes.add_collection(PolyCollection(places[:, None, ::-1] + square, facecolors=colours, linewidths=0))
    if networks <= WRITTEN:
        for (row, column), share in np.ndenumerate(wrong.to_numpy()):
            text = formatting.percent(1 - share).removesuffix("%")
            axes.text(column, row, text, ha="center", va="center_baseline", fontsize=8.5, color=INK)
    axes.set_xlim(-0.5, networks - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    axes.xaxis.tick_top()
    slanted = _slanted(wrong)
    axes.set_xticks(
        range(networks), list(wrong.columns), rotation=55 if slanted else 0, ha="left" if slanted else "center",
        rotation_mode="anchor", color=INK, fontsize=9,
    )  # fmt: skip
    axes.set_yticks(range(classes), [_short(name) for name in wrong.index], color=INK, fontsize=9, va="center_baseline")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _slanted(wrong: pd.DataFrame) -> bool:
    """Whether the names of the networks are too many or too long to stand upright beside each other."""
    return wrong.shape[1] > 4 or max(map(len, wrong.columns)) > 10


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _live(wrong: pd.DataFrame, rows: pd.DataFrame) -> Live:
    import altair as alt

    backbones = dict(zip(rows["label"], rows["backbone"], strict=True))
    cells = [
        {
            "class": name,
            "label": label,
            "backbone": backbones[label],
            "wrong": share,
            "right": formatting.percent(1 - share).removesuffix("%"),
        }
        for name, values in wrong.iterrows()
        for label, share in values.items()
    ]
    networks = wrong.shape[1]
    slanted = _slanted(wrong)
    angle = {"labelAngle": -55, "labelAlign": "left", "labelBaseline": "middle"} if slanted else {"labelAngle": 0}
    base = live.rows_of("cells").encode(
        x=alt.X(
            "label:N",
            sort=None,
            title=None,
            axis=alt.Axis(orient="top", labelColor=live.INK, labelLimit=LABELS, domain=False, **angle),
        ),
        y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelColor=live.INK, labelLimit=CLASSES)),
        opacity=live.faded(),
        tooltip=[
            alt.Tooltip("class:N", title="class"),
            alt.Tooltip("label:N", title="candidate"),
            alt.Tooltip("right:N", title="right, %"),
        ],
    )
    scale = alt.Scale(domain=[0, _darkest(wrong)], range=[0.02, 1])
    layers: Sequence[Any] = [
        base.mark_rect(color=live.HEAT, stroke=live.CARD, strokeWidth=1).encode(
            fillOpacity=alt.FillOpacity("wrong:Q", scale=scale, legend=None)
        )
    ]
    if networks <= WRITTEN:
        layers = [*layers, base.mark_text(fontSize=11).encode(text="right:N")]
    darkest = formatting.percent(1 - _darkest(wrong))
    key = (("heat", f"from 100% right to {darkest}"),)
    # The slanted name of the last column reaches beyond it. Vega makes room for that, but takes letters for narrower
    # than some fonts have them, hence a quarter more; on a phone a column must still be as wide as its numbers.
    beyond = round(0.6 * min(LETTER * max(map(len, wrong.columns)), LABELS)) if slanted else 0
    padding = {**AROUND, "right": AROUND["right"] + beyond // 4}
    across = 16 if networks > WRITTEN else 40 if slanted else 75
    names = round(min(LETTER * max(map(len, wrong.index)), CLASSES)) + 10
    height = (22 if networks <= WRITTEN else 18) * len(wrong)
    return Live(
        {"": {**live.specification(layers, {"cells": cells}, height=height), "padding": padding}},
        key,
        least=names + across * networks + beyond + padding["right"],
        most=200 + 105 * networks + beyond,
    )
