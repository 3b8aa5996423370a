"""What the pictures show, counted by hand; their findings in words; and that what can be touched is valid Vega-Lite."""

from __future__ import annotations

import json
from typing import Any

import altair
import numpy as np
import pandas as pd
import pytest
from support.tables import cell, frame

from backbench.report import live, pictures
from backbench.report.loader import ReportData
from backbench.report.pictures import classes, costs, curves, gaps, reliability
from backbench.results.run_record import parse

RUN = {"dataset": {"classes": ["apple", "</script>", "kiwi"]}}
A, B = "A-all-imagenet-0", "B-all-1-imagenet-0"


def epoch(number: int, score: float, loss: float | None = 1.0) -> dict[str, Any]:
    return {"epoch": number, "loss": loss, "val_acc": score, "val_nll": 1 - score, "score": score}


@pytest.fixture
def stored() -> ReportData:
    """A is frozen and first; B was trained at two rates. Class 1 is hard for both, class 2 has no test images."""
    table = frame(cell("A", 0.9, 0.8), cell("B", 0.8, 0.7, freeze="all-1", train_acc=0.85))
    trials = [
        {"rate": 0.001, "curve": [epoch(1, 0.3)], "ended": "behind"},
        {"rate": 0.0001, "curve": [epoch(1, 0.6), epoch(2, 0.8), epoch(3, 0.7)], "ended": "all epochs"},
    ]
    return ReportData(
        table,
        parse(RUN),
        by_class={A: np.array([[9, 6, 0], [10, 10, 0]]), B: np.array([[10, 4, 0], [10, 10, 0]])},
        bins={
            # 10 items at 0.55, 5 of them right; 10 at 0.9, all right; and 2 that are too few to draw
            A: np.array([[2.0, 10, 10], [0.4, 5.5, 9.0], [1, 5, 10]]),
            B: np.array([[0.0, 20, 2], [0.0, 16, 1.6], [0, 14, 2]]),
        },
        training={B: {"start": epoch(0, 0.5, None), "trials": trials, "chosen": 1, "best_epoch": 2}},
    )


def drawn(stored: ReportData, name: str) -> Any:
    return next(picture for picture in pictures.draw(stored) if picture.name == name)


# --- by class ---------------------------------------------------------------------------------------------------------


def test_classes_stand_from_hard_to_easy_and_those_without_images_are_left_out(stored: ReportData) -> None:
    found = classes.errors(stored)
    assert list(found.index) == ["</script>", "apple"]
    assert list(found.columns) == ["A@all", "B@all-1"]
    assert found.to_numpy() == pytest.approx(np.array([[0.4, 0.6], [0.1, 0.0]]))


def test_the_hardest_classes_are_named(stored: ReportData) -> None:
    picture = drawn(stored, classes.NAME)
    assert picture.caption.startswith("Hardest, on average over the 2 networks: </script> (50.0%), apple (95.0%).")
    assert picture.numbers.rows == (
        ("</script>", "50.0%", "40.0% (B@all-1)", "60.0% (A@all)"),
        ("apple", "95.0%", "90.0% (A@all)", "100.0% (B@all-1)"),
    )
    assert "</script>" not in picture.inline
    assert "&lt;/script&gt;</text>" in picture.inline


def test_only_the_hardest_classes_and_the_first_networks_are_drawn() -> None:
    table = frame(*(cell(f"N{i:02d}", 0.9 - i / 100, 0.8) for i in range(45)))
    right = np.arange(60)
    counts = np.stack([right, np.full(60, 60)])
    stored = ReportData(table, by_class=dict.fromkeys(table["cell_id"], counts))
    picture = drawn(stored, classes.NAME)
    assert "40 of the 60 classes, the hardest, " in picture.caption
    shown = picture.live.views[""]["datasets"]["cells"]
    assert len(shown) == 1600
    assert {row["class"] for row in shown} == {f"class {i}" for i in range(40)}
    assert len(picture.numbers.rows) == 60


def test_names_that_do_not_fit_the_predictions_are_not_used(stored: ReportData) -> None:
    other = ReportData(stored.table, parse({"dataset": {"classes": ["only one"]}}), by_class=stored.by_class)
    assert list(classes.errors(other).index) == ["class 1", "class 0"]


