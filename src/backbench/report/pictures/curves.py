"""Learning curves: how the score on val moved while the unfrozen part was trained, and which epoch was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from backbench.core import formatting
from backbench.report import live
from backbench.report.drawing import HOLE, OTHER, STYLE, TEST, Numbers, Picture, legend, picture
from backbench.report.live import Live
from backbench.report.loader import ReportData, first_seed, first_seeds

NAME = "learning-curves"

# More candidates than this are too many lines; those that rank first are shown.
MOST = 60

MEASURES = (
    ("score", "selection score", "selection score on val"),
    ("val_acc", "accuracy", "accuracy on val, %"),
    ("loss", "training loss", "loss on train, labels smoothed"),
)


def draw(stored: ReportData) -> Picture | None:
    """The trained candidates, best first, of several seeds the lowest; None where no training was recorded."""
    points = curves(stored)
    if points.empty:
        return None
    names = list(dict.fromkeys(points["label"]))
    rows = stored.rows.set_index("label").loc[names]
    rise = _rise(points, names[0], first_seed(rows.iloc[0]))
    best = stored.rows["label"].iloc[0]
    unseen = f"{best}, which ranks first, was solved in one step and has no curve. " if best not in names else ""
    last = points[points["chosen"]].groupby("label", sort=False)["epoch"].max()
    kept = points[points["best"]].set_index("label")
    late = sum(kept.loc[name, "epoch"] == last[name] for name in kept.index if last[name] > 0)
    trained = stored.rows["cell_id"].isin(list(stored.training)).sum()
    left_out = f" Shown are the first {MOST} of {trained} by rank." if trained > len(names) else ""
    with mpl.rc_context(STYLE):
        return picture(
            _figure(points, names[0]),
            name=NAME,
            title="Learning curves",
            caption=f"{unseen}{rise}{_late(late, len(kept))} Epoch 0 is the start: the probe's head, or random weights."
            f" Dashed lines are the other learning rates that were tried.{left_out}{first_seeds(rows)}",
            alt=f"Selection score on val over the epochs of {len(names)} trained candidates. {rise}",
            numbers=_numbers(points),
            live=live.wanted(lambda: _live(points)),
        )


def curves(stored: ReportData) -> pd.DataFrame:
    """One row per candidate, learning rate and epoch, candidates by rank.

    Columns: `label`, `backbone`, `rate`, `epoch`, `score`, `val_acc` in percent, `loss`, `chosen` (the rate that was
    kept) and `best` (its epoch that was kept).
    """
    known = stored.rows[stored.rows["cell_id"].isin(list(stored.training))].head(MOST)
    points = [
        {"label": row["label"], "backbone": row["backbone"], **point}
        for row in known.to_dict(orient="records")
        for point in _points(stored.training[row["cell_id"]])
    ]
    columns = ["label", "backbone", "rate", "epoch", "score", "val_acc", "loss", "chosen", "best"]
    frame = pd.DataFrame(points, columns=columns)
    return frame.astype({"score": float, "val_acc": float, "loss": float, "chosen": bool, "best": bool})


def _points(trace: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for position, trial in enumerate(trace.get("trials") or ()):
        chosen = position == trace.get("chosen")
        for epoch in (trace.get("start"), *trial.get("curve", ())):
            if not epoch:
                continue
            yield {
                "rate": f"{trial.get('rate', 0):g}",
                "epoch": epoch["epoch"],
                "score": epoch["score"],
                "val_acc": 100 * epoch["val_acc"],
                "loss": epoch["loss"],
                "chosen": chosen,
                "best": chosen and epoch["epoch"] == trace.get("best_epoch"),
            }


def _rise(points: pd.DataFrame, name: str, seed: str) -> str:
    own = points[(points["label"] == name) & points["chosen"]]
    kept = own[own["best"]]
    if own.empty or kept.empty:
        return ""
    first, best = own.iloc[0], kept.iloc[0]
    if best["epoch"] == first["epoch"]:
        return f"{name}{seed} was never better on val than at its start ({formatting.decimal(first['score'])})."
    return (
        f"{name}{seed} rose from {formatting.decimal(first['score'])} to {formatting.decimal(best['score'])} on val, "
        f"at a learning rate of {best['rate']}, in epoch {best['epoch']}."
    )


def _late(late: int, trained: int) -> str:
    if not late:
        return ""
    which = (
        "It" if trained == 1 else f"All {trained} candidates" if late == trained else f"{late} of {trained} candidates"
    )
    return f" {which} {'was' if late == 1 else 'were'} best in the last epoch: more epochs may help."


def _numbers(points: pd.DataFrame) -> Numbers:
    rows = []
    for name, own in points[points["chosen"]].groupby("label", sort=False):
        best = own[own["best"]]
        kept = best.iloc[0] if len(best) else own.iloc[-1]
        start, end = formatting.decimal(own["score"].iloc[0]), formatting.decimal(kept["score"])
        rows.append((str(name), kept["rate"], start, end, str(kept["epoch"]), str(own["epoch"].max())))
    return Numbers(("Candidate", "Learning rate", "Score at start", "Best score", "In epoch", "Epochs"), tuple(rows))


def _figure(points: pd.DataFrame, focus: str) -> Figure:
    figure = Figure(figsize=(8.4, 4.2))
    axes = figure.subplots()
    for name, own in points[points["chosen"] & (points["label"] != focus)].groupby("label", sort=False):
        axes.plot(own["epoch"], own["score"], color=OTHER, linewidth=1.1, alpha=0.55, zorder=2, label=f"_{name}")
    mine = points[points["label"] == focus]
    for _, own in mine[~mine["chosen"]].groupby("rate", sort=False):
        axes.plot(own["epoch"], own["score"], color=TEST, linewidth=1.2, linestyle=(0, (3, 2)), zorder=3)
    own = mine[mine["chosen"]]
    axes.plot(own["epoch"], own["score"], color=TEST, linewidth=2.2, zorder=4)
    best = points[points["best"]]
    axes.plot(best["epoch"], best["score"], "o", color=OTHER, markersize=3.5, zorder=3)
    best = own[own["best"]]
    axes.plot(best["epoch"], best["score"], "o", color=TEST, markersize=8, zorder=5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("selection score on val")
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    handles = [Line2D([], [], color=TEST, linewidth=2.2, marker="o", markersize=7, label=f"{focus}, best epoch")]
    if len(mine) > len(own):
        handles.append(
            Line2D([], [], color=TEST, linewidth=1.2, linestyle=(0, (3, 2)), label="its other learning rates")
        )
    if len(points) > len(mine):
        handles.append(
            Line2D(
                [], [], color=OTHER, linewidth=1.1, marker="o", markersize=3.5, markerfacecolor=OTHER,
                markeredgecolor=HOLE, markeredgewidth=0, label="the other candidates",
            )
        )  # fmt: skip
    legend(figure, axes, handles)
    return figure


def _live(points: pd.DataFrame) -> Live:
    key = (
        ("line test", points["label"].iloc[0]),
        ("dash test", "its other learning rates"),
        ("line other", "the other candidates"),
    )
    views = {view: _specification(points, column, title) for column, view, title in MEASURES}
    return Live(views, key, choice="Measure", focus=key[0][1])


def _specification(points: pd.DataFrame, column: str, title: str) -> dict[str, Any]:
    import altair as alt

    columns = ["label", "backbone", "rate", "epoch", column, "chosen", "best"]
    base = live.rows_of("epochs").encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
        y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False)),
        detail=["label:N", "rate:N"],
        tooltip=[
            alt.Tooltip("label:N", title="candidate"),
            alt.Tooltip("rate:N", title="learning rate"),
            alt.Tooltip("epoch:Q", title="epoch"),
            alt.Tooltip(f"{column}:Q", title=title, format=".1f" if column == "val_acc" else ".3f"),
        ],
    )
    kept = base.transform_filter("datum.chosen")
    focus = base.transform_filter(live.FOCUS)
    layers = (
        kept.mark_line(color=live.OTHER, strokeWidth=1.3, opacity=0.4),
        kept.transform_filter("datum.best").mark_point(filled=True, size=25, color=live.OTHER, opacity=0.7),
        focus.transform_filter("!datum.chosen").mark_line(color=live.TEST, strokeWidth=1.4, strokeDash=[3, 2]),
        focus.transform_filter("datum.chosen").mark_line(color=live.TEST, strokeWidth=2.5),
        focus.mark_point(filled=True, size=30, color=live.TEST, opacity=1),
        focus.transform_filter("datum.best").mark_point(filled=True, size=100, color=live.TEST, opacity=1),
    )
    data = {"epochs": points.loc[points[column].notna(), columns]}
    return live.specification(layers, data, height=320, first=str(points["label"].iloc[0]))
