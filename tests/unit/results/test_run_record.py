"""What run.json says of the protocol: it must be what was done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backbench.core.dataset import Dataset
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.results import run_record


def recorded(
    *,
    flips: bool = True,
    earlier: dict[str, Any] | None = None,
    resolved: dict[str, str] | None = None,
    jobs: Sequence[Job] = (),
    **options: Any,
) -> dict[str, Any]:
    dataset = Dataset(
        name="fruit", source="fruit", class_names=("a",), ids=("x",), labels=np.zeros(1, dtype=np.int64),
        split=np.array(["train"]), rows=np.zeros(1, dtype=np.int64), fingerprint="f", health={}, flips=flips,
        copies={"exact": ("x",), "near": ()},
    )  # fmt: skip
    return run_record.record(
        Request(dataset="fruit", **options), dataset, jobs=jobs, resolved=resolved or {}, earlier=earlier or {}
    )


def protocol(**options: Any) -> dict[str, str]:
    return recorded(**options)["protocol"]


def test_the_trained_cells_say_how_they_were_trained() -> None:
    said = protocol(epochs=7, batch_size=16)
    for cell in ("fine-tuned cell", "scratch cell"):
        assert "AdamW" in said[cell]
        assert "warm-up and cosine, at most 7 epochs in batches of 16, early stopping" in said[cell]
    assert "batch norm and dropout stay in inference mode" in said["fine-tuned cell"]
    assert "starting at a solution of the probe" in said["fine-tuned cell"]
    assert "Several learning rates" in said["fine-tuned cell"]
    assert "one learning rate" in said["scratch cell"]


def test_defaults_are_not_called_none() -> None:
    assert "at most the default number of epochs in batches of 32" in protocol()["fine-tuned cell"]
    assert not any("None" in str(text) for text in protocol().values())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"augment": "none"}, "Training images are not augmented."),
        (
            {},
            "Training images are shifted and flipped anew in every batch where training starts at the pixels, and not "
            "augmented where stages are frozen.",
        ),
        (
            {"augment": "light", "views": 3, "flips": False},
            "Training images are shifted anew in every batch where training starts at the pixels; where stages are "
            "frozen, there are 3 fixed versions of each, itself among them: the probe is fitted on all, training draws "
            "one.",
        ),
    ],
)
def test_augmentation_is_said_as_it_was_asked_for(options: dict[str, object], expected: str) -> None:
    assert protocol(**options)["augmentation"] == expected


def test_the_selection_score_is_no_accuracy() -> None:
    said = protocol()["selection score"]
    assert "geometric mean" in said
    assert "temperature" in said
    assert "ccuracy" not in said


@pytest.mark.parametrize(
    ("images", "earlier", "expected"),
    [(None, {}, True), (None, {"images": False}, False), (True, {"images": False}, True), (False, {}, False)],
)
def test_private_images_stay_private_until_they_are_asked_for(
    images: bool | None, earlier: dict[str, bool], expected: bool
) -> None:
    assert recorded(images=images, earlier=earlier)["images"] is expected


def test_the_command_says_whether_images_are_shown() -> None:
    asked = {choice: run_record.command_of(Request(images=choice, mirrors=False)) for choice in (None, True, False)}
    assert asked[None] == "backbench sweep --dataset digits --backbones starter,scratch --no-mirrors"
    assert asked[True] == asked[None] + " --images"
    assert asked[False] == asked[None] + " --no-images"


def test_the_command_names_what_auto_came_to() -> None:
    resolved = {"engine": "openvino", "precision": "bfloat16", "keep_models": "best"}
    first = recorded(resolved=resolved)
    expected = "backbench sweep --dataset fruit --backbones starter,scratch --engine openvino --precision bfloat16"
    assert first["command"] == expected
    assert (first["request"]["engine"], first["request"]["precision"]) == ("auto", "auto"), "what was typed stays"
    assert recorded(resolved=resolved, earlier=first)["command"] == expected, "the same command is told once"


def test_the_copies_in_test_are_recorded() -> None:
    assert recorded()["dataset"]["copies"] == {"exact": ["x"], "near": []}


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, backbench.results.run_record;"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
