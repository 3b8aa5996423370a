"""The pictures of a sweep, each in a module of its own: what it shows, its finding in words, on paper and to touch."""

from __future__ import annotations

from backbench.report.drawing import Picture
from backbench.report.loader import ReportData
from backbench.report.pictures import classes, costs, curves, depths, gaps, reliability

# In the order of the page: which one, how deep, at what cost; then what stands behind the numbers.
EVERY = (gaps, costs, depths, curves, classes, reliability)
NAMES = tuple(picture.NAME for picture in EVERY)


def draw(stored: ReportData) -> tuple[Picture, ...]:
    """The pictures that there are numbers for; none when no cell is ok. The same results give the same bytes."""
    return tuple(drawn for picture in EVERY if (drawn := picture.draw(stored)) is not None)
