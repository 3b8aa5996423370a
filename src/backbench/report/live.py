"""Pictures to touch: Vega-Lite specifications, the colours they take from the page, and the script that draws them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeAlias

import pandas as pd

# The page's variables, as in its still drawings: Vega writes them into SVG, so that light, dark and print need no code.
INK, MUTED, LINE, WHISKER = "var(--ink)", "var(--muted)", "var(--line)", "var(--whisker)"
TEST, TRAIN, GAP, OTHER = "var(--test)", "var(--train)", "var(--gap)", "var(--other)"
HEAT, CARD = "var(--heat)", "var(--card)"

# What is in focus: the candidate named `first` until somebody chooses a backbone, then all of that backbone.
FOCUS = "chosen === '' ? datum.label === first : datum.backbone === chosen"
CHOSEN = "chosen === '' || datum.backbone === chosen"
FAINT = 0.15

Rows: TypeAlias = pd.DataFrame | Sequence[Mapping[str, Any]]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"
CONFIG: dict[str, Any] = {
    "aria": False,  # the page describes each picture itself
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


@dataclass(frozen=True)
class Live:
    """One picture to touch.

    `views` are Vega-Lite specifications by the name under which the page offers them, `choice` says what is chosen
    between; `key` explains the marks: how one looks (a class of the page's style) and what it means. `focus` is what is
    in focus at first; where the key names it, the page writes the chosen backbone instead. `least` and `most` bound the
    width, in pixels.
    """

    views: Mapping[str, Mapping[str, Any]]
    key: tuple[tuple[str, str], ...]
    choice: str = ""
    focus: str = ""
    least: int = 0
    most: int = 1200


def wanted(make: Callable[[], Live]) -> Live | None:
    """What `make` makes, None where Altair or its engine is not installed."""
    if not all(find_spec(name) for name in ("altair", "vl_convert")):
        return None
    from altair.utils.schemapi import debug_mode

    # Whether a specification is valid does not depend on the data: the tests find out, and checking takes seconds.
    with debug_mode(False):
        return make()


@cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that leaves `vegaEmbed` behind and asks the network for nothing."""
    import vl_convert

    bundle = str(vl_convert.javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;"))
    # In a string of JavaScript both mean the same, and only one of them would end the element that holds it.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def specification(layers: Sequence[Any], data: Mapping[str, Rows], *, height: float, first: str = "") -> dict[str, Any]:
    """Altair layers as one Vega-Lite specification as wide as its place in the page, which sets `chosen`.

    `data` are the rows by the name under which `rows_of` refers to them.
    """
    import altair as alt

    parameters = [alt.param(name="chosen", value=""), alt.param(name="first", value=first)]
    chart = alt.layer(*layers).add_params(*parameters).properties(width="container", height=height)
    content: dict[str, Any] = chart.to_dict(validate=False)
    del content["config"], content["$schema"]  # one for all pictures
    return content | {"datasets": {name: _records(rows) for name, rows in data.items()}}


def rows_of(name: str) -> Any:
    """An Altair chart of the rows that the specification holds under this name."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def faded() -> Any:
    """Opacity that fades what does not belong to the chosen backbone."""
    import altair as alt

    return alt.condition(CHOSEN, alt.value(1), alt.value(FAINT))


def tooltip(*more: str) -> list[Any]:
    """What a mark says of its candidate: the name, the test accuracy, and the named ones of what else is known."""
    import altair as alt

    known = {
        "label": alt.Tooltip("label:N", title="candidate"),
        "test": alt.Tooltip("test:Q", title="test, %", format=".1f"),
        "train": alt.Tooltip("train:Q", title="train, %", format=".1f"),
        "points": alt.Tooltip("points:N", title="gap, points"),
        "freeze": alt.Tooltip("freeze:N", title="freeze"),
    }
    return [known[name] for name in ("label", "test", *more)]


def as_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the names in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _records(rows: Rows) -> list[dict[str, Any]]:
    """Rows as JSON-able content: numbers rounded to what a screen can show, NaN as missing."""
    records = rows.to_dict(orient="records") if isinstance(rows, pd.DataFrame) else rows
    return [{str(name): _short(value) for name, value in row.items()} for row in records]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
