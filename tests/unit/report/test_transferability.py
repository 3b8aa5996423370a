"""The page's section on transferability scores."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.tables import cell, frame

from backbench.analysis import recommend
from backbench.report import page
from backbench.report.loader import ReportData
from backbench.report.transferability import section
from backbench.results.run_record import parse


def scored(name: str, test: float, prior: float, ridge: float, **others: Any) -> dict[str, Any]:
    """A fully frozen cell whose other scores are a constant, the same as ridge and its reverse."""
    scores = {"imagenet_top1": prior, "ridge_loo_acc": ridge, "knn_loo_acc": 0.5, "logme": ridge, "h_score": -ridge}
    return cell(name, test, test, **scores, **others)


@pytest.fixture
def table() -> pd.DataFrame:
    """Final results: D .90 (unfrozen), A .80, B .70, C .60."""
    return frame(
        scored("A", 0.80, 0.70, 0.7),
        scored("B", 0.70, 0.80, 0.9),
        scored("C", 0.60, 0.75, 0.5),
        scored("D", 0.50, 0.65, 0.8),
        cell("D", 0.95, 0.90, freeze="all-1", imagenet_top1=0.65),
        cell("D", 0.40, 0.99, freeze="none", imagenet_top1=0.65),
        cell("D", 0.30, 0.30, weights="none"),
        cell("scratch", 0.99, 0.99),
    )


def test_the_section_is_empty_for_fewer_than_four_networks(table: pd.DataFrame) -> None:
    few = table[~((table["backbone"] == "C") & (table["freeze"] == "all"))]
    assert section(few).judged == ()
    assert section(table).networks == 4


def test_the_page_shows_the_table_and_hides_it_where_networks_are_few(table: pd.DataFrame) -> None:
    text = page.render(ReportData(table.assign(family="f"), parse({})), recommend(table), ())
    assert "Could it have been known beforehand?" in text
    assert (
        '<th scope="row">Published ImageNet accuracy</th><td><b>−0.67</b></td><td>–</td><td>20.0</td><td>10.0</td>'
        in (text)
    )
    assert '<a href="#foresight">' in text
    few = page.render(ReportData(table[table["backbone"] == "A"], parse({})), recommend(table), ())
    assert "known beforehand" not in few
    assert "#foresight" not in few


def test_names_on_the_page_are_escaped(table: pd.DataFrame) -> None:
    hostile = table.assign(backbone=table["backbone"].replace("A", "<b>A</b>"))
    text = page.render(ReportData(hostile, parse({})), recommend(table), ())
    assert "<b>A</b>" not in text
    assert "&lt;b&gt;A&lt;/b&gt;" in text
