"""Numbers as people read them: every function takes a number that may be missing and returns text."""

from __future__ import annotations

from math import isfinite

from backbench.printable import printable

MISSING = "–"


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
    """A true minus sign in front of what is negative, none in front of a zero."""
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
    """Floating-point operations in thousand millions, without the unit: 6.1e8 as `0.61`."""
    return MISSING if value is None or not isfinite(value) else _plain(value / 1e9)


def plain(value: float | None) -> str:
    """A measured quantity with as many digits as it deserves: 9.31 as `9.3`, 123.4 as `123`."""
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
    """0.0412 as `p = 0.041`, what is tiny as `p < 0.001`, never `p = 1.000`."""
    if value < 0.001:
        text = "p < 0.001"
    elif value > 0.99:
        text = "p > 0.99"
    else:
        text = f"p = {value:.3f}" if value < 0.095 else f"p = {value:.2f}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def for_terminal(text: str) -> str:
    """Text that is safe to print: a name could carry control sequences, and not every code page has the true minus."""
    return printable(text.replace("−", "-").replace("–", "-"), keep="\n")
