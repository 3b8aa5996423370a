"""What identifies a cell, what does not, and how many cells a job has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbench import cells, planning
from backbench.backbones import parse_backbones
from backbench.cells import parse_freeze, plan
from backbench.errors import RequestError
from backbench.records import Backbone, Dataset, Job, Pixels, Request, Weights


def row(name: str) -> Backbone:
    (backbone,) = parse_backbones(name)
    assert backbone is not None
    return backbone


DATASET = Dataset(
    name="toy",
    source="toy",
    class_names=("a", "b"),
    ids=("1", "2", "3", "4"),
    labels=np.array([0, 1, 0, 1]),
    split=np.array(["train", "train", "val", "test"]),
    rows=np.arange(4),
    fingerprint="f" * 64,
    health={},
)

FROZEN = Job(
    backbone=row("MobileNetV2"),
    pretrained=True,
    dataset=DATASET,
    image_size=96,
    resize="stretch",
    freeze=("all",),
    seeds=1,
    epochs=40,
    batch_size=32,
    augment="light",
    engine="keras",
    precision="float32",
    backend="tensorflow",
    cache=Path("cache"),
    weights=Weights(path=Path("w.h5"), format="h5", digest="d" * 64, source="keras cache"),
)
SCRATCH = replace(FROZEN, backbone=None, pretrained=False, weights=None)


def ids(job: Job) -> list[str]:
    return [cell.cell_id for cell in plan(job)]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": replace(DATASET, fingerprint="e" * 64)},
        {"backbone": row("MobileNet")},
        {"backbone": row("MobileNetV2:alpha=0.35")},
        {"weights": Weights(path=Path("w.h5"), format="h5", digest="c" * 64, source="keras cache")},
        {"weights": None, "pretrained": False},
        {"image_size": 97},
        {"resize": "crop"},
        {"engine": "openvino"},
        {"precision": "bfloat16"},
        {"backend": "jax"},
    ],
    ids=" ".join,
)
def test_identity_of_a_frozen_cell_changes_with(change: dict[str, Any]) -> None:
    (before,), (after,) = ids(FROZEN), ids(replace(FROZEN, **change))
    assert before != after


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": replace(DATASET, fingerprint="e" * 64)},
        {"image_size": 97},
        {"resize": "crop"},
        {"epochs": 41},
        {"batch_size": 33},
        {"augment": "none"},
        {"dataset": replace(DATASET, flips=False)},
        {"precision": "bfloat16"},
        {"backend": "torch"},
    ],
    ids=" ".join,
)
def test_identity_of_a_scratch_cell_changes_with(change: dict[str, Any]) -> None:
    (before,), (after,) = ids(SCRATCH), ids(replace(SCRATCH, **change))
    assert before != after


def test_identity_changes_with_the_protocol_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(FROZEN)
    monkeypatch.setattr(cells, "PROTOCOL_VERSION", cells.PROTOCOL_VERSION + 1)
    assert ids(FROZEN) != before


def test_identity_changes_with_the_freeze_depth() -> None:
    all_of_it, but_one = plan(replace(FROZEN, freeze=("all", "all-1")))
    assert (all_of_it.freeze, but_one.freeze) == ("all", "all-1")
    assert all_of_it.cell_id != but_one.cell_id


@pytest.mark.parametrize(
    "change",
    [
        {"cache": Path("elsewhere")},
        {"wanted": ("x",)},
        {"pixels": Pixels(Path("p.npy"), 96, "stretch")},
        {"dataset": replace(DATASET, name="renamed", source="/elsewhere", health={"images": 4})},
        {"weights": Weights(path=Path("other.h5"), format="weights.h5", digest="d" * 64, source="a mirror")},
        {"epochs": 41, "batch_size": 8, "augment": "none"},  # a probe has none of them
    ],
    ids=" ".join,
)
def test_identity_of_a_frozen_cell_does_not_change_with(change: dict[str, Any]) -> None:
    assert ids(replace(FROZEN, **change)) == ids(FROZEN)


@pytest.mark.parametrize("machine", [{"workers": 7}, {"executor": "ray"}, {"out": Path("there")}, {"mirrors": False}])
def test_where_the_work_runs_is_no_part_of_the_identity(machine: dict[str, Any]) -> None:
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}

    def planned(request: Request, cache: Path) -> list[str]:
        jobs = planning.jobs_for(request, DATASET, resolved=resolved, cache=cache)
        return [cell_id for job in jobs for cell_id in ids(job)]

    request = Request(backbones="VGG16,scratch", weights="none", seeds=2)
    found = planned(request, Path("cache"))
    assert len(set(found)) == 4
    assert planned(replace(request, **machine), Path("other-cache")) == found


def test_a_cell_id_is_the_digest_of_the_identity_whatever_its_order() -> None:
    assert ids(FROZEN) == [cells.digest_of(plan(FROZEN)[0].identity)[:16]]
    shuffled = dict(reversed(list(plan(FROZEN)[0].identity.items())))
    assert cells.digest_of(shuffled)[:16] == ids(FROZEN)[0]


def test_what_is_deterministic_is_planned_once_and_what_is_random_once_per_seed() -> None:
    def seeds(job: Job) -> list[tuple[str, int]]:
        return [(cell.freeze, cell.seed) for cell in plan(replace(job, seeds=3))]

    assert seeds(FROZEN) == [("all", 0)]
    assert seeds(replace(FROZEN, pretrained=False, weights=None)) == [("all", 0), ("all", 1), ("all", 2)]
    assert seeds(SCRATCH) == [("none", 0), ("none", 1), ("none", 2)]
    assert len(set(ids(replace(SCRATCH, seeds=3)))) == 3
    assert ids(replace(SCRATCH, seeds=3))[0] == ids(SCRATCH)[0]


def test_scratch_ignores_the_freeze_depths() -> None:
    assert [cell.freeze for cell in plan(replace(SCRATCH, freeze=("all", "all-1")))] == ["none"]


def test_freeze_depths_are_read_in_order_without_repeats() -> None:
    assert parse_freeze(" all , all,") == ("all",)


@pytest.mark.parametrize("text", ["", " , ", "some", "All", "all+1", "-1", "all-x", "all;none"])
def test_freeze_depths_that_are_not_understood_are_refused(text: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_freeze(text)
    message = str(refused.value)
    assert "\n" not in message
    assert "--freeze" in message
    assert f"'{text.strip(' ,')}'" in message


def test_known_columns_of_a_row() -> None:
    (cell,) = plan(FROZEN)
    known = cells.empty_row(FROZEN, cell)
    assert known["cell_id"] == cell.cell_id
    assert (known["backbone"], known["family"]) == ("MobileNetV2", "mobilenet")
    assert (known["weights"], known["weights_source"]) == ("imagenet", "keras cache")
    (cell,) = plan(SCRATCH)
    known = cells.empty_row(SCRATCH, cell)
    assert (known["backbone"], known["weights"], known["freeze"]) == ("scratch", "none", "none")
    assert known["weights_source"] == "random initialisation"
