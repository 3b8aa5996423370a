"""What people call a cell, and the cell that is meant."""

from __future__ import annotations

import pandas as pd
import pytest
from support.tables import cell, frame, lost

from backbench.analysis.naming import find_cell, full_name
from backbench.core.errors import RequestError

MOBILE = "MobileNet:alpha=0.25"

TABLE = frame(
    cell("VGG16", 0.80, 0.7),
    cell("VGG16", 0.90, 0.8, freeze="all-1", seed=0),
    cell("VGG16", 0.92, 0.7, freeze="all-1", seed=1),
    cell("VGG16", 0.95, 0.9, freeze="none"),
    cell("VGG16", 0.30, 0.3, weights="none"),
    cell(MOBILE, 0.60, 0.6),
    cell("scratch", 0.50, 0.5),
    lost("Xception", "skipped", "no weights for Xception") | {"cell_id": "lost"},
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "VGG16-none-imagenet-0"),
        ("VGG16@all", "VGG16-all-imagenet-0"),
        ("VGG16@all 96 px", "VGG16-all-imagenet-0"),
        ("vgg16@ALL", "VGG16-all-imagenet-0"),
        (" VGG16@none ", "VGG16-none-imagenet-0"),
        ("VGG16@all-1", "VGG16-all-1-imagenet-1"),  # of the seeds the one that is best on val
        ("VGG16@all-1#0", "VGG16-all-1-imagenet-0"),
        ("VGG16@all-1#1", "VGG16-all-1-imagenet-1"),
        ("VGG16@all@none-weights", "VGG16-all-none-0"),
        ("VGG16@none-weights@all", "VGG16-all-none-0"),
        ("VGG16@none-weights", "VGG16-all-none-0"),  # there is but one
        (MOBILE, f"{MOBILE}-all-imagenet-0"),
        (f"{MOBILE}@all#0", f"{MOBILE}-all-imagenet-0"),
        ("scratch", "scratch-none-none-0"),
        ("scratch@none", "scratch-none-none-0"),
        ("VGG16-all-1-imagenet-0", "VGG16-all-1-imagenet-0"),  # a cell id
    ],
)
def test_a_name_means_one_cell(name: str | None, expected: str) -> None:
    assert find_cell(TABLE, name)["cell_id"] == expected


def test_every_full_name_means_its_cell() -> None:
    for _, row in TABLE[TABLE["status"] == "ok"].iterrows():
        name = full_name(row) + ("#0" if row["seed"] == 0 else "")
        assert find_cell(TABLE, name)["cell_id"] == row["cell_id"]
    assert [full_name(row) for _, row in TABLE.iterrows()][1:4] == ["VGG16@all-1", "VGG16@all-1#1", "VGG16@none"]
    assert full_name(TABLE.iloc[4]) == "VGG16@all@none-weights"


def test_without_a_finished_cell_there_is_no_winner() -> None:
    for table in (frame(), frame(lost("VGG16", "failed", "it broke"))):
        with pytest.raises(RequestError, match="no cell was finished"):
            find_cell(pd.DataFrame(table))
