"""Learning curves: how the score on val moved while the unfrozen part was trained, and which epoch was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backbench.core import formatting
from backbench.report.loader import ReportData, first_seed, first_seeds
from backbench.report.plots import style, vega
from backbench.report.plots.plot import Plot, PlotTable
from backbench.report.plots.vega import VegaPlot

NAME = "learning-curves"
COLUMNS = ["label", "backbone", "rate", "epoch", "score", "val_acc", "loss", "chosen", "kept"]
NUMBERS = {"score": float, "val_acc": float, "loss": float, "chosen": bool, "kept": bool}

# More candidates than this are too many lines; those that rank first are shown.
MOST = 60

# By the name of the view: the column, its title, the format of its numbers.
MEASURES = {
    "selection score": ("score", "selection score on val", ".3f"),
    "accuracy": ("val_acc", "accuracy on val, %", ".1f"),
    "training loss": ("loss", "loss on train, labels smoothed", ".3f"),
}


def prepare(stored: ReportData) -> Plot | None:
    """The trained candidates, best first, of several seeds the lowest; None where no training was recorded."""
    epochs = curves(stored)
    if epochs.empty:
        return None
    names = list(dict.fromkeys(epochs["label"]))
    rows = stored.rows.set_index("label").loc[names]
    rise = _rise(epochs[epochs["label"] == names[0]], names[0] + first_seed(rows.iloc[0]))
    best = stored.rows["label"].iloc[0]
    unseen = f"{best}, which ranks first, was solved in one step and has no curve. " if best not in names else ""
    trained = stored.rows["cell_id"].isin(list(stored.training)).sum()
    left_out = f" Shown are the first {MOST} of {trained} by rank." if trained > len(names) else ""
    legend = [("line pointed test", names[0])]
    if not epochs.loc[epochs["label"] == names[0], "chosen"].all():
        legend.append(("dash test", "its other learning rates"))
    if len(names) > 1:
        legend.append(("line other", "the other candidates"))
    others = "" if epochs["chosen"].all() else " Dashed lines are the other learning rates that were tried."
    return Plot(
        NAME,
        title="Learning curves",
        caption=f"{unseen}{rise} Epoch 0 is the start: the probe's head, or random"
        f" weights. The dot of a line is the epoch whose weights were kept.{others}"
        f"{left_out}{first_seeds(rows)}",
        alt=f"Selection score on val over the epochs of {len(names)} trained candidates. {rise}",
        frame=epochs,
        legend=tuple(legend),
        focus=names[0],
        table=_table(epochs[epochs["chosen"]]),
    )


def curves(stored: ReportData) -> pd.DataFrame:
    """One row per candidate, learning rate and epoch, candidates by rank.

    Columns: `label`, `backbone`, `rate`, `epoch`, `score`, `val_acc` in percent, `loss`, `chosen` (the rate that was
    kept) and `kept` (its epoch whose weights were).
    """
    rows = stored.rows[stored.rows["cell_id"].isin(list(stored.training))].head(MOST)
    epochs = [
        {"label": row["label"], "backbone": row["backbone"], **epoch}
        for row in rows.to_dict(orient="records")
        for epoch in _epochs(stored.training[row["cell_id"]])
    ]
    return pd.DataFrame(epochs, columns=COLUMNS).astype(NUMBERS)


def _epochs(trace: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for position, trial in enumerate(trace.get("trials") or ()):
        chosen = position == trace.get("chosen")
        for epoch in (trace.get("start"), *trial.get("curve", ())):
            if epoch:
                yield {
                    "rate": f"{trial.get('rate', 0):g}",
                    "epoch": epoch["epoch"],
                    "score": epoch["score"],
                    "val_acc": 100 * epoch["val_acc"],
                    "loss": epoch["loss"],
                    "chosen": chosen,
                    # Before protocol 5 the best epoch on val was kept.
                    "kept": chosen and epoch["epoch"] == trace.get("epoch", trace.get("best_epoch")),
                }


def _rise(epochs: pd.DataFrame, name: str) -> str:
    """What training brought the candidate that these epochs are of."""
    chosen = epochs[epochs["chosen"]]
    if not chosen["kept"].any():
        return ""
    first, kept = chosen.iloc[0], chosen[chosen["kept"]].iloc[0]
    went = "rose" if kept["score"] > first["score"] else "went"
    return (
        f"{name} {went} from {formatting.decimal(first['score'])} to {formatting.decimal(kept['score'])} on val, at a "
        f"learning rate of {kept['rate']}, in {kept['epoch']} epochs."
    )


def _table(chosen: pd.DataFrame) -> PlotTable:
    rows = []
    for name, epochs in chosen.groupby("label", sort=False):
        kept = epochs[epochs["kept"]].iloc[0] if epochs["kept"].any() else epochs.iloc[-1]
        start, end = formatting.decimal(epochs["score"].iloc[0]), formatting.decimal(kept["score"])
        rows.append((str(name), kept["rate"], start, end, str(kept["epoch"]), str(epochs["epoch"].max())))
    return PlotTable(("Candidate", "Learning rate", "Score at start", "Score kept", "Of epoch", "Epochs"), tuple(rows))


def matplotlib_figure(plot: Plot) -> Figure:
    """The selection score: the focus with all its learning rates, of the others the one that was chosen."""
    figure, axes = style.new_axes(8.4, 4.2)
    lines: dict[tuple[bool, bool], dict[str, Any]] = {
        (True, True): {"color": style.TEST, "linewidth": 2.2, "zorder": 4},
        (True, False): {"color": style.TEST, "zorder": 3, **style.DASHED},
        (False, True): {"color": style.OTHER, "linewidth": 1.1, "alpha": 0.55, "zorder": 2},
    }
    for (name, _, chosen), epochs in plot.frame.groupby(["label", "rate", "chosen"], sort=False):
        focus = name == plot.focus
        if focus or chosen:
            line, kept = lines[focus, chosen], epochs[epochs["kept"]]
            axes.plot(epochs["epoch"], epochs["score"], **line)
            axes.plot(kept["epoch"], kept["score"], "o", color=line["color"], markersize=8 if focus else 3.5, zorder=5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=MEASURES["selection score"][1])
    axes.grid(axis="y")
    style.legend(figure, axes, plot.legend)
    return figure


def vega_plot(plot: Plot) -> VegaPlot:
    """A view for every measure."""
    return VegaPlot({view: _specification(plot, *measure) for view, measure in MEASURES.items()}, choice="Measure")


def _specification(plot: Plot, column: str, title: str, form: str) -> dict[str, Any]:
    base = (
        alt.Chart()
        .transform_filter(f"isValid(datum.{column})")
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False)),
            detail=["label:N", "rate:N"],
            tooltip=[*vega.tooltip("label", "rate", "epoch"), alt.Tooltip(f"{column}:Q", title=title, format=form)],
        )
    )
    chosen = base.transform_filter("datum.chosen")
    focus = base.transform_filter(vega.FOCUS)
    layers = (
        chosen.mark_line(color=vega.OTHER, strokeWidth=1.3, opacity=0.4),
        chosen.transform_filter("datum.kept").mark_point(filled=True, size=25, color=vega.OTHER, opacity=0.7),
        focus.transform_filter("!datum.chosen").mark_line(color=vega.TEST, strokeWidth=1.4, strokeDash=[3, 2]),
        focus.transform_filter("datum.chosen").mark_line(color=vega.TEST, strokeWidth=2.5),
        focus.mark_point(filled=True, size=30, color=vega.TEST, opacity=1),
        focus.transform_filter("datum.kept").mark_point(filled=True, size=100, color=vega.TEST, opacity=1),
    )
    return vega.specification(layers, height=320, first=plot.focus)
