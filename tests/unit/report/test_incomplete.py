"""A sweep that was cut off does not look complete: what was planned and not measured is said wherever results are."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.tables import cell, frame, lost

import backbench
from backbench.analysis.missing_cells import with_unmeasured
from backbench.core.cells import CellKey
from backbench.core.errors import RequestError
from backbench.report import build
from backbench.results import store
from backbench.results.run_record import parse


def place(backbone: str, freeze: str = "all", seed: int = 0, weights: str = "imagenet") -> CellKey:
    return CellKey(backbone, weights, 96, freeze, seed)


PLANNED = [
    place("A"), place("A", "all-1", 0), place("A", "all-1", 1), place("B"),
    place("scratch", "none", 0, "none"), place("scratch", "none", 1, "none"),
]  # fmt: skip


@pytest.fixture
def cut_off() -> list[dict[str, Any]]:
    """Of A everything was measured, of scratch one of two seeds; B failed at one depth and was not tried at another."""
    return [
        cell("A", 0.9, 0.8), cell("A", 0.8, 0.7, freeze="all-1"), cell("A", 0.8, 0.7, freeze="all-1", seed=1),
        lost("B", "failed", "boom") | {"image_size": 96, "seed": 0}, cell("scratch", 0.5, 0.4),
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, cut_off: list[dict[str, Any]]) -> Path:
    store.write_run(tmp_path, parse({"planned": [asdict(key) for key in (*PLANNED, place("B", "all-1"))]}))
    store.write_table(tmp_path, frame(*cut_off).convert_dtypes())
    return tmp_path


def test_types_stay_as_declared(folder: Path) -> None:
    table = store.read_table(folder)
    assert with_unmeasured(table, [place("B", "all-1")]).dtypes.equals(table.dtypes)


def test_page_and_terminal_say_so(folder: Path) -> None:
    html = build.write_report(folder).read_text(encoding="utf-8")
    # A twice is whole; scratch lacks a seed, B failed at one depth and was not come to at the other
    assert "2 of 5 candidates finished" in html
    assert (
        "The sweep has not come to its end: 2 of 7 cells were not measured (scratch#1, B@all-1). The same command goes "
        "on where it stopped."
    ) in re.sub("<[^>]*>", "", html)
    assert "1 of 2 seeds" in html
    assert '<span class="badge unmeasured">unmeasured</span> scratch#1 and 1 more' in html
    shown = build.leaderboard_text(folder, width=200)
    assert "failed: B@all. boom\n" in shown
    assert "unmeasured: scratch#1 and 1 more. the sweep did not come to it; the same command goes on" in shown


def test_a_name_that_was_not_come_to_is_not_called_unknown(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"'B@all-1' did not finish \(unmeasured\): the sweep did not come to it"):
        backbench.load(folder).compare("A@all", "B@all-1")


def test_a_finished_sweep_says_nothing(folder: Path) -> None:
    store.write_run(folder, parse({"planned": [asdict(key) for key in PLANNED[:5]]}))
    html = build.write_report(folder).read_text(encoding="utf-8")
    assert "not come to" not in html
    assert "3 of 4 candidates finished" in html
    assert "of 2 seeds" not in html.replace("mean of 2 seeds", "")
