"""The leaderboard in a terminal: aligned, as wide as there is room, and harmless."""

from __future__ import annotations

import pandas as pd
import pytest
from support.tables import cell, frame, lost

from backbench.analysis import grouped, recommend
from backbench.report import terminal

LATE = "training did not beat the frozen probe on val"


@pytest.fixture
def table() -> pd.DataFrame:
    return frame(
        cell("MobileNetV2", 0.82, 0.79), cell("Xception", 0.80, 0.77), cell("VGG16", 0.71, 0.69),
        cell("scratch", 0.5, 0.45),
    )  # fmt: skip


def test_table_is_aligned_and_fits(table: pd.DataFrame) -> None:
    for width in (60, 80, 100, 160):
        lines = terminal.show(table, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[2].index(" 79.0% ") == lines[3].index(" 77.0% ")
    assert terminal.show(table, width=160).splitlines()[0].split() == [
        "#", "candidate", "freeze", "test", "95%", "interval", "gap", "train", "val", "score", "params", "GFLOPs", "ms",
        "images/s", "MiB", "time",
    ]  # fmt: skip
    assert terminal.show(table, width=24).splitlines()[0].split() == ["#", "candidate", "test"]


def test_says_what_did_not_finish(table: pd.DataFrame) -> None:
    more = pd.concat([table, frame(lost("ResNet50", "skipped", "no weights"))], ignore_index=True)
    assert terminal.show(more, width=80).endswith("\nskipped: ResNet50. no weights\n")
    assert terminal.show(frame(lost("A", "failed", "boom")), width=80).startswith("No candidate finished.")
    assert terminal.show(frame(), width=80) == "No cell has been run.\n"


def test_is_not_repainted_by_a_name() -> None:
    shown = terminal.show(frame(cell("\x1b[2Jevil\r\u202e", 0.9, 0.8)), width=80)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "?[2Jevil" in shown


def test_ranks_as_the_analysis_does(table: pd.DataFrame) -> None:
    names = [line.split()[1] for line in terminal.show(table, width=100).splitlines()[2:6]]
    assert names == list(grouped(table)["backbone"])


def test_notes_stand_below_the_table_and_marks_at_the_names() -> None:
    table = frame(
        cell("A", 0.9, 0.8, freeze="all-1", reason=LATE),
        cell("B", 0.8, 0.8, reason=f"slow; {LATE}"),
        cell("C", 0.7, 0.7),
    )
    lines = terminal.show(table, width=100).splitlines()
    assert [line.split()[1:3] for line in lines[2:5]] == [["A@all-1", "[1]"], ["B@all", "[1]"], ["C@all", "all"]]
    assert lines[3].split()[3] == "[2]"
    assert lines[6:8] == [f"[1] {LATE}", "[2] slow"]


def test_seeds_have_a_column_of_their_range_where_there_are_several(table: pd.DataFrame) -> None:
    assert "seeds" not in terminal.show(table, width=160)
    rows = [cell("A", 0.9, test, freeze="all-1", seed=seed) for seed, test in enumerate((0.80, 0.82, 0.84))]
    lines = terminal.show(frame(*rows, cell("A", 0.7, 0.7)), width=160).splitlines()
    assert "82.0%  3: 80.0-84.0%" in lines[2]
    assert lines[0].index("seeds") == lines[2].index("3: 80.0")
    assert "seeds" not in terminal.show(frame(*rows), width=40)


def test_says_what_ranks_who_is_tied_and_what_can_be_exported(table: pd.DataFrame) -> None:
    facts = recommend(table)  # of Xception the interval overlaps that of MobileNetV2
    lines = terminal.show(table, width=80, facts=facts, exports="Can be exported: VGG16.").splitlines()
    assert [line.split()[1:3] for line in lines[2:5]] == [
        ["MobileNetV2", "79.0%"], ["Xception", "~"], ["VGG16", "69.0%"],
    ]  # fmt: skip
    assert lines[7:] == [
        "Ranked by selection score, which is measured on val alone.",
        "~ the 95% interval of its test accuracy overlaps that of the first",
        "Can be exported: VGG16.",
    ]
    assert "score" in lines[0].split()


def test_seeds_and_score_stay_at_eighty_columns() -> None:
    rows = [cell("EfficientNetV2B0", 0.9, 0.8, freeze="all-1", seed=seed) for seed in range(3)]
    rows += [cell("EfficientNetV2B0", 0.7, 0.7)]
    lines = terminal.show(frame(*rows), width=80).splitlines()
    assert {"seeds", "score"} < set(lines[0].split())
    assert max(map(len, lines)) <= 80


def test_a_depth_that_did_not_finish_is_named() -> None:
    table = frame(cell("A", 0.9, 0.9), lost("A", "skipped", "no such depth", freeze="all-7"))
    assert terminal.show(table, width=80).endswith("skipped: A@all-7. no such depth\n")


def test_what_another_seed_would_change_is_said_of_what_was_trained_once() -> None:
    once = frame(cell("A", 0.9, 0.8, freeze="all-1"))
    assert "another seed typically moves it by 0.7 points" in terminal.show(once, width=200, facts=recommend(once))
    solved = frame(cell("A", 0.9, 0.8))
    assert "another seed" not in terminal.show(solved, width=200, facts=recommend(solved))
