"""What run.json says of the protocol: it must be what was done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backbench.core import recipe
from backbench.core.dataset import Dataset
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.results import run_record
from backbench.results.run_record import RunRecord


def recorded(
    *,
    flips: bool = True,
    earlier: RunRecord | None = None,
    resolved: dict[str, str] | None = None,
    jobs: Sequence[Job] = (),
    **options: Any,
) -> RunRecord:
    dataset = Dataset(
        name="fruit", source="fruit", class_names=("a",), ids=("x",), labels=np.zeros(1, dtype=np.int64),
        split=np.array(["train"]), rows=np.zeros(1, dtype=np.int64), fingerprint="f", health={}, flips=flips,
        copies={"exact": ("x",), "near": ()},
    )  # fmt: skip
    return run_record.record(
        Request(dataset="fruit", **options), dataset, jobs=jobs, resolved=resolved or {}, earlier=earlier or RunRecord()
    )


def protocol(**options: Any) -> dict[str, int | str]:
    return recorded(**options).protocol


def test_the_trained_cells_say_how_they_were_trained() -> None:
    said = protocol(epochs=7, batch_size=16)
    for cell in ("fine-tuned cell", "scratch cell"):
        assert "AdamW" in said[cell]
        assert "7 epochs in batches of 16, always to the end" in said[cell]
    assert "batch norm and dropout stay in inference mode" in said["fine-tuned cell"]
    assert "starting at a solution of the probe" in said["fine-tuned cell"]
    assert (
        "0.001, 0.0003 where its accuracy on val ends more than a standard error below the linear probe's, then 0.0001;"
        in said["fine-tuned cell"]
    )
    assert "The learning rate is 0.001." in said["scratch cell"]


def test_defaults_are_named() -> None:
    assert " 10 epochs in batches of 32" in protocol()["fine-tuned cell"]
    assert " 25 epochs in batches of 32" in protocol()["scratch cell"]
    assert not any("None" in str(text) for text in protocol().values())


def test_the_path_of_the_probe_ends_where_it_is_said_to_end() -> None:
    assert "up to twelve strengths, 3.162 to 1e-05" in protocol()["frozen cell"]
    assert "until the best on val lies two behind" in protocol()["frozen cell"]


CONSTANTS = sorted(name for name in vars(recipe) if name.isupper())


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_of_the_recipe_that_changes_changes_the_protocol(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = getattr(recipe, name)
    before = protocol(augment="light")
    if isinstance(value, tuple):
        for changed in (value[1:] or (2 * value[0],), (*value[:-1], 2 * value[-1])):
            monkeypatch.setattr(recipe, name, changed)
            assert protocol(augment="light") != before
    else:
        monkeypatch.setattr(recipe, name, value + 1)
        assert protocol(augment="light") != before


@pytest.mark.parametrize(
    ("options", "changed", "left_alone"),
    [
        ({"augment": "none"}, "not augmented", "mirrored"),
        ({}, "shifted by up to 10 % of the side and, 50 % of them, mirrored, anew in every batch", "fixed versions"),
        ({"augment": "light", "views": 3, "flips": False}, "there are 3 fixed versions of each", "mirrored"),
    ],
)
def test_augmentation_is_said_as_it_was_asked_for(options: dict[str, Any], changed: str, left_alone: str) -> None:
    said = protocol(**options)["augmentation"]
    assert changed in said
    assert left_alone not in said


def test_the_selection_score_is_no_accuracy() -> None:
    said = protocol()["selection score"]
    assert "geometric mean" in said
    assert "temperature" in said
    assert "ccuracy" not in said


@pytest.mark.parametrize(
    ("images", "earlier", "expected"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_private_images_stay_private_until_they_are_asked_for(
    images: bool | None, earlier: bool, expected: bool
) -> None:
    assert recorded(images=images, earlier=RunRecord(images=earlier)).images is expected


def test_the_command_says_whether_images_are_shown() -> None:
    asked = {choice: run_record.command_of(Request(images=choice, mirrors=False)) for choice in (None, True, False)}
    assert asked[None] == "backbench sweep --dataset digits --backbones starter,scratch --no-mirrors"
    assert asked[True] == asked[None] + " --images"
    assert asked[False] == asked[None] + " --no-images"


def test_the_command_names_what_auto_came_to() -> None:
    resolved = {"engine": "openvino", "precision": "bfloat16", "keep_models": "best"}
    first = recorded(resolved=resolved)
    expected = "backbench sweep --dataset fruit --backbones starter,scratch --engine openvino --precision bfloat16"
    assert first.command == expected
    assert (first.request["engine"], first.request["precision"]) == ("auto", "auto"), "what was typed stays"
    assert recorded(resolved=resolved, earlier=first).command == expected, "the same command is told once"


def test_the_copies_in_test_are_recorded() -> None:
    assert recorded().dataset.copies == {"exact": ("x",), "near": ()}


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, backbench.results.run_record;"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
