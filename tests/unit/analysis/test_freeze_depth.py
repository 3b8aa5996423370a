"""Networks over their freeze depths, and what they gain by being unfrozen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.tables import cell, frame, lost, right

from backbench.analysis.freeze_depth import series, unfreezing_gains


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


def test_series_are_networks_with_several_depths(table: pd.DataFrame) -> None:
    assert [(name, list(rows["freeze"])) for name, rows in series(table)] == [
        ("A", ["all", "all-1", "none"]),
        ("B", ["all", "all-1"]),
    ]


def test_series_keep_the_control_with_random_weights_apart() -> None:
    rows = [cell("A", 0.9, 0.9, freeze=freeze, weights=weights) for weights in ("imagenet", "none") for freeze in
            ("all", "none")]  # fmt: skip
    assert [name for name, _ in series(frame(*rows))] == ["A", "A@none-weights"]


def test_unfreezing_gains_choose_the_depth_on_val_and_measure_on_test(table: pd.DataFrame) -> None:
    first, second = unfreezing_gains(table)
    assert (first.name, first.before.freeze, first.after.freeze, first.advantage) == ("A", "all", "all-1", None)
    assert first.gain == pytest.approx(0.04)
    assert (first.before.gap, first.after.gap) == pytest.approx((0.30, 0.25))
    assert (second.name, second.after.freeze) == ("B", "all-1")
    assert second.gain == pytest.approx(-0.015)


def test_unfreezing_gains_have_a_paired_interval_with_predictions() -> None:
    # 30 wins, 10 losses of 100: 20 points, and 1.96 * 6 points to each side
    table = frame(cell("A", 0.6, 0.5), cell("A", 0.8, 0.7, freeze="all-1"))
    per_item = {
        "A-all-imagenet-0": right(np.r_[np.arange(40), 70:80], 100),
        "A-all-1-imagenet-0": right(np.arange(70), 100),
    }
    (gain,) = unfreezing_gains(table, per_item)
    assert gain.advantage is not None
    assert (gain.advantage.low, gain.advantage.high) == pytest.approx((0.082, 0.318), abs=0.02)
    assert gain.advantage.verdict == "better"


def test_unfreezing_gain_that_may_be_chance_is_tied() -> None:
    # 2 wins, 4 losses of 100
    table = frame(cell("A", 0.6, 0.52), cell("A", 0.8, 0.5, freeze="all-1"))
    per_item = {"A-all-imagenet-0": right(range(52), 100), "A-all-1-imagenet-0": right(np.r_[:48, 52:54], 100)}
    (gain,) = unfreezing_gains(table, per_item)
    assert gain.gain == pytest.approx(-0.02)
    assert gain.advantage is not None
    assert gain.advantage.verdict == "tied"
