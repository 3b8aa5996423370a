"""How matplotlib draws the plots: one style, colours by role, axes and legends, and the files that come of a figure."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from backbench.report.plots.plot import Axis, Plot
from backbench.report.plots.vega import VegaPlot

# Each colour has one role, so that the page can put its own variable for light and dark in its place.
# Blue and orange stay apart for every common kind of colour blindness.
INK, MUTED, LINE, WHISKER = "#1c2833", "#5a6773", "#dde3e9", "#c3cdd6"
TEST, TRAIN, GAP, OTHER = "#0b62a4", "#b45309", "#f3cfa3", "#7d8b98"
HEAT = "#d9822b"
PAPER, HOLE = "#ffffff", "#fefefe"
COLOURS = {
    "ink": INK, "muted": MUTED, "line": LINE, "whisker": WHISKER, "test": TEST, "train": TRAIN, "gap": GAP,
    "other": OTHER, "heat": HEAT, "card": HOLE,
}  # fmt: skip
PAGE_COLOURS = {colour: f"var(--{role})" for role, colour in COLOURS.items()} | {PAPER: "none"}

DASHED: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (4, 3))}
DOTTED: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (1, 2))}

# Forms of a mark in a legend; the same names are classes of the page's style.
FORMS: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 2},
    "dash": DASHED,
    "dots": DOTTED,
    "band": {"linewidth": 7},
    "pointed": {"marker": "o", "markersize": 7},
    "dot": {"marker": "o", "markersize": 7, "linewidth": 0},
    "square": {"marker": "s", "markersize": 7, "linewidth": 0},
    "ring": {"marker": "o", "markersize": 7, "linewidth": 0, "markerfacecolor": HOLE, "markeredgewidth": 2},
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.fontsize": 9.5,
    "legend.borderpad": 0,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True, eq=False)
class DrawnPlot:
    """A plot in all its forms: `png` and `svg` as files, `inline` as markup of an HTML page, `vega` to be touched."""

    plot: Plot
    png: bytes
    svg: str
    inline: str
    vega: VegaPlot

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the plot by their names."""
        return {f"{self.plot.name}.png": self.png, f"{self.plot.name}.svg": self.svg.encode()}


def drawn(plot: Plot, figure_of: Callable[[Plot], Figure], vega: VegaPlot) -> DrawnPlot:
    """A plot drawn by both of its renderers."""
    png, svg = files(plot, figure_of)
    return DrawnPlot(plot, png, svg, _inline(svg, plot), vega)


def files(plot: Plot, figure_of: Callable[[Plot], Figure]) -> tuple[bytes, str]:
    """PNG and SVG of a plot as its matplotlib renderer draws it; the same plot gives the same bytes."""
    vector, raster = io.StringIO(), io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": plot.name}):
        figure = figure_of(plot)
        # Measured once: asked for a tight box, each format would draw everything once more to find it.
        renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        box = figure.get_tightbbox(renderer).padded(0.12)
        figure.savefig(vector, format="svg", bbox_inches=box, metadata={"Date": None})
        figure.savefig(raster, format="png", bbox_inches=box, dpi=160, metadata={"Software": None})
    return raster.getvalue(), vector.getvalue()


def new_axes(width: float, height: float, *, x: Axis | None = None, y: Axis | None = None) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    set_axes(axes, x=x, y=y)
    return figure, axes


def set_axes(axes: Axes, *, x: Axis | None = None, y: Axis | None = None) -> None:
    """Scale, ends, title, numbers and grid lines of the given axes; the others stay as they are."""
    letters: tuple[Literal["x", "y"], ...] = ("x", "y")
    for letter, axis in zip(letters, (x, y), strict=True):
        if axis:
            settings: dict[str, Any] = {"scale": "log" if axis.log else "linear", "lim": axis.ends, "label": axis.title}
            settings |= {"ticks": axis.ticks, "ticklabels": [f"{tick:.4g}" for tick in axis.ticks]}
            axes.set(**{letter + name: value for name, value in settings.items()})
            axes.grid(axis=letter)
    axes.minorticks_off()


def legend(figure: Figure, axes: Axes, entries: Sequence[tuple[str, str]], *, above: float = 0.12) -> None:
    """A legend in one line, flush with the left side of the axes and so many inches above them."""
    height = axes.get_position().height * figure.get_figheight()
    handles = []
    for look, meaning in entries:
        *forms, role = look.split()
        style = {name: value for form in forms for name, value in FORMS[form].items()}
        handles.append(Line2D([], [], color=COLOURS[role], label=meaning, **style))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1 + above / height), ncols=len(handles))


def _inline(svg: str, plot: Plot) -> str:
    """The SVG as an element of an HTML page: its ids are unique there, its colours are the variables of the page."""
    root = ElementTree.fromstring(svg)  # noqa: S314  our own drawing
    for element in list(root.iter()):
        for child in list(element):
            if _local(child.tag) in ("metadata", "style"):
                element.remove(child)
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _adapted(_local(name), value, plot) for name, value in element.items()}
    root.attrib = {"role": "img", "aria-label": plot.alt, "viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """A name of XML without its namespace."""
    return name.rpartition("}")[2]


def _adapted(name: str, value: str, plot: Plot) -> str:
    if name == "id":
        return f"{plot.name}-{value}"
    if name == "href":
        return f"#{plot.name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{plot.name}-")
    for colour, variable in PAGE_COLOURS.items():
        value = value.replace(colour, variable)
    return value