def test_a_column_is_wide_enough_for_its_number_and_its_slanted_name() -> None:
    names = [f"EfficientNetV2B{i}" for i in range(9)]
    table = frame(*(cell(name, 0.9 - i / 100, 0.8) for i, name in enumerate(names)))
    stored = ReportData(table, by_class=dict.fromkeys(table["cell_id"], np.array([[5, 9], [10, 10]])))
    found = drawn(stored, classes.NAME).live
    # at 55 degrees a name of sixteen letters reaches cos 55 = .57 of its length beyond its column
    beyond = 0.57 * 16 * 6
    assert found.least >= 9 * 40 + 6 * len("class 0") + beyond
    assert found.views[""]["padding"]["right"] >= beyond / 4
    few = frame(cell("VGG16", 0.9, 0.8), cell("Xception", 0.8, 0.8))
    short = drawn(
        ReportData(few, by_class=dict.fromkeys(few["cell_id"], np.array([[5, 9], [10, 10]]))), classes.NAME
    ).live
    assert short.views[""]["padding"]["right"] == 4


# --- of controls nothing is found -------------------------------------------------------------------------------------


@pytest.fixture
def controlled(stored: ReportData) -> ReportData:
    """The same two, and a control that is worst in class 0, calibrated to the digit, and has no gap."""
    control = cell("B", 0.2, 0.3, freeze="all-1", train_acc=0.3, weights="none")
    counts = {control["cell_id"]: np.array([[0, 6, 0], [10, 10, 0]])}
    even = {control["cell_id"]: np.array([[0.0, 20, 2], [0.0, 16, 1.6], [0, 16, 1.6]])}
    return ReportData(
        pd.concat([stored.table, frame(control)], ignore_index=True), parse(RUN),
        by_class={**stored.by_class, **counts}, bins={**stored.bins, **even}, training=stored.training,
    )  # fmt: skip


def test_controls_are_drawn_but_nothing_is_said_of_them(controlled: ReportData) -> None:
    assert list(classes.errors(controlled).columns) == ["A@all", "B@all-1", "B@all-1@none-weights"]
    by_class = drawn(controlled, classes.NAME)
    assert by_class.caption.startswith(
        "Hardest, on average over the 2 networks: </script> (50.0%), apple (95.0%). Controls with random weights are "
        "drawn, but not counted."
    )
    assert by_class.numbers.rows[1] == ("apple", "95.0%", "90.0% (A@all)", "100.0% (B@all-1)")
    calibrated = drawn(controlled, reliability.NAME)
    assert "No network is better calibrated." in calibrated.caption
    assert calibrated.numbers.rows[2][0] == "B@all-1@none-weights"
    gap = drawn(controlled, gaps.NAME)
    assert "widest for A@all (20.0 points) and narrowest for B@all-1 (15.0)" in gap.caption
    assert "B@all-1@none-weights" in gap.svg


def test_all_gaps_alike() -> None:
    picture = drawn(ReportData(frame(cell("A", 0.9, 0.8), cell("B", 0.8, 0.8004))), gaps.NAME)
    assert picture.caption.endswith(" It is the same for all, 20.0 points.")


def test_one_seed_is_not_passed_off_as_the_mean_of_several(stored: ReportData) -> None:
    other = cell("B", 0.7, 0.6, freeze="all-1", seed=1)
    several = ReportData(
        pd.concat([stored.table.iloc[1:], frame(other)], ignore_index=True), parse(RUN),
        by_class=stored.by_class, bins=stored.bins, training=stored.training,
    )  # fmt: skip
    for name in (classes.NAME, reliability.NAME, curves.NAME):
        assert drawn(several, name).caption.endswith("Of several seeds the first is shown.")
        assert "seeds" not in drawn(stored, name).caption
    assert "B (the first of 2 seeds) is right in 72.7%" in drawn(several, reliability.NAME).caption
    assert drawn(several, curves.NAME).caption.startswith("B (the first of 2 seeds) rose from 0.500 to 0.800 on val")


# --- reliability ------------------------------------------------------------------------------------------------------


