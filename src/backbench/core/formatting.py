"""Numbers, names and untrusted text as people read them.

Functions of a number accept one that is missing (None or not finite) and return `MISSING` for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

MISSING = "–"

# Up to this many names, and one more, are written out in a sentence.
MOST_NAMES = 4


def _plain(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 0.95 else 2 if size >= 0.095 else 3
    return f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """0.792 as `79.2%`."""
    return MISSING if share is None or not isfinite(share) else signed(f"{100 * share:.1f}%")


def interval(low: float | None, high: float | None) -> str:
    """0.775 and 0.807 as `77.5–80.7%`."""
    if low is None or high is None or not isfinite(low) or not isfinite(high):
        return MISSING
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def points(share: float | None) -> str:
    """A difference of shares in percentage points: 0.208 as `20.8`."""
    return MISSING if share is None or not isfinite(share) else signed(f"{100 * share:.1f}")


def signed(text: str) -> str:
    """A formatted number with a true minus sign; a zero has none."""
    if not text.startswith("-"):
        return text
    return text[1:] if not text.strip("-0.,%") else "−" + text[1:]


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals."""
    return MISSING if value is None or not isfinite(value) else signed(f"{value:.{digits}f}")


def count(value: float | None) -> str:
    """2474 as `2,474`."""
    return MISSING if value is None or not isfinite(value) else f"{round(value):,}"


def magnitude(value: float | None) -> str:
    """3538984 as `3.5 M`, 62006 as `62.0 k`."""
    if value is None or not isfinite(value):
        return MISSING
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * size:
            return _plain(value / size) + unit
    return count(value)


def gflops(value: float | None) -> str:
    """Floating-point operations in units of 10^9, without the unit: 6.1e8 as `0.61`."""
    return MISSING if value is None or not isfinite(value) else _plain(value / 1e9)


def plain(value: float | None) -> str:
    """A measured quantity with two or three significant digits: 9.31 as `9.3`, 123.4 as `123`."""
    return MISSING if value is None or not isfinite(value) else signed(_plain(value))


def duration(seconds: float | None) -> str:
    """Seconds as `4.2 s`, `3 min 20 s` or `1 h 5 min`."""
    if seconds is None or not isfinite(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{_plain(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def p_value(value: float) -> str:
    """0.0412 as `p = 0.041`; values near the ends as `p < 0.001` and `p > 0.99`."""
    if value < 0.001:
        text = "p < 0.001"
    elif value > 0.99:
        text = "p > 0.99"
    else:
        text = f"p = {value:.3f}" if value < 0.095 else f"p = {value:.2f}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """`A, B and C`; of more than `most` + 1 names the first `most`, and how many more there are."""
    if len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def printable(text: str, *, keep: str = "") -> str:
    """The text with a question mark for each character that is neither printable nor in `keep`.

    A name from data could carry control sequences that repaint the terminal.
    """
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    return "".join(character if character.isprintable() or character in keep else "?" for character in text)


def for_terminal(text: str) -> str:
    """Text that is safe to print: without control sequences, and without dashes that some code pages lack."""
    return printable(text.replace("−", "-").replace("–", "-"), keep="\n")
