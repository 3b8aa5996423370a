"""What a plot is, whoever draws it: a tidy frame that is prepared once, with its words, its legend and its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from backbench.core import formatting


@dataclass(frozen=True)
class PlotTable:
    """What a plot shows, as a table of text: the first column names the rows."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Plot:
    """One plot, prepared and not yet drawn.

    `frame` is tidy, one row per point or cell, with every column that either renderer draws or writes. `caption` holds
    the finding, `alt` says in words what is shown, `table` is None where the leaderboard has all the numbers. `legend`
    pairs the look of a mark, its forms and then its role (`line pointed test`), with its meaning. `focus` is the label
    of the candidate that is emphasised; where the legend names it, the page writes the chosen backbone instead.
    """

    name: str
    title: str
    caption: str
    alt: str
    frame: pd.DataFrame
    legend: tuple[tuple[str, str], ...] = ()
    focus: str = ""
    table: PlotTable | None = None


@dataclass(frozen=True)
class Axis:
    """A numeric axis as both renderers draw it: the column, the title, both ends, and the numbers written along it."""

    column: str
    title: str
    ends: tuple[float, float]
    ticks: Sequence[float]
    log: bool = False


def percentages(rows: pd.DataFrame) -> pd.DataFrame:
    """The candidates with `test`, `train`, `low`, `high` and `gap` in percent, and `points`, the gap as text.

    An interval that is unknown has no width.
    """
    return rows.assign(
        test=100 * rows["test_acc"],
        train=100 * rows["train_acc"],
        low=100 * rows["test_acc_lo"].fillna(rows["test_acc"]),
        high=100 * rows["test_acc_hi"].fillna(rows["test_acc"]),
        gap=100 * (rows["train_acc"] - rows["test_acc"]),
        points=[formatting.points(gap) for gap in rows["train_acc"] - rows["test_acc"]],
    )


def ticks(low: float, high: float, most: int = 6, *, log: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, on a logarithmic axis 1, 2 and 5 times the powers of ten."""
    locator = LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10])
    places = locator.tick_values(low, high)
    return [float(place) for place in places if low <= place <= high]