def test_reliability_is_counted_over_all_items_and_drawn_where_there_are_enough(stored: ReportData) -> None:
    summary = reliability.summaries(stored.rows, stored)
    assert summary["right"].tolist() == pytest.approx([16 / 22, 16 / 22])
    assert summary["confidence"].tolist() == pytest.approx([14.9 / 22, 17.6 / 22])
    assert summary["ece"].tolist() == pytest.approx([(0.6 + 0.5 + 1.0) / 22, (2.0 + 0.4) / 22])
    points = reliability.bins(stored.rows, stored)
    assert points["label"].tolist() == ["A@all", "A@all", "B@all-1"]
    assert points["confidence"].tolist() == pytest.approx([55, 90, 80])
    assert points["right"].tolist() == pytest.approx([50, 100, 70])
    assert points["items"].tolist() == [10, 10, 20]


def test_reliability_says_who_is_too_sure(stored: ReportData) -> None:
    picture = drawn(stored, reliability.NAME)
    assert picture.caption.startswith(
        "A@all is right in 72.7% of its answers on test and on average 67.7% sure: not sure enough (ECE 9.5%). "
        "No network is better calibrated."
    )
    only = ReportData(frame(cell("B", 0.8, 0.7)), bins={"B-all-imagenet-0": stored.bins[B]})
    assert "80.0% sure: too sure of itself (ECE 10.9%)." in drawn(only, reliability.NAME).caption


# --- learning curves --------------------------------------------------------------------------------------------------


def test_curves_hold_every_epoch_of_every_rate(stored: ReportData) -> None:
    found = curves.curves(stored)
    assert found["label"].unique().tolist() == ["B@all-1"]
    assert found[["rate", "epoch", "score", "chosen", "best"]].to_numpy().tolist() == [
        ["0.001", 0, 0.5, False, False],
        ["0.001", 1, 0.3, False, False],
        ["0.0001", 0, 0.5, True, False],
        ["0.0001", 1, 0.6, True, False],
        ["0.0001", 2, 0.8, True, True],
        ["0.0001", 3, 0.7, True, False],
    ]


def test_curves_say_what_training_brought(stored: ReportData) -> None:
    picture = drawn(stored, curves.NAME)
    assert picture.caption.startswith(
        "A@all, which ranks first, was solved in one step and has no curve. B@all-1 rose from 0.500 to 0.800 on val, "
        "at a learning rate of 0.0001, in epoch 2. Epoch 0 is the start"
    )
    assert picture.numbers.rows == (("B@all-1", "0.0001", "0.500", "0.800", "2", "3"),)
    assert [row["score"] for row in picture.live.views["selection score"]["datasets"]["epochs"]][:2] == [0.5, 0.3]
    assert len(picture.live.views["training loss"]["datasets"]["epochs"]) == 4, "the start has no loss"


def test_curves_say_when_more_epochs_may_help(stored: ReportData) -> None:
    trace = dict(stored.training[B])
    last = ReportData(stored.table, training={B: trace | {"best_epoch": 3}})
    assert "It was best in the last epoch: more epochs may help." in drawn(last, curves.NAME).caption
    trained = [cell(name, 0.8, 0.7, freeze="all-1") for name in "AB"]
    traces = {"A-all-1-imagenet-0": stored.training[B], B: trace | {"best_epoch": 3}}
    one_of_two = drawn(ReportData(frame(*trained), training=traces), curves.NAME).caption
    assert "1 of 2 candidates was best in the last epoch" in one_of_two
    assert "no curve" not in one_of_two
    start = ReportData(stored.table, training={B: trace | {"best_epoch": 0}})
    assert drawn(start, curves.NAME).caption.startswith(
        "A@all, which ranks first, was solved in one step and has no curve. B@all-1 was never better on val than at "
        "its start (0.500)."
    )


# --- train against test, accuracy against cost ------------------------------------------------------------------------


def test_gaps_name_the_widest_and_the_narrowest(stored: ReportData) -> None:
    picture = drawn(stored, gaps.NAME)
    assert picture.caption.endswith("It is widest for A@all (20.0 points) and narrowest for B@all-1 (15.0).")
    rows = picture.live.views[""]["datasets"]["candidates"]
    assert [row["label"] for row in rows] == ["A@all", "B@all-1"]
    assert rows[1]["train"] == 85.0


