"""How pictures are drawn: one style, colours by role, and the three forms in which a picture is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Each colour is used for one role only, so that the page can replace it by its own variable for light and dark.
# Blue and orange stay apart for every common kind of colour blindness.
INK, MUTED, GRID, WHISKER = "#1c2833", "#5a6773", "#dde3e9", "#c3cdd6"
TEST, TRAIN, GAP, OTHER = "#0b62a4", "#b45309", "#f3cfa3", "#7d8b98"
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
class Picture:
    """One picture in its three forms; `alt` says in words what it shows, `inline` belongs inside an HTML page."""

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: str
    inline: str


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


def picture(figure: Figure, name: str, title: str, caption: str, alt: str) -> Picture:
    """A drawn figure in its three forms; the same figure gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": name}):
        vector, raster = io.StringIO(), io.BytesIO()
        figure.savefig(vector, format="svg", bbox_inches="tight", pad_inches=0.12, metadata={"Date": None})
        figure.savefig(raster, format="png", bbox_inches="tight", pad_inches=0.12, dpi=160, metadata={"Software": None})
    svg = vector.getvalue()
    return Picture(name, title, caption, alt, raster.getvalue(), svg, _inline(svg, name, alt))


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
