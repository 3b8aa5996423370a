"""The picture of accuracy over freeze depths."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from support.tables import cell, frame, lost

from backbench.analysis.freeze_depth import unfreezing_gains
from backbench.analysis.prose.freeze_depth import sentence
from backbench.report import pictures
from backbench.report.drawing import GAP, ROLES
from backbench.report.loader import ReportData
from backbench.report.pictures import depths as picture_of_depths


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


def test_the_picture_needs_two_depths_of_one_network(table: pd.DataFrame) -> None:
    shallow = frame(cell("A", 0.9, 0.9), cell("B", 0.9, 0.9, freeze="all-1"), cell("scratch", 0.3, 0.3))
    assert picture_of_depths.draw(ReportData(shallow)) is None
    assert picture_of_depths.NAME not in [picture.name for picture in pictures.draw(ReportData(shallow))]
    assert picture_of_depths.NAME in [picture.name for picture in pictures.draw(ReportData(table))]


def test_the_picture_says_what_it_shows(table: pd.DataFrame) -> None:
    picture = picture_of_depths.draw(ReportData(table))
    assert picture is not None
    assert picture.caption.startswith(sentence(unfreezing_gains(table)))
    assert picture.alt == (
        "Train and test accuracy of 2 networks over the freeze depths. A: all train 100.0%, test 70.0%, all-1 train "
        "99.0%, test 74.0%, none train 100.0%, test 79.0%; B: all train 100.0%, test 70.0%, all-1 train 100.0%, test "
        "68.5%."
    )
    for text in ("A", "B", "all", "all-1", "none", "100%", "36%", "52%", "test, the other networks"):
        assert f">{text}</text>" in picture.svg
    assert GAP in picture.svg
    assert not any(colour in picture.inline for colour in ROLES)


def test_many_networks_are_thinned_and_said_to_be() -> None:
    rows = [cell(f"N{i:02d}", 0.9 - i / 100, 0.7, freeze=freeze) for i in range(15) for freeze in ("all", "none")]
    picture = picture_of_depths.draw(ReportData(frame(*rows)))
    assert picture is not None
    assert picture.caption.endswith("On paper 3 more are left out.")
    assert picture.numbers is not None
    assert len(picture.numbers.rows) == 30
    assert ">N11</text>" in picture.svg
    assert ">N12</text>" not in picture.svg


def test_what_is_at_a_hundred_percent_is_drawn_whole(table: pd.DataFrame) -> None:
    picture = picture_of_depths.draw(ReportData(table))
    assert picture is not None
    groups = re.findall(r"<g([^>]*)>\s*<use ([^>]*)>", picture.svg)
    around = [group for group, first in groups if "fill-opacity" not in first]  # which the band of the gap has
    assert len(around) >= 4, "train and test of both networks"
    assert not any("clip-path" in group for group in around)
