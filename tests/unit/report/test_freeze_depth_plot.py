"""Freeze depths: what unfreezing does, in numbers, in a sentence and in a plot."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from support.tables import cell, frame, lost

from backbench.analysis.freeze_depth import unfreezing_gains
from backbench.analysis.prose.freeze_depth import sentence
from backbench.report import plots
from backbench.report.loader import ReportData
from backbench.report.plots import freeze_depth, style
from backbench.report.plots.style import GAP, PAGE_COLOURS, DrawnPlot


@pytest.fixture
def table() -> pd.DataFrame:
    """A gains by being unfrozen, B loses; val prefers all-1 of A although none is better on test."""
    return frame(
        cell("A", 0.60, 0.70, frozen_params_pct=100.0),
        cell("A", 0.80, 0.74, freeze="all-1", frozen_params_pct=36.4, train_acc=0.99),
        cell("A", 0.70, 0.79, freeze="none", frozen_params_pct=0.0),
        cell("B", 0.65, 0.70, frozen_params_pct=100.0),
        cell("B", 0.50, 0.685, freeze="all-1", frozen_params_pct=52.0),
        cell("C", 0.40, 0.5),
        cell("scratch", 0.3, 0.3),
        lost("B", "skipped", "no such depth", freeze="none"),
    )


def test_the_plot_needs_two_depths_of_one_network(table: pd.DataFrame) -> None:
    shallow = frame(cell("A", 0.9, 0.9), cell("B", 0.9, 0.9, freeze="all-1"), cell("scratch", 0.3, 0.3))
    assert freeze_depth.prepare(ReportData(shallow)) is None
    assert freeze_depth.NAME not in [drawn.plot.name for drawn in plots.draw(ReportData(shallow))]
    assert freeze_depth.NAME in [drawn.plot.name for drawn in plots.draw(ReportData(table))]


def drawn(table: pd.DataFrame) -> DrawnPlot:
    plot = freeze_depth.prepare(ReportData(table))
    assert plot is not None
    return style.drawn(plot, freeze_depth.matplotlib_figure, freeze_depth.vega_plot(plot))


def test_the_plot_says_what_it_shows(table: pd.DataFrame) -> None:
    drawing = drawn(table)
    assert drawing.plot.caption.startswith(sentence(unfreezing_gains(table)))
    assert drawing.plot.alt == (
        "Train and test accuracy of 2 networks over the freeze depths. A: all train 100.0%, test 70.0%, all-1 train "
        "99.0%, test 74.0%, none train 100.0%, test 79.0%; B: all train 100.0%, test 70.0%, all-1 train 100.0%, test "
        "68.5%."
    )
    for text in ("A", "B", "all", "all-1", "none", "100%", "36%", "52%", "test, the other networks"):
        assert f">{text}</text>" in drawing.svg
    assert GAP in drawing.svg
    assert not any(colour in drawing.inline for colour in PAGE_COLOURS)


def test_many_networks_are_thinned_and_said_to_be() -> None:
    rows = [cell(f"N{i:02d}", 0.9 - i / 100, 0.7, freeze=freeze) for i in range(15) for freeze in ("all", "none")]
    drawing = drawn(frame(*rows))
    assert drawing.plot.caption.endswith("On paper 3 more are left out.")
    assert drawing.plot.table is not None
    assert len(drawing.plot.table.rows) == 30
    assert ">N11</text>" in drawing.svg
    assert ">N12</text>" not in drawing.svg


def test_what_is_at_a_hundred_percent_is_drawn_whole(table: pd.DataFrame) -> None:
    drawing = drawn(table)
    groups = re.findall(r"<g([^>]*)>\s*<use ([^>]*)>", drawing.svg)
    around = [group for group, first in groups if "fill-opacity" not in first]  # which the band of the gap has
    assert len(around) >= 4, "train and test of both networks"
    assert not any("clip-path" in group for group in around)
