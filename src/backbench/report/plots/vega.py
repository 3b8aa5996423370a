"""How Vega-Lite draws the plots, to be touched: what their specifications share, and the script that draws them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from backbench.report.plots.plot import Axis

# Variables of the page's style: Vega writes them into its SVG, so that light, dark and print need no code.
INK, MUTED, LINE, WHISKER = "var(--ink)", "var(--muted)", "var(--line)", "var(--whisker)"
TEST, TRAIN, GAP, OTHER = "var(--test)", "var(--train)", "var(--gap)", "var(--other)"
HEAT, CARD = "var(--heat)", "var(--card)"

# What is in focus: the candidate named `first` until somebody chooses a backbone, then all of that backbone.
FOCUS = "chosen === '' ? datum.label === first : datum.backbone === chosen"
CHOSEN = "chosen === '' || datum.backbone === chosen"
FAINT = 0.15

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"
CONFIG: dict[str, Any] = {
    "aria": False,  # the page describes each plot itself
    "background": "transparent",
    "font": FONT,
    "padding": 4,
    "mark": {"aria": False, "cursor": "pointer"},
    "view": {"stroke": None},
    "axis": {
        "domainColor": LINE,
        "gridColor": LINE,
        "labelColor": MUTED,
        "labelFontSize": 12,
        "labelPadding": 6,
        "ticks": False,
        "titleColor": MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False},
    "text": {"color": INK, "fontSize": 12},
}

# What a mark says of itself: the title of a column and the format of its numbers.
TOOLTIPS = {
    "label": ("candidate", ""),
    "test": ("test, %", ".1f"),
    "train": ("train, %", ".1f"),
    "points": ("gap, points", ""),
    "freeze": ("freeze", ""),
    "class": ("class", ""),
    "accuracy": ("right, %", ""),
    "rate": ("learning rate", ""),
    "epoch": ("epoch", "d"),
    "confidence": ("mean confidence, %", ".1f"),
    "right": ("right, %", ".1f"),
    "items": ("test images", ","),
}


@dataclass(frozen=True)
class VegaPlot:
    """A plot to be touched.

    `views` are Vega-Lite specifications of its frame by the name under which the page offers them, `choice` says what
    is chosen between; `least` and `most` bound the width, in pixels.
    """

    views: Mapping[str, Mapping[str, Any]]
    choice: str = ""
    least: int = 0
    most: int = 1200


@cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that leaves `vegaEmbed` behind and asks the network for nothing."""
    bundle = str(vl_convert.javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;"))
    # In a string of JavaScript both mean the same, and only one of them would end the element that holds it.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def specification(layers: Sequence[alt.Chart], *, height: float, first: str = "") -> dict[str, Any]:
    """Layers as one Vega-Lite specification of the data set `rows`, as wide as its place in the page.

    The page sets the parameter `chosen` to a backbone; `first` is the label that is in focus before.
    """
    parameters = [alt.param(name="chosen", value=""), alt.param(name="first", value=first)]
    chart = alt.layer(*layers, data=alt.NamedData(name="rows")).add_params(*parameters)
    content: dict[str, Any] = chart.properties(width="container", height=height).to_dict(validate=False)
    del content["config"], content["$schema"]  # one for all plots
    return content


def x_of(axis: Axis, **scale: Any) -> alt.X:
    """The encoding of its column along a horizontal axis."""
    more = {"grid": True, "domain": False, "labelOverlap": True, "labelSeparation": 6}
    return alt.X(f"{axis.column}:Q", scale=_scale(axis, **scale), axis=_axis(axis, **more))


def y_of(axis: Axis, column: str = "") -> alt.Y:
    """The encoding of its column, or another one, along a vertical axis."""
    return alt.Y(f"{column or axis.column}:Q", scale=_scale(axis), axis=_axis(axis))


def _scale(axis: Axis, **more: Any) -> alt.Scale:
    return alt.Scale(type="log" if axis.log else "linear", domain=list(axis.ends), nice=False, **more)


def _axis(axis: Axis, **more: Any) -> alt.Axis:
    return alt.Axis(title=axis.title, values=list(axis.ticks), format=".4~g", **more)


def faded() -> Any:
    """Opacity that fades what does not belong to the chosen backbone."""
    return alt.condition(CHOSEN, alt.value(1), alt.value(FAINT))


def tooltip(*columns: str) -> list[alt.Tooltip]:
    """What a mark says of itself, by the columns of its row."""
    told = ((column, *TOOLTIPS[column]) for column in columns)
    return [
        alt.Tooltip(f"{column}:Q", title=title, format=form) if form else alt.Tooltip(f"{column}:N", title=title)
        for column, title, form in told
    ]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-able content: numbers rounded to what a screen can show, NaN as missing."""
    return [{str(name): _short(value) for name, value in row.items()} for row in frame.to_dict(orient="records")]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def as_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the names in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