def test_the_front_is_found_anew_for_every_cost() -> None:
    table = frame(
        cell("Fast", 0.7, 0.7, latency_ms=5.0, params=9_000_000, flops=None),
        cell("Small", 0.8, 0.8, latency_ms=50.0, params=1_000_000, flops=None),
    )
    views = drawn(ReportData(table), costs.NAME).live.views
    assert list(views) == ["latency", "parameters"]
    fronts = {name: [(row["cost"], row["test"]) for row in view["datasets"]["front"]] for name, view in views.items()}
    assert fronts == {"latency": [(50.0, 80.0), (5.0, 70.0)], "parameters": [(1.0, 80.0)]}


@pytest.mark.parametrize("stretched", [1.0, 1.1])
def test_names_in_the_live_picture_cover_neither_each_other_nor_points(stretched: float) -> None:
    rng = np.random.default_rng(0)
    rows = [
        cell(f"Backbone{i}", rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.9), latency_ms=rng.uniform(2, 200))
        for i in range(30)
    ]
    shown = costs._shown(ReportData(frame(*rows)).rows, costs.COSTS[0])
    across, up = costs._limits(shown)

    def pixels(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        x = np.log10(found["cost"] / across[0]) / np.log10(across[1] / across[0]) * costs.WIDE * stretched
        return x.to_numpy(), ((found["test"] - up[0]) / (up[1] - up[0]) * costs.HIGH).to_numpy()

    names = pd.DataFrame(costs._names(shown, across, up))
    assert len(names) > 15
    assert set(names["align"]) > {"left"}
    x, y = pixels(names)
    width = (costs.LETTER * names["label"].str.len()).to_numpy()
    left = x + names["dx"] - width * names["align"].map({"left": 0.0, "center": 0.5, "right": 1.0})
    middle = y - names["dy"]
    for i in range(len(names)):
        others = np.arange(len(names)) != i
        beside = (left[others] + width[others] <= left[i]) | (left[i] + width[i] <= left[others])
        assert (beside | (np.abs(middle[others] - middle[i]) >= costs.LINE)).all()
        px, py = pixels(shown)
        covered = (px > left[i]) & (px < left[i] + width[i]) & (np.abs(py - middle[i]) < costs.LINE / 2)
        assert not covered.any()


def test_among_many_candidates_only_the_front_is_named() -> None:
    rows = [cell(f"N{i:02d}", 0.5 + i / 100, 0.5 + i / 100, latency_ms=100.0 - i) for i in range(31)]
    shown = costs._shown(ReportData(frame(*rows)).rows, costs.COSTS[0])
    assert [row["label"] for row in costs._names(shown, *costs._limits(shown))] == ["N30"]
    assert drawn(ReportData(frame(*rows)), costs.NAME).svg.count(">N") == 1


# --- to touch ---------------------------------------------------------------------------------------------------------


def test_specifications_are_valid_and_hold_json(stored: ReportData) -> None:
    deeper = frame(cell("A", 0.9, 0.8), cell("A", 0.95, 0.85, freeze="all-1"), cell("B", 0.8, 0.7, freeze="all-1"))
    found = [*pictures.draw(stored), *pictures.draw(ReportData(deeper))]
    views = [view for picture in found for view in picture.live.views.values()]
    assert len({picture.name for picture in found}) == 6
    for view in views:
        altair.LayerChart.from_dict(view | {"config": live.CONFIG}, validate=True)
        assert json.loads(live.as_json(view)) == view


def test_json_cannot_end_its_script() -> None:
    content = {"</script><!--": "<script>\u2028"}
    text = live.as_json(content)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == content


def test_what_is_missing_or_infinite_is_null_in_the_data() -> None:
    rows = pd.DataFrame({"x": [1 / 3, np.nan, np.inf]})
    layer = live.rows_of("rows").mark_point().encode(x="x:Q")
    view = live.specification([layer], {"rows": rows}, height=100)
    assert view["datasets"] == {"rows": [{"x": 0.333333}, {"x": None}, {"x": None}]}
