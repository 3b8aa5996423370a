"""How pictures are drawn: one style, colours by role, and the three forms in which a picture is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backbench.core import formatting as text
from backbench.report.live import Live

# Each colour is used for one role only, so that the page can replace it by its own variable for light and dark.
# Blue and orange stay apart for every common kind of colour blindness.
INK, MUTED, GRID, WHISKER = "#1c2833", "#5a6773", "#dde3e9", "#c3cdd6"
TEST, TRAIN, GAP, OTHER = "#0b62a4", "#b45309", "#f3cfa3", "#7d8b98"
HEAT = "#d9822b"
PAPER, HOLE = "#ffffff", "#fefefe"
ROLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    WHISKER: "var(--whisker)",
    TEST: "var(--test)",
    TRAIN: "var(--train)",
    GAP: "var(--gap)",
    OTHER: "var(--other)",
    HEAT: "var(--heat)",
    PAPER: "none",
    HOLE: "var(--card)",
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True)
class Numbers:
    """What a picture shows, as a table of text: the first column names the rows."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """One picture in its three still forms, and to touch where Altair is installed.

    `alt` says in words what it shows; `inline` belongs inside an HTML page; `numbers` is None where the leaderboard has
    them all.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: str
    inline: str
    numbers: Numbers | None = None
    live: Live | None = None


def percentages(rows: pd.DataFrame) -> pd.DataFrame:
    """The candidates with `test`, `train`, `low` and `high` in percent; an interval that is unknown has no width."""
    return rows.assign(
        test=100 * rows["test_acc"],
        train=100 * rows["train_acc"],
        low=100 * rows["test_acc_lo"].fillna(rows["test_acc"]),
        high=100 * rows["test_acc_hi"].fillna(rows["test_acc"]),
        points=[text.points(gap) for gap in rows["train_acc"] - rows["test_acc"]],
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from the first at or above `low` to the last at or below `high`."""
    places = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(place) for place in places if low <= place <= high]


def legend(figure: Figure, axes: Axes, handles: Sequence[Artist]) -> None:
    """A legend in one line above the axes, flush with their left side."""
    above = 1 + 0.12 / (figure.get_figheight() - 1)
    axes.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(-0.01, above),
        ncols=len(handles),
        borderpad=0,
        fontsize=9.5,
    )


def picture(
    figure: Figure,
    *,
    name: str,
    title: str,
    caption: str,
    alt: str,
    numbers: Numbers | None = None,
    live: Live | None = None,
) -> Picture:
    """A drawn figure in its three forms; the same figure gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": name}):
        vector, raster = io.StringIO(), io.BytesIO()
        # Measured once: asked for a tight box, each format would draw everything once more to find it.
        renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        box = figure.get_tightbbox(renderer).padded(0.12)
        figure.savefig(vector, format="svg", bbox_inches=box, metadata={"Date": None})
        figure.savefig(raster, format="png", bbox_inches=box, dpi=160, metadata={"Software": None})
    svg = vector.getvalue()
    return Picture(name, title, caption, alt, raster.getvalue(), svg, _inline(svg, name, alt), numbers, live)


def _inline(svg: str, name: str, alt: str) -> str:
    """The drawing without prolog, ids made unique in the page, colours handed over to the page's variables."""
    body = svg[svg.index("<svg ") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style .*?</style>", "", body, flags=re.DOTALL)

    def adapt(match: re.Match[str]) -> str:
        # Only inside of tags: text between them is somebody's words. Neither `<` nor `>` stands unescaped in either.
        tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", match[0])
        tag = re.sub(r'(?<= )id="', f'id="{name}-', tag).replace("url(#", f"url(#{name}-")
        tag = re.sub(r'xlink:href="#', f'href="#{name}-', tag)
        return re.sub(r"#[0-9a-f]{6}\b", lambda colour: ROLES.get(colour[0], colour[0]), tag)

    body = re.sub(r"<[^<>]+>", adapt, body)
    opening = f'<svg role="img" aria-label="{escape(alt)}" viewBox='
    return re.sub(r"<svg [^<>]*?viewBox=", lambda _: opening, body, count=1)
