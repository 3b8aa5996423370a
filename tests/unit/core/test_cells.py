"""What identifies a cell, what does not, and how many cells a job has."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbench.backbones import parse_backbones
from backbench.core import cells
from backbench.core.backbone import Backbone, Weights
from backbench.core.cells import augment_of, empty_row, frozen_share, parse_freeze, planned_cells
from backbench.core.dataset import Dataset
from backbench.core.errors import RequestError
from backbench.core.job import JobSpec, Resources
from backbench.core.request import Request
from backbench.sweep import plan


def row(name: str) -> Backbone:
    (backbone,) = parse_backbones(name)
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

FROZEN = JobSpec(
    backbone=row("MobileNetV2"),
    pretrained=True,
    dataset=DATASET,
    image_size=96,
    resize="stretch",
    freeze=("all",),
    seeds=1,
    epochs=40,
    batch_size=32,
    augment=None,
    views=4,
    engine="keras",
    precision="float32",
    backend="tensorflow",
    weights=Weights(path=Path("w.h5"), format="h5", digest="d" * 64, source="keras cache"),
)
TUNED = replace(FROZEN, freeze=("all-1",))
WHOLE = replace(FROZEN, freeze=("none",))
RANDOM = replace(FROZEN, pretrained=False, weights=None)
SCRATCH = replace(RANDOM, backbone=row("scratch"))


def ids(spec: JobSpec) -> list[str]:
    return [cell.cell_id for cell in planned_cells(spec)]


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


TRAINING: list[dict[str, Any]] = [{"epochs": 41}, {"batch_size": 33}, {"augment": "other than by default"}]


@pytest.mark.parametrize("spec", [TUNED, WHOLE], ids=["all-1", "none"])
@pytest.mark.parametrize(
    "change",
    [
        *TRAINING,
        {"dataset": replace(DATASET, fingerprint="e" * 64)},
        {"backbone": row("MobileNet")},
        {"weights": Weights(path=Path("w.h5"), format="h5", digest="c" * 64, source="keras cache")},
        {"weights": None, "pretrained": False},
        {"image_size": 97},
        {"precision": "bfloat16"},
        {"backend": "jax"},
    ],
    ids=" ".join,
)
def test_identity_of_a_fine_tuned_cell_changes_with(spec: JobSpec, change: dict[str, Any]) -> None:
    if "augment" in change:
        change = {"augment": "none" if spec is WHOLE else "light"}
    (before,), (after,) = ids(spec), ids(replace(spec, **change))
    assert before != after


@pytest.mark.parametrize(
    ("spec", "change", "matters"),
    [
        (TUNED, {"views": 9}, False),
        (replace(TUNED, augment="none"), {"views": 9}, False),
        (replace(TUNED, augment="light"), {"views": 9}, True),
        (replace(FROZEN, augment="light"), {"views": 9}, True),  # its probe is fitted on all of them
        (WHOLE, {"views": 9}, False),  # a new draw for every image
        (replace(WHOLE, augment="light"), {"views": 9}, False),
        (SCRATCH, {"views": 9}, False),
        (TUNED, {"dataset": replace(DATASET, flips=False)}, False),
        (replace(TUNED, augment="light"), {"dataset": replace(DATASET, flips=False)}, True),
        (WHOLE, {"dataset": replace(DATASET, flips=False)}, True),
        (replace(WHOLE, augment="none"), {"dataset": replace(DATASET, flips=False)}, False),
    ],
)
def test_views_and_flips_are_part_of_the_identity_only_where_images_are_augmented(
    spec: JobSpec, change: dict[str, Any], matters: bool
) -> None:
    assert (ids(replace(spec, **change)) != ids(spec)) == matters


@pytest.mark.parametrize(("spec", "default"), [(TUNED, "none"), (WHOLE, "light"), (SCRATCH, "light")])
def test_asking_for_what_is_the_default_is_the_same_cell(spec: JobSpec, default: str) -> None:
    assert ids(replace(spec, augment=default)) == ids(spec)


@pytest.mark.parametrize(
    ("asked", "behind_the_pixels", "at_the_pixels"),
    [(None, "none", "light"), ("light", "light", "light"), ("none", "none", "none")],
)
def test_what_is_augmented_by_default(asked: str | None, behind_the_pixels: str, at_the_pixels: str) -> None:
    spec = replace(FROZEN, augment=asked)
    assert [augment_of(spec, frozen) for frozen in (4, 1, 0)] == [
        behind_the_pixels,
        behind_the_pixels,
        at_the_pixels,
    ]


def test_the_identity_holds_what_of_the_recipe_a_cell_uses() -> None:
    frozen, tuned, whole = planned_cells(replace(FROZEN, freeze=("all", "all-1", "none"), augment="light"))
    shared = {"augment": "light", "flips": True}
    steps = {"epochs": 40, "batch_size": 32}
    assert frozen.identity["recipe"] == shared | {"views": 4}
    assert tuned.identity["recipe"] == shared | steps | {"views": 4}
    assert whole.identity["recipe"] == shared | steps | {"views": 1}
    (plain,) = planned_cells(FROZEN)
    assert plain.identity["recipe"] == {"augment": "none", "flips": False, "views": 1}


@pytest.mark.parametrize(
    ("spec", "freeze", "seed", "cell_id"),
    [
        (FROZEN, "all", 0, "c428324c02c26162"),
        (TUNED, "all-1", 0, "76e15061917dc58d"),
        (TUNED, "all-1", 1, "75a355b97b7b7f62"),
        (WHOLE, "none", 0, "0ba0481964f03206"),
        (WHOLE, "none", 1, "b6e257b19bd3b4d4"),
        (replace(FROZEN, augment="light"), "all", 0, "46b4a02358a71033"),
        (replace(TUNED, augment="light"), "all-1", 0, "5873107783b58630"),
        (RANDOM, "all", 0, "b55137b82a198eac"),
        (RANDOM, "all", 1, "183ed773685964a6"),
        (replace(RANDOM, freeze=("all-1",)), "all-1", 1, "418382f7ac5af0df"),
        (replace(RANDOM, freeze=("none",)), "none", 0, "722ff70cf9cfb1b0"),
        (SCRATCH, "none", 0, "52550770e50c8096"),
        (SCRATCH, "none", 1, "8cc1a4fab14dd396"),
        (replace(SCRATCH, augment="none"), "none", 0, "859ff9fe50fedf23"),
        (replace(FROZEN, weights=None), "all", 0, "6656f8626c47699f"),  # pretrained, weights not at hand yet
    ],
)
def test_ids_of_protocol_5_stay_what_they_are(spec: JobSpec, freeze: str, seed: int, cell_id: str) -> None:
    """Cells in the results folders of users have these: another id means that a sweep measures them again."""
    assert cells.PROTOCOL_VERSION == 5
    (cell,) = (cell for cell in planned_cells(replace(spec, seeds=2)) if cell.seed == seed)
    assert (cell.freeze, cell.cell_id) == (freeze, cell_id)


def test_identity_changes_with_the_protocol_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(FROZEN)
    monkeypatch.setattr(cells, "PROTOCOL_VERSION", cells.PROTOCOL_VERSION + 1)
    assert ids(FROZEN) != before


def test_identity_changes_with_the_freeze_depth() -> None:
    all_of_it, but_one = planned_cells(replace(FROZEN, freeze=("all", "all-1")))
    assert (all_of_it.freeze, but_one.freeze) == ("all", "all-1")
    assert all_of_it.cell_id != but_one.cell_id


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": replace(DATASET, name="renamed", source="/elsewhere", health={"images": 4})},
        {"weights": Weights(path=Path("other.h5"), format="weights.h5", digest="d" * 64, source="a mirror")},
        {"epochs": 41, "batch_size": 8, "views": 9},  # a probe has no steps, and by default no views
    ],
    ids=" ".join,
)
def test_identity_of_a_frozen_cell_does_not_change_with(change: dict[str, Any]) -> None:
    assert ids(replace(FROZEN, **change)) == ids(FROZEN)


def test_what_a_job_works_with_is_no_part_of_what_its_cells_are() -> None:
    assert not {part.name for part in fields(JobSpec)} & {part.name for part in fields(Resources)}


@pytest.mark.parametrize(
    "machine",
    [{"workers": 7}, {"executor": "ray"}, {"out": Path("there")}, {"mirrors": False}, {"keep_gb": 1.0}],
)
def test_where_the_work_runs_is_no_part_of_the_identity(machine: dict[str, Any]) -> None:
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}

    def planned(request: Request, cache: Path) -> list[str]:
        jobs = plan.jobs_for(request, DATASET, resolved=resolved, cache=cache)
        return [cell_id for job in jobs for cell_id in ids(job.spec)]

    request = Request(backbones="VGG16,scratch", freeze="all", weights="none", seeds=2)
    found = planned(request, Path("cache"))
    assert len(set(found)) == 4
    assert planned(replace(request, **machine), Path("other-cache")) == found


def test_a_cell_id_is_the_digest_of_the_identity_whatever_its_order() -> None:
    assert ids(FROZEN) == [cells.digest_of(planned_cells(FROZEN)[0].identity)[:16]]
    shuffled = dict(reversed(list(planned_cells(FROZEN)[0].identity.items())))
    assert cells.digest_of(shuffled)[:16] == ids(FROZEN)[0]


def test_what_is_deterministic_is_planned_once_and_what_is_random_once_per_seed() -> None:
    def seeds(spec: JobSpec) -> list[tuple[str, int]]:
        return [(cell.freeze, cell.seed) for cell in planned_cells(replace(spec, seeds=3))]

    assert seeds(FROZEN) == [("all", 0)]
    assert seeds(TUNED) == [("all-1", 0), ("all-1", 1), ("all-1", 2)]
    assert seeds(WHOLE) == [("none", 0), ("none", 1), ("none", 2)]
    assert seeds(replace(FROZEN, freeze=("all-1", "all"))) == [("all-1", 0), ("all-1", 1), ("all-1", 2), ("all", 0)]
    assert seeds(RANDOM) == [("all", 0), ("all", 1), ("all", 2)]
    assert seeds(SCRATCH) == [("none", 0), ("none", 1), ("none", 2)]
    assert len(set(ids(replace(SCRATCH, seeds=3)))) == 3
    assert ids(replace(SCRATCH, seeds=3))[0] == ids(SCRATCH)[0]
    assert len(set(ids(replace(TUNED, seeds=3)))) == 3
    assert ids(replace(TUNED, seeds=3))[0] == ids(TUNED)[0]


def test_scratch_ignores_the_freeze_depths() -> None:
    assert [cell.freeze for cell in planned_cells(replace(SCRATCH, freeze=("all", "all-1")))] == ["none"]


# MobileNetV2 has five stages, NASNetMobile has three.
@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ("all", [("all", 5)]),
        ("all-1", [("all-1", 4)]),
        ("all-4", [("all-4", 1)]),
        ("none", [("none", 0)]),
        ("none,all-2,all", [("none", 0), ("all-2", 3), ("all", 5)]),
        ("every", [("all", 5), ("all-1", 4), ("all-2", 3), ("all-3", 2), ("all-4", 1), ("none", 0)]),
        ("none,every", [("none", 0), ("all", 5), ("all-1", 4), ("all-2", 3), ("all-3", 2), ("all-4", 1)]),
    ],
)
def test_depths_of_a_backbone(freeze: str, expected: list[tuple[str, int]]) -> None:
    planned = planned_cells(replace(FROZEN, freeze=parse_freeze(freeze)))
    assert [(cell.freeze, cell.frozen) for cell in planned] == expected
    assert {cell.stages for cell in planned} == {5}
    assert not any(cell.impossible for cell in planned)


def test_every_means_as_many_depths_as_the_backbone_has_stages() -> None:
    planned = planned_cells(replace(FROZEN, backbone=row("NASNetMobile"), freeze=("every",)))
    assert [(cell.freeze, cell.frozen, cell.stages) for cell in planned] == [
        ("all", 3, 3),
        ("all-1", 2, 3),
        ("all-2", 1, 3),
        ("none", 0, 3),
    ]


@pytest.mark.parametrize("depth", ["all-5", "all-9", "all-10"])
def test_a_depth_that_leaves_no_stage_frozen_is_impossible_and_says_why(depth: str) -> None:
    possible, cell = planned_cells(replace(FROZEN, freeze=("all-4", depth)))
    assert possible.impossible == ""
    assert (cell.freeze, cell.frozen, cell.stages) == (depth, 0, 5)
    for part in ("MobileNetV2", "5 stages", depth, "none"):
        assert part in cell.impossible
    known = empty_row(FROZEN, cell).to_columns()
    assert (known["freeze"], known["freeze_depth"], known["frozen_params_pct"]) == (depth, 0, 0.0)


def test_a_depth_may_be_impossible_for_one_backbone_and_not_for_another() -> None:
    found = {
        name: bool(planned_cells(replace(FROZEN, backbone=row(name), freeze=("all-3",)))[0].impossible)
        for name in ("NASNetMobile", "ResNet50", "VGG16")
    }
    assert found == {"NASNetMobile": True, "ResNet50": False, "VGG16": False}


def test_the_frozen_share_counts_the_parameters_of_the_frozen_stages() -> None:
    # VGG16 by hand: kernels of 3 x 3 and a bias per channel; its stages end with blocks 1, 2, 3, 4 and 5.
    blocks = [
        9 * (3 * 64 + 64 * 64) + 2 * 64,
        9 * (64 * 128 + 128 * 128) + 2 * 128,
        9 * (128 * 256 + 2 * 256 * 256) + 3 * 256,
        9 * (256 * 512 + 2 * 512 * 512) + 3 * 512,
        9 * 3 * 512 * 512 + 3 * 512,
    ]
    assert sum(blocks) == 14_714_688
    vgg = row("VGG16")
    for frozen in range(6):
        assert frozen_share(vgg, frozen) == pytest.approx(100 * sum(blocks[:frozen]) / sum(blocks))
    assert (frozen_share(vgg, 0), frozen_share(vgg, 5)) == (0.0, 100.0)
    frozen, tuned, whole = planned_cells(replace(FROZEN, backbone=vgg, freeze=("all", "all-1", "none")))
    shares = [empty_row(replace(FROZEN, backbone=vgg), cell).frozen_params_pct for cell in (frozen, tuned, whole)]
    assert shares == [100.0, pytest.approx(51.9, abs=0.05), 0.0]


def test_freeze_depths_are_read_in_order_without_repeats() -> None:
    assert parse_freeze(" all , all,") == ("all",)
    assert parse_freeze("all-1,all,none, all-1,every,all-12") == ("all-1", "all", "none", "every", "all-12")


@pytest.mark.parametrize(
    "text", ["", " , ", "some", "All", "all+1", "-1", "all-x", "all;none", "all-0", "all-01", "all-", "all -1", "1"]
)
def test_freeze_depths_that_are_not_understood_are_refused(text: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_freeze(text)
    message = str(refused.value)
    assert "\n" not in message
    assert "--freeze" in message
    assert f"'{text.strip(' ,')}'" in message


def test_only_the_depths_that_are_not_understood_are_named() -> None:
    with pytest.raises(RequestError, match="'half, all-0'"):
        parse_freeze("all,half,all-1,all-0")


def test_known_columns_of_a_row() -> None:
    (cell,) = planned_cells(FROZEN)
    known = empty_row(FROZEN, cell).to_columns()
    assert known["cell_id"] == cell.cell_id
    assert (known["backbone"], known["family"]) == ("MobileNetV2", "mobilenet")
    assert (known["weights"], known["weights_source"]) == ("imagenet", "keras cache")
    assert (known["freeze"], known["freeze_depth"], known["stages"], known["frozen_params_pct"]) == ("all", 5, 5, 100.0)
    (cell,) = planned_cells(SCRATCH)
    known = empty_row(SCRATCH, cell).to_columns()
    assert (known["backbone"], known["weights"], known["freeze"]) == ("scratch", "none", "none")
    assert known["weights_source"] == "random initialisation"
    assert (known["freeze_depth"], known["stages"], known["frozen_params_pct"]) == (0, 1, 0.0)
