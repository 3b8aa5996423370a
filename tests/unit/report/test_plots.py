"""The plots: one contract for all of them, what each shows counted by hand, and their findings in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import altair
import numpy as np
import pandas as pd
import pytest
import vl_convert
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from support.tables import cell, frame

from backbench.report import plots
from backbench.report.loader import ReportData
from backbench.report.plots import (
    accuracy_vs_cost,
    freeze_depth,
    learning_curves,
    per_class_accuracy,
    reliability,
    style,
    train_vs_test,
    vega,
)
from backbench.report.plots.plot import Plot
from backbench.report.plots.style import DrawnPlot
from backbench.results.run_record import parse

RUN = parse({"dataset": {"classes": ["apple", "</script>", "kiwi"]}})
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
        RUN,
        by_class={A: np.array([[9, 6, 0], [10, 10, 0]]), B: np.array([[10, 4, 0], [10, 10, 0]])},
        bins={
            # 10 items at 0.55, 5 of them right; 10 at 0.9, all right; and 2 that are too few to draw
            A: np.array([[2.0, 10, 10], [0.4, 5.5, 9.0], [1, 5, 10]]),
            B: np.array([[0.0, 20, 2], [0.0, 16, 1.6], [0, 14, 2]]),
        },
        # without its temperature A is 95 % sure of all of them
        bins_before={A: np.array([[0.0, 0, 22], [0.0, 0, 20.9], [0, 0, 16]])},
        training={B: {"start": epoch(0, 0.5, None), "trials": trials, "chosen": 1, "best_epoch": 2}},
    )


def prepared(module: ModuleType, stored: ReportData) -> Plot:
    plot = module.prepare(stored)
    assert isinstance(plot, Plot)
    return plot


def drawn(module: ModuleType, stored: ReportData) -> DrawnPlot:
    plot = prepared(module, stored)
    return style.drawn(plot, module.matplotlib_figure, module.vega_plot(plot))


# --- the contract: both renderers show the frame, which is prepared once ----------------------------------------------


@pytest.fixture
def everything(stored: ReportData) -> ReportData:
    """The same two and A at a second depth, so that there is something for every plot."""
    deeper = frame(cell("A", 0.7, 0.85, freeze="all-1", train_acc=0.95, latency_ms=20.0, test_acc_lo=0.79))
    return ReportData(
        pd.concat([stored.table, deeper], ignore_index=True), RUN,
        by_class=stored.by_class, bins=stored.bins, bins_before=stored.bins_before, training=stored.training,
    )  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """Which points (x, y) of its frame a plot shows: in its figure, and as marks in the named view of the page.

    Those of the page are in the order of its layers, on scales that are linear but for a factor and an offset.
    """

    module: ModuleType
    view: str
    figure: Callable[[pd.DataFrame], Sequence[tuple[Any, Any]]]
    page: Callable[[pd.DataFrame], Sequence[tuple[Any, Any]]]
    mark: str = "symbol"


def pairs(rows: pd.DataFrame, x: str, y: str) -> list[tuple[Any, Any]]:
    return list(zip(rows[x], rows[y], strict=True))


def first(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["label"] == rows["label"].iloc[0]]


def after(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~rows["before"]]


def by_row(rows: pd.DataFrame, column: str) -> list[tuple[Any, Any]]:
    return [(value, i) for i, value in enumerate(rows[column])]


def by_depth(rows: pd.DataFrame, column: str) -> list[tuple[Any, Any]]:
    return pairs(rows.assign(place=rows["freeze"].map({"all": 0, "all-1": 1})), "place", column)


def by_cost(rows: pd.DataFrame, view: str) -> pd.DataFrame:
    rows = rows[rows["view"] == view].assign(logarithm=np.log10(rows["cost"]))
    return rows.sort_values("front", kind="stable")


def dots_of_curves(rows: pd.DataFrame, column: str) -> list[tuple[Any, Any]]:
    drawn = rows[rows[column].notna()]
    focus = first(drawn)
    return [
        pair for dots in (drawn[drawn["kept"]], focus, focus[focus["kept"]]) for pair in pairs(dots, "epoch", column)
    ]


def cells(rows: pd.DataFrame) -> list[tuple[int, int]]:
    return [(x, y) for x in range(rows["label"].nunique()) for y in range(rows["class"].nunique())]


CONTRACT = (
    Shown(
        train_vs_test, "",
        lambda rows: by_row(rows, "test") + by_row(rows, "train"),
        lambda rows: by_row(rows, "train") + by_row(rows, "test"),
    ),
    Shown(
        accuracy_vs_cost, "latency",
        lambda rows: pairs(by_cost(rows, "latency"), "cost", "test"),
        lambda rows: pairs(by_cost(rows, "latency"), "logarithm", "test"),
    ),
    Shown(
        accuracy_vs_cost, "parameters",
        lambda rows: [],
        lambda rows: pairs(by_cost(rows, "parameters"), "logarithm", "test"),
    ),
    Shown(
        freeze_depth, "test accuracy",
        lambda rows: by_depth(rows, "test") + by_depth(rows, "train"),
        lambda rows: by_depth(rows, "test") + by_depth(first(rows), "test"),
    ),
    Shown(
        freeze_depth, "overfitting gap",
        lambda rows: [],
        lambda rows: by_depth(rows, "gap") + by_depth(first(rows), "gap"),
    ),
    Shown(
        learning_curves, "selection score",
        lambda rows: pairs(rows, "epoch", "score"),
        lambda rows: dots_of_curves(rows, "score"),
    ),
    Shown(learning_curves, "accuracy", lambda rows: [], lambda rows: dots_of_curves(rows, "val_acc")),
    Shown(learning_curves, "training loss", lambda rows: [], lambda rows: dots_of_curves(rows, "loss")),
    Shown(per_class_accuracy, "", cells, cells, mark="rect"),
    Shown(
        reliability, "",
        lambda rows: pairs(pd.concat([after(rows), first(rows)]), "confidence", "right"),
        lambda rows: pairs(pd.concat([after(rows), after(first(rows))]), "confidence", "right"),
    ),
)  # fmt: skip


def points_of(figure: Figure) -> Iterator[tuple[float, float]]:
    """Everything in a figure that has a place: dots, ends of lines, centres of cells."""
    for axes in figure.axes:
        for line in axes.lines:
            yield from map(tuple, np.asarray(line.get_xydata(), dtype=float))
        for collection in axes.collections:
            if isinstance(collection, PolyCollection):
                yield from (tuple(path.vertices[:4].mean(axis=0)) for path in collection.get_paths())
            elif len(offsets := np.asarray(collection.get_offsets())):
                yield from map(tuple, offsets)


def marks_of(view: dict[str, Any], rows: pd.DataFrame, kind: str) -> np.ndarray:
    """Where Vega draws symbols or cells of these rows, in pixels [n, 2]."""
    content = view | {"width": 900, "config": vega.CONFIG, "datasets": {"rows": vega.records(rows)}}
    places = []

    def visit(group: dict[str, Any]) -> None:
        if group.get("marktype") == kind and group.get("role") == "mark":
            places.extend((item["x"], item["y"]) for item in group["items"])
        for item in group.get("items", ()):
            visit(item)

    visit(vl_convert.vegalite_to_scenegraph(content)["scenegraph"])
    return np.array(places)


@pytest.mark.parametrize("shown", CONTRACT, ids=lambda shown: f"{shown.module.NAME} {shown.view}")
def test_both_renderers_show_the_frame(everything: ReportData, shown: Shown) -> None:
    plot = prepared(shown.module, everything)
    before = plot.frame.copy()
    places = np.array([*points_of(shown.module.matplotlib_figure(plot)), (np.inf, np.inf)])
    for point in shown.figure(plot.frame):
        assert np.isclose(places, np.array(point, dtype=float)).all(axis=1).any(), point
    pixels = marks_of(shown.module.vega_plot(plot).views[shown.view], plot.frame, shown.mark)
    values = np.array(shown.page(plot.frame), dtype=float)
    assert pixels.shape == values.shape
    for value, pixel in zip(values.T, pixels.T, strict=True):
        scale = np.column_stack([value, np.ones(len(value))])
        assert scale @ np.linalg.lstsq(scale, pixel)[0] == pytest.approx(pixel, abs=0.01)
    pd.testing.assert_frame_equal(plot.frame, before)


def test_every_plot_keeps_the_contract() -> None:
    assert {shown.module for shown in CONTRACT} == set(plots.PLOTS)


def test_each_plot_is_prepared_once(everything: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for module in plots.PLOTS:
        prepare = module.prepare
        monkeypatch.setattr(
            module,
            "prepare",
            lambda stored, name=module.NAME, prepare=prepare: (calls.append(name), prepare(stored))[1],
        )
    assert [drawn.plot.name for drawn in plots.draw(everything)] == calls
    assert set(calls) == plots.NAMES


def test_specifications_are_valid_and_name_columns_of_the_frame(everything: ReportData) -> None:
    for module in plots.PLOTS:
        plot = prepared(module, everything)
        for view in module.vega_plot(plot).views.values():
            altair.LayerChart.from_dict(view | {"config": vega.CONFIG}, validate=True)
            assert json.loads(vega.as_json(view)) == view
            assert view["data"] == {"name": "rows"}
            assert set(fields(view)) <= set(plot.frame.columns)


def fields(content: Any) -> Iterator[str]:
    """Every column that a specification names."""
    if isinstance(content, dict):
        if isinstance(content.get("field"), str):
            yield content["field"]
        yield from (name for value in content.values() for name in fields(value))
    elif isinstance(content, list):
        yield from (name for value in content for name in fields(value))


def test_both_renderers_write_the_same_legend(everything: ReportData) -> None:
    for module in (train_vs_test, accuracy_vs_cost, learning_curves, reliability):
        plot = prepared(module, everything)
        figure = module.matplotlib_figure(plot)
        texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert texts == [meaning for _, meaning in plot.legend]
        assert not plot.focus or plot.focus in texts


def test_colours_of_cells_follow_their_errors(stored: ReportData) -> None:
    plot = prepared(per_class_accuracy, stored)
    cells = per_class_accuracy.matplotlib_figure(plot).axes[0].collections[0]
    assert cells.get_facecolor() == pytest.approx(np.array([to_rgba(style.HEAT, s / 0.6) for s in plot.frame["wrong"]]))


# --- by class ---------------------------------------------------------------------------------------------------------


def test_classes_stand_from_hard_to_easy_and_those_without_images_are_left_out(stored: ReportData) -> None:
    found = per_class_accuracy.errors(stored)
    assert list(found.index) == ["</script>", "apple"]
    assert list(found.columns) == ["A@all", "B@all-1"]
    assert found.to_numpy() == pytest.approx(np.array([[0.4, 0.6], [0.1, 0.0]]))


def test_the_hardest_classes_are_named(stored: ReportData) -> None:
    drawing = drawn(per_class_accuracy, stored)
    plot = drawing.plot
    assert plot.caption.startswith("Hardest, on average over the 2 networks: </script> (50.0%), apple (95.0%).")
    assert plot.table.rows == (
        ("</script>", "50.0%", "40.0% (B@all-1)", "60.0% (A@all)"),
        ("apple", "95.0%", "90.0% (A@all)", "100.0% (B@all-1)"),
    )
    assert "</script>" not in drawing.inline
    assert "&lt;/script&gt;</text>" in drawing.inline


def test_only_the_hardest_classes_and_the_first_networks_are_drawn() -> None:
    table = frame(*(cell(f"N{i:02d}", 0.9 - i / 100, 0.8) for i in range(45)))
    right = np.arange(60)
    counts = np.stack([right, np.full(60, 60)])
    stored = ReportData(table, by_class=dict.fromkeys(table["cell_id"], counts))
    plot = prepared(per_class_accuracy, stored)
    assert "40 of the 60 classes, the hardest, " in plot.caption
    assert len(plot.frame) == 1600
    assert set(plot.frame["class"]) == {f"class {i}" for i in range(40)}
    assert len(plot.table.rows) == 60


def test_names_that_do_not_fit_the_predictions_are_not_used(stored: ReportData) -> None:
    other = ReportData(stored.table, parse({"dataset": {"classes": ["only one"]}}), by_class=stored.by_class)
    assert list(per_class_accuracy.errors(other).index) == ["class 1", "class 0"]


def test_a_column_is_wide_enough_for_its_number_and_its_slanted_name() -> None:
    names = [f"EfficientNetV2B{i}" for i in range(9)]
    table = frame(*(cell(name, 0.9 - i / 100, 0.8) for i, name in enumerate(names)))
    stored = ReportData(table, by_class=dict.fromkeys(table["cell_id"], np.array([[5, 9], [10, 10]])))
    found = per_class_accuracy.vega_plot(prepared(per_class_accuracy, stored))
    # at 55 degrees a name of sixteen letters reaches cos 55 = .57 of its length beyond its column
    beyond = 0.57 * 16 * 6
    assert found.least >= 9 * 40 + 6 * len("class 0") + beyond
    assert found.views[""]["padding"]["right"] >= beyond / 4
    few = frame(cell("VGG16", 0.9, 0.8), cell("Xception", 0.8, 0.8))
    fewer = ReportData(few, by_class=dict.fromkeys(few["cell_id"], np.array([[5, 9], [10, 10]])))
    short = per_class_accuracy.vega_plot(prepared(per_class_accuracy, fewer))
    assert short.views[""]["padding"]["right"] == 4


# --- of controls nothing is found -------------------------------------------------------------------------------------


@pytest.fixture
def controlled(stored: ReportData) -> ReportData:
    """The same two, and a control that is worst in class 0, calibrated to the digit, and has no gap."""
    control = cell("B", 0.2, 0.3, freeze="all-1", train_acc=0.3, weights="none")
    counts = {control["cell_id"]: np.array([[0, 6, 0], [10, 10, 0]])}
    even = {control["cell_id"]: np.array([[0.0, 20, 2], [0.0, 16, 1.6], [0, 16, 1.6]])}
    return ReportData(
        pd.concat([stored.table, frame(control)], ignore_index=True), RUN,
        by_class={**stored.by_class, **counts}, bins={**stored.bins, **even}, training=stored.training,
    )  # fmt: skip


def test_controls_are_drawn_but_nothing_is_said_of_them(controlled: ReportData) -> None:
    assert list(per_class_accuracy.errors(controlled).columns) == ["A@all", "B@all-1", "B@all-1@none-weights"]
    by_class = prepared(per_class_accuracy, controlled)
    assert by_class.caption.startswith(
        "Hardest, on average over the 2 networks: </script> (50.0%), apple (95.0%). Controls with random weights are "
        "drawn, but not counted."
    )
    assert by_class.table.rows[1] == ("apple", "95.0%", "90.0% (A@all)", "100.0% (B@all-1)")
    calibrated = prepared(reliability, controlled)
    assert "No network is better calibrated." in calibrated.caption
    assert calibrated.table.rows[2][0] == "B@all-1@none-weights"
    gap = prepared(train_vs_test, controlled)
    assert "widest for A@all (20.0 points) and narrowest for B@all-1 (15.0)" in gap.caption
    assert "B@all-1@none-weights" in set(gap.frame["label"])


def test_all_gaps_alike() -> None:
    plot = prepared(train_vs_test, ReportData(frame(cell("A", 0.9, 0.8), cell("B", 0.8, 0.8004))))
    assert plot.caption.endswith(" It is the same for all, 20.0 points.")


def test_one_seed_is_not_passed_off_as_the_mean_of_several(stored: ReportData) -> None:
    other = cell("B", 0.7, 0.6, freeze="all-1", seed=1)
    several = ReportData(
        pd.concat([stored.table.iloc[1:], frame(other)], ignore_index=True), RUN,
        by_class=stored.by_class, bins=stored.bins, bins_before=stored.bins_before, training=stored.training,
    )  # fmt: skip
    for module in (per_class_accuracy, reliability, learning_curves):
        assert prepared(module, several).caption.endswith("Of several seeds the first is shown.")
        assert "seeds" not in prepared(module, stored).caption
    assert "B (the first of 2 seeds) is right in 72.7%" in prepared(reliability, several).caption
    assert prepared(learning_curves, several).caption.startswith(
        "B (the first of 2 seeds) rose from 0.500 to 0.800 on val"
    )


# --- reliability ------------------------------------------------------------------------------------------------------


def test_reliability_is_counted_over_all_items_and_drawn_where_there_are_enough(stored: ReportData) -> None:
    summary = reliability.summaries(stored.rows, stored)
    assert summary["right"].tolist() == pytest.approx([16 / 22, 16 / 22])
    assert summary["confidence"].tolist() == pytest.approx([14.9 / 22, 17.6 / 22])
    assert summary["ece"].tolist() == pytest.approx([(0.6 + 0.5 + 1.0) / 22, (2.0 + 0.4) / 22])
    assert summary["before"].tolist() == pytest.approx([4.9 / 22, float("nan")], nan_ok=True)
    every = reliability.bins(stored.rows, stored)
    before, points = every[every["before"]], after(every)
    assert before[["label", "confidence", "items"]].to_numpy().tolist() == [["A@all", pytest.approx(95), 22]]
    assert points["label"].tolist() == ["A@all", "A@all", "B@all-1"]
    assert points["confidence"].tolist() == pytest.approx([55, 90, 80])
    assert points["right"].tolist() == pytest.approx([50, 100, 70])
    assert points["items"].tolist() == [10, 10, 20]


def test_reliability_says_who_is_too_sure(stored: ReportData) -> None:
    plot = prepared(reliability, stored)
    assert plot.caption.startswith(
        "A@all is right in 72.7% of its answers on test and on average 67.7% sure: not sure enough (ECE 9.5%). "
        "No network is better calibrated. Without its temperature the ECE of A@all would be 22.3%."
    )
    only = ReportData(frame(cell("B", 0.8, 0.7)), bins={"B-all-imagenet-0": stored.bins[B]})
    assert "80.0% sure: too sure of itself (ECE 10.9%)." in prepared(reliability, only).caption


# --- learning curves --------------------------------------------------------------------------------------------------


def test_curves_hold_every_epoch_of_every_rate(stored: ReportData) -> None:
    found = learning_curves.curves(stored)
    assert found["label"].unique().tolist() == ["B@all-1"]
    assert found[["rate", "epoch", "score", "chosen", "kept"]].to_numpy().tolist() == [
        ["0.001", 0, 0.5, False, False],
        ["0.001", 1, 0.3, False, False],
        ["0.0001", 0, 0.5, True, False],
        ["0.0001", 1, 0.6, True, False],
        ["0.0001", 2, 0.8, True, True],
        ["0.0001", 3, 0.7, True, False],
    ]


def test_curves_say_what_training_brought(stored: ReportData) -> None:
    plot = prepared(learning_curves, stored)
    assert plot.caption.startswith(
        "A@all, which ranks first, was solved in one step and has no curve. B@all-1 rose from 0.500 to 0.800 on val, "
        "at a learning rate of 0.0001, in 2 epochs. Epoch 0 is the start"
    )
    assert plot.table.rows == (("B@all-1", "0.0001", "0.500", "0.800", "2", "3"),)
    assert plot.frame["loss"].notna().sum() == 4, "the start has no loss"


def test_the_epoch_whose_weights_were_kept_is_the_last_of_a_whole_schedule_and_was_the_best_before(
    stored: ReportData,
) -> None:
    trace = dict(stored.training[B])
    del trace["best_epoch"]
    whole = prepared(learning_curves, ReportData(stored.table, training={B: trace | {"epoch": 3}}))
    assert whole.table.rows == (("B@all-1", "0.0001", "0.500", "0.700", "3", "3"),)
    assert "B@all-1 rose from 0.500 to 0.700 on val, at a learning rate of 0.0001, in 3 epochs." in whole.caption
    trace["start"] = trace["start"] | {"score": 0.9}
    fell = prepared(learning_curves, ReportData(stored.table, training={B: trace | {"epoch": 3}}))
    assert "B@all-1 went from 0.900 to 0.700 on val" in fell.caption


# --- train against test, accuracy against cost ------------------------------------------------------------------------


def test_gaps_name_the_widest_and_the_narrowest(stored: ReportData) -> None:
    plot = prepared(train_vs_test, stored)
    assert plot.caption.endswith("It is widest for A@all (20.0 points) and narrowest for B@all-1 (15.0).")
    assert plot.frame["label"].tolist() == ["A@all", "B@all-1"]
    assert plot.frame["train"].tolist() == [100.0, 85.0]


def test_the_front_is_found_anew_for_every_cost() -> None:
    table = frame(
        cell("Fast", 0.7, 0.7, latency_ms=5.0, params=9_000_000, flops=None),
        cell("Small", 0.8, 0.8, latency_ms=50.0, params=1_000_000, flops=None),
    )
    plot = prepared(accuracy_vs_cost, ReportData(table))
    assert list(accuracy_vs_cost.vega_plot(plot).views) == ["latency", "parameters"]
    front = plot.frame[plot.frame["front"]]
    assert front[["view", "cost", "test"]].to_numpy().tolist() == [
        ["latency", 50.0, 80.0],
        ["latency", 5.0, 70.0],
        ["parameters", 1.0, 80.0],
    ]


@pytest.mark.parametrize("stretched", [1.0, 1.1])
def test_names_of_points_cover_neither_each_other_nor_points(stretched: float) -> None:
    rng = np.random.default_rng(0)
    rows = [
        cell(f"Backbone{i}", rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.9), latency_ms=rng.uniform(2, 200))
        for i in range(30)
    ]
    plot = prepared(accuracy_vs_cost, ReportData(frame(*rows)))
    shown = plot.frame[plot.frame["view"] == "latency"]
    across, up = (axis.ends for axis in accuracy_vs_cost._axes(shown, ""))

    def pixels(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        x = np.log10(found["cost"] / across[0]) / np.log10(across[1] / across[0]) * accuracy_vs_cost.WIDE * stretched
        return x.to_numpy(), ((found["test"] - up[0]) / (up[1] - up[0]) * accuracy_vs_cost.HIGH).to_numpy()

    names = shown[shown["align"].notna()]
    assert len(names) > 15
    assert set(names["align"]) > {"left"}
    x, y = pixels(names)
    width = (accuracy_vs_cost.LETTER * names["label"].str.len()).to_numpy()
    left = (x + names["dx"] - width * names["align"].map({"left": 0.0, "center": 0.5, "right": 1.0})).to_numpy()
    middle = (y - names["dy"]).to_numpy()
    for i in range(len(names)):
        others = np.arange(len(names)) != i
        beside = (left[others] + width[others] <= left[i]) | (left[i] + width[i] <= left[others])
        assert (beside | (np.abs(middle[others] - middle[i]) >= accuracy_vs_cost.LINE)).all()
        px, py = pixels(shown)
        covered = (px > left[i]) & (px < left[i] + width[i]) & (np.abs(py - middle[i]) < accuracy_vs_cost.LINE / 2)
        assert not covered.any()


def test_among_many_candidates_only_the_front_is_named() -> None:
    rows = [cell(f"N{i:02d}", 0.5 + i / 100, 0.5 + i / 100, latency_ms=100.0 - i) for i in range(31)]
    drawing = drawn(accuracy_vs_cost, ReportData(frame(*rows)))
    assert set(drawing.plot.frame.loc[drawing.plot.frame["align"].notna(), "label"]) == {"N30"}
    assert drawing.svg.count(">N") == 1


def test_the_area_of_a_file_is_the_one_that_names_were_placed_for(stored: ReportData) -> None:
    axes = accuracy_vs_cost.matplotlib_figure(prepared(accuracy_vs_cost, stored)).axes[0]
    box = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    assert (box.width, box.height) == pytest.approx((accuracy_vs_cost.WIDE / 100, accuracy_vs_cost.HIGH / 100))


# --- what the page holds ----------------------------------------------------------------------------------------------


def test_json_cannot_end_its_script() -> None:
    content = {"</script><!--": "<script>\u2028"}
    text = vega.as_json(content)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == content


def test_what_is_missing_or_infinite_is_null_in_the_data() -> None:
    assert vega.records(pd.DataFrame({"x": [1 / 3, np.nan, np.inf]})) == [{"x": 0.333333}, {"x": None}, {"x": None}]


def test_colours_of_the_page_are_set_in_tags_only(stored: ReportData) -> None:
    name = f"url(#a) {style.TEST}"
    table = frame(cell(name, 0.9, 0.8), cell("B", 0.8, 0.7))
    inline = drawn(train_vs_test, ReportData(table)).inline
    assert f">{name}</text>" in inline
    assert inline.count(style.TEST) == inline.count(name)
    assert "var(--test)" in inline
    assert "xmlns" not in inline
