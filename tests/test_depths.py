"""Freeze depths: what unfreezing does, in numbers, in a sentence and in a picture."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis import depths, grouped, pareto, recommendation
from backbench.analysis.frames import depth_order
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


def test_depths_run_from_frozen_to_trained() -> None:
    assert sorted(["none", "all-10", "all-2", "all", "all-1"], key=depth_order) == [
        "all", "all-1", "all-2", "all-10", "none"
    ]  # fmt: skip
    assert math.isnan(depth_order("half"))


def test_series_are_networks_with_several_depths(table: pd.DataFrame) -> None:
    found = depths.series(table)
    assert [(name, list(rows["freeze"])) for name, rows in found] == [
        ("A", ["all", "all-1", "none"]),
        ("B", ["all", "all-1"]),
    ]


def test_the_control_is_a_series_of_its_own() -> None:
    rows = [cell("A", 0.9, 0.9, freeze=freeze, weights=weights) for weights in ("imagenet", "none") for freeze in
            ("all", "none")]  # fmt: skip
    assert [name for name, _ in depths.series(frame(*rows))] == ["A", "A@none-weights"]


def test_the_depth_is_chosen_on_val_and_reported_on_test(table: pd.DataFrame) -> None:
    first, second = depths.unfreezing(table)
    assert (first.name, first.after.freeze, first.advantage) == ("A", "all-1", None)
    assert first.gain == pytest.approx(0.04)
    assert (second.name, second.after.freeze) == ("B", "all-1")
    assert second.gain == pytest.approx(-0.015)
    assert depths.sentence([first, second]) == (
        "By unfreezing, each to the trained depth that val ranks highest, A gains 4.0 points on test (all to all-1: "
        "70.0% to 74.0%) and its gap narrows from 30.0 to 25.0 points, while B loses 1.5 points on test (all to all-1: "
        "70.0% to 68.5%) and its gap widens from 30.0 to 31.5 points."
    )
    assert depths.sentence([first]) == (
        "By unfreezing, to the trained depth that val ranks highest, A gains 4.0 points on test (all to all-1: 70.0% "
        "to 74.0%) and its gap narrows from 30.0 to 25.0 points."
    )
    assert depths.sentence([first, first, second, second]).endswith("points; the other 2 lie in between.")
    assert depths.sentence([first, second, second]).endswith("points; the other lies between.")
    assert depths.sentence([]) == ""


def test_no_change_is_called_none() -> None:
    table = frame(cell("A", 0.6, 0.7), cell("A", 0.5, 0.7004, freeze="all-1"))
    assert depths.sentence(depths.unfreezing(table)).endswith(
        "A keeps its accuracy on test (all to all-1: 70.0% to 70.0%) and its gap stays at 30.0 points."
    )


def test_with_answers_the_change_has_a_paired_interval() -> None:
    # 30 wins, 10 losses of 100: 20 points, and 1.96 * 6 points to each side
    table = frame(cell("A", 0.6, 0.5), cell("A", 0.8, 0.7, freeze="all-1"))
    answers = {
        "A-all-imagenet-0": right(np.r_[np.arange(40), 70:80], 100),
        "A-all-1-imagenet-0": right(np.arange(70), 100),
    }
    (found,) = depths.unfreezing(table, answers)
    assert found.advantage is not None
    assert (found.advantage.low, found.advantage.high) == pytest.approx((0.082, 0.318), abs=0.02)
    low, high = 100 * found.advantage.low, 100 * found.advantage.high
    assert f"50.0% to 70.0%, paired 95% interval {low:.1f} to {high:.1f})" in depths.sentence([found])


def test_what_may_be_chance_is_not_said_as_a_fact() -> None:
    # 2 wins, 4 losses of 100
    table = frame(cell("A", 0.6, 0.52), cell("A", 0.8, 0.5, freeze="all-1"))
    answers = {"A-all-imagenet-0": right(range(52), 100), "A-all-1-imagenet-0": right(np.r_[:48, 52:54], 100)}
    said = depths.sentence(depths.unfreezing(table, answers))
    assert "A loses 2.0 points on test, which may be chance (all to all-1: 52.0% to 50.0%, paired 95% interval" in said


def test_the_control_is_left_out_of_what_is_said() -> None:
    rows = [cell("A", 0.6, 0.7), cell("A", 0.8, 0.75, freeze="all-1")]
    rows += [cell("A", 0.2, 0.2, weights="none"), cell("A", 0.5, 0.5, freeze="all-1", weights="none")]
    rows += [cell("B", 0.6, 0.7), cell("B", 0.8, 0.74, freeze="all-1")]
    said = depths.sentence(depths.unfreezing(frame(*rows)))
    assert "A gains 5.0 points" in said
    assert "while B gains 4.0 points" in said
    assert "none-weights" not in said
    assert "A@none-weights gains 30.0 points" in depths.sentence(depths.unfreezing(frame(*rows[2:4])))


# --- what is said of several depths of one backbone -------------------------------------------------------------------


def test_sentences_name_the_depth_of_a_runner_up_of_the_same_backbone() -> None:
    table = frame(cell("A", 0.9, 0.80, freeze="all-1"), cell("A", 0.8, 0.79), cell("scratch", 0.2, 0.2))
    facts = recommendation(table, val_items=1000)
    assert facts.sentences[0].startswith("Use A, all but its last stage frozen: it classifies 80.0%")
    runner_up = "The runner-up on val is A@all with 79.0% on test (77.0–81.0%): the intervals overlap"
    assert any(sentence.startswith(runner_up) for sentence in facts.sentences)


def test_another_depth_of_the_same_network_is_neither_faster_nor_smaller() -> None:
    # timed twice, one network comes out at 10 and at 8 ms
    table = frame(
        cell("A", 0.90, 0.8, freeze="all-1"),
        cell("A", 0.89, 0.79, latency_ms=8.0),
        cell("B", 0.88, 0.7, latency_ms=9.0),
    )
    facts = recommendation(table, val_items=200)
    assert facts.reach == 2
    assert facts.fastest is not None
    assert facts.fastest.label == "B@all"
    alone = recommendation(table.iloc[:2], val_items=200)
    assert "fast" not in "\n".join(alone.sentences)
    assert "within reach" not in "\n".join(alone.sentences)


def test_pareto_takes_the_depths_of_one_network_at_one_price() -> None:
    table = frame(cell("A", 0.90, 0.8, freeze="all-1"), cell("A", 0.89, 0.79, latency_ms=8.0))
    assert list(pareto(table)) == [True, False]


def test_seeds_are_averaged_per_depth_with_their_notes() -> None:
    table = frame(
        cell("A", 0.8, 0.70, freeze="all-1", reason="slow; late"),
        cell("A", 0.9, 0.80, freeze="all-1", seed=1, reason="late"),
        cell("A", 0.9, 0.75, freeze="all-1", seed=2, reason="late"),
        cell("A", 0.7, 0.90),
    )
    rows = grouped(table)
    assert rows[["freeze", "seeds"]].to_numpy().tolist() == [["all-1", 3], ["all", 1]]
    assert rows.loc[0, ["test_acc", "test_acc_min", "test_acc_max"]].tolist() == pytest.approx([0.75, 0.7, 0.8])
    assert list(rows["reason"]) == ["slow (1 of 3 seeds); late", ""]


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_picture_needs_two_depths_of_one_network(table: pd.DataFrame) -> None:
    shallow = frame(cell("A", 0.9, 0.9), cell("B", 0.9, 0.9, freeze="all-1"), cell("scratch", 0.3, 0.3))
    assert picture_of_depths.draw(ReportData(shallow)) is None
    assert picture_of_depths.NAME not in [picture.name for picture in pictures.draw(ReportData(shallow))]
    assert picture_of_depths.NAME in [picture.name for picture in pictures.draw(ReportData(table))]


def test_the_picture_says_what_it_shows(table: pd.DataFrame) -> None:
    picture = picture_of_depths.draw(ReportData(table))
    assert picture is not None
    assert picture.caption.startswith(depths.sentence(depths.unfreezing(table)))
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
