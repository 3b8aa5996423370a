"""From the text of `--backbones` to rows of the table."""

from __future__ import annotations

import difflib

from backbench.backbones.registry import APPLICATIONS, BACKBONES, BY_NAME, FAMILIES
from backbench.core.backbone import Backbone
from backbench.core.errors import RequestError

SETS: dict[str, tuple[str, ...]] = {
    "all": tuple(backbone.name for backbone in APPLICATIONS),
    "starter": ("MobileNetV2", "MobileNet", "VGG16", "Xception"),
    "article": ("VGG16", "InceptionV3", "Xception", "ResNet50"),
}

_CANONICAL = {name.lower(): name for name in (*BY_NAME, *SETS, *FAMILIES)}
_CANONICAL |= {backbone.name.lower(): backbone.name for backbone in APPLICATIONS}  # a function goes before its family
_LIST_COMMAND = "`backbench backbones` lists all"


def parse_backbones(text: str) -> tuple[Backbone, ...]:
    """Rows chosen by a comma-separated list, in its order and without repeats.

    An item is a name as in `keras.applications` (case does not matter, unless it tells the function `MobileNet` from
    the family `mobilenet`), a width such as `MobileNetV2:alpha=0.35`, a set, a family or `scratch`. The list is read
    from left to right; an item with a leading `-` takes out what stands there so far.

    Raises RequestError for an unknown item and when nothing is left.
    """
    items = [item for item in (part.strip() for part in text.split(",")) if item]
    if not items:
        raise RequestError(f"no backbone was named: {_LIST_COMMAND}")
    chosen: dict[str, None] = {}
    for item in items:
        if not item.startswith("-"):
            chosen.update(dict.fromkeys(_expand(item)))
        elif not chosen:
            raise RequestError(f"'{item}' comes before anything is chosen: write 'all,{item}'")
        else:
            for name in _expand(item[1:].strip(), removing=True):
                chosen.pop(name, None)
    if not chosen:
        raise RequestError(f"'{text}' leaves no backbone: everything that it names is taken out again")
    return tuple(BY_NAME[name] for name in chosen)


def _expand(item: str, *, removing: bool = False) -> tuple[str, ...]:
    """Names that one item stands for; widths belong to their family only when it is taken out."""
    function, colon, option = item.partition(":")
    if colon:
        return (_width(item, function=function, option=option),)
    name = item if item in SETS or item in FAMILIES else _CANONICAL.get(item.lower(), "")
    if name in SETS:
        return SETS[name]
    if name in FAMILIES:
        rows = BACKBONES if removing else APPLICATIONS
        return tuple(row.name for row in rows if row.family == name)
    if name:
        return (name,)
    raise RequestError(f"unknown backbone '{item}'{_nearest(item)}; {_LIST_COMMAND}")


def _width(item: str, *, function: str, option: str) -> str:
    """Name of one width: `mobilenetv2:alpha=0.350` is `MobileNetV2:alpha=0.35`, and alpha 1 is the function itself."""
    rows = [row for row in BACKBONES if row.function.lower() == function.strip().lower()]
    if not rows:
        raise RequestError(f"unknown backbone '{item}'{_nearest(function)}; {_LIST_COMMAND}")
    known = ", ".join(row.name for row in rows if row.alpha is not None)
    if not known:
        raise RequestError(f"'{item}': {rows[0].function} comes in one width only, write '{rows[0].function}'")
    key, _, value = option.partition("=")
    try:
        alpha = float(value) if key.strip().lower() == "alpha" else None
    except ValueError:
        alpha = None
    for row in rows:
        if alpha is not None and alpha == (1.0 if row.alpha is None else row.alpha):
            return row.name
    raise RequestError(f"no weights were published for '{item}'; the widths beside 1 are {known}")


def _nearest(item: str) -> str:
    close = difflib.get_close_matches(item.lower(), _CANONICAL, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(_CANONICAL[name] for name in close)}?" if close else ""
