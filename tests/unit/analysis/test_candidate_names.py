"""From names to candidates and cells, and from cells to names."""

from __future__ import annotations

import pandas as pd
import pytest
from support.tables import cell, frame, lost

from backbench.analysis import find
from backbench.analysis.candidate_names import find_cell, full_name
from backbench.analysis.candidates import candidates
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


# --- candidates -------------------------------------------------------------------------------------------------------

SHORT_IDS = frame(
    cell("A", 0.9, 0.9, cell_id="aaaa1111"),
    cell("A", 0.8, 0.8, freeze="all-1", seed=0, cell_id="aaaa2222"),
    cell("A", 0.8, 0.9, freeze="all-1", seed=1, cell_id="bbbb3333"),
    cell("A", 0.3, 0.2, weights="none", freeze="all-1", cell_id="cccc4444"),
    cell("MobileNetV2:alpha=0.35", 0.7, 0.7, cell_id="dddd5555"),
    cell("scratch", 0.5, 0.5, cell_id="eeee6666"),
    lost("B", "failed", "out of memory\nTraceback", freeze="all-1"),
)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("A@all", ("aaaa1111",)),
        ("a@all", ("aaaa1111",)),
        ("A@all-1", ("aaaa2222", "bbbb3333")),
        ("A@all-1@imagenet-weights", ("aaaa2222", "bbbb3333")),
        ("A@all-1@none-weights", ("cccc4444",)),
        ("A@none-weights", ("cccc4444",)),
        ("A@all-1#1", ("bbbb3333",)),
        ("A@all#0", ("aaaa1111",)),
        ("A@all@96px", ("aaaa1111",)),
        ("A@all 96 px", ("aaaa1111",)),
        ("MobileNetV2:alpha=0.35", ("dddd5555",)),
        ("scratch", ("eeee6666",)),
        (" scratch ", ("eeee6666",)),
        ("scratch@none", ("eeee6666",)),
        ("cccc4444", ("cccc4444",)),
        ("bbbb", ("bbbb3333",)),
    ],
)
def test_names_mean_candidates(name: str, cells: tuple[str, ...]) -> None:
    assert find(SHORT_IDS, name).cell_ids == cells


def test_every_label_of_the_leaderboard_is_a_name() -> None:
    table = frame(
        *(
            cell("A", 0.5, 0.5, freeze=freeze, image_size=size, weights=weights, cell_id=f"{freeze}-{size}-{weights}")
            for freeze in ("all", "all-1")
            for size in (96, 128)
            for weights in ("imagenet", "none")
        )
    )
    labels = [candidate.label for candidate in candidates(table)]
    assert len(set(labels)) == 8
    assert "A@all-1@none-weights 128 px" in labels
    assert [find(table, label).label for label in labels] == labels


def test_one_seed_has_a_name_of_its_own() -> None:
    candidate = find(SHORT_IDS, "bbbb")
    assert (candidate.label, candidate.seeds, candidate.test_acc) == ("A@all-1#1", 1, 0.9)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("A", "'A' is ambiguous: it may be A@all or A@all-1"),
        ("aaaa", "'aaaa' is ambiguous: cells aaaa1111 or aaaa2222 begin with it"),
        ("A@all-2", "unknown candidate 'A@all-2': did you mean A@all-1 or A@all?"),
        ("A@al", "unknown candidate 'A@al': did you mean A@all or A@all-1?"),
        ("A@all@128px", "unknown candidate 'A@all@128px': did you mean A@all-1 or A@all?"),
        ("A@all-1#7", "A@all-1 has no seed 7: there is 0 and 1"),
        ("scrach", "unknown candidate 'scrach': did you mean scratch?"),
        (
            "zz",
            "unknown candidate 'zz': there is A@all, A@all-1, MobileNetV2:alpha=0.35@all, scratch and "
            "A@all-1@none-weights",
        ),
        ("", "unknown candidate '': there is "),
        ("B@all-1", "'B@all-1' did not finish (failed): out of memory"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        find(SHORT_IDS, name)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_nothing_to_name() -> None:
    with pytest.raises(RequestError, match="no cell was finished"):
        find(frame(lost("A", "failed", "boom")), "A")
