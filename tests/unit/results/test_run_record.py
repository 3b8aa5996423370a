"""run.json as typed data: what is written comes back, older folders are read, and what is no record is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from support.listings import listing

from backbench.core.cells import CellKey
from backbench.core.dataset import Dataset
from backbench.core.events import Phase
from backbench.core.request import Request
from backbench.data.quality import health_of
from backbench.results import run_record
from backbench.results.run_record import ForecastRecord, JobRecord, RunRecord, parse


@pytest.fixture
def dataset() -> Dataset:
    """Three images, of which val and test have a byte-identical one."""
    items = listing(b"a", b"b", b"b")
    split = np.array(["train", "val", "test"])
    return Dataset(
        name="fruit", source="fruit", class_names=items.class_names, ids=items.ids, labels=items.labels, split=split,
        rows=np.arange(3), fingerprint="f", health=health_of(replace(items, published=split)),
        copies={"exact": (items.ids[2],), "near": ()},
    )  # fmt: skip


def recorded(dataset: Dataset, earlier: RunRecord | None = None) -> RunRecord:
    request = Request(dataset="fruit", limit=3)
    return run_record.record(request, dataset, jobs=(), resolved={"engine": "keras"}, earlier=earlier or RunRecord())


def test_what_is_written_comes_back(dataset: Dataset) -> None:
    record = recorded(dataset)
    content = json.loads(json.dumps(record.content()))
    assert parse(content) == record
    assert content["dataset"]["health"] == json.loads(json.dumps(dataset.health)), "with the same keys"
    assert content["request"]["limit"] == 3
    assert not {"finished", "jobs", "decode_seconds", "forecast", "other"} & set(content), "the sweep has not ended"
    assert record.dataset.health.near_duplicates is UNSET, "nobody looked for them"
    assert record.dataset.health.straddling["val/test"].images == 1


def test_an_older_record_lacks_keys() -> None:
    old = parse({"command": "backbench sweep", "dataset": {"name": "x"}, "jobs": [{"label": "VGG16", "seconds": {}}]})
    assert (old.images, old.planned, old.dataset.health.images, old.protocol) == (True, (), 0, {})
    assert old.jobs == (JobRecord("VGG16"),)


def test_keys_of_another_version_stay_until_the_sweep_has_ended(dataset: Dataset) -> None:
    earlier = parse({"command": "a", "finished": "then", "planned": [], "of the future": {"a": [1]}})
    going_on = recorded(dataset, earlier).going_on(earlier)
    assert going_on.content()["of the future"] == {"a": [1]}
    assert (going_on.finished, going_on.jobs) == ("then", UNSET)
    assert going_on.command.splitlines()[0] == "a"


def test_phases_are_their_names_in_the_file() -> None:
    seconds = {Phase.FROZEN_PASS: 2.0, Phase.STARTING: 1.0}
    record = RunRecord(jobs=(JobRecord("VGG16", {str(phase): spent for phase, spent in seconds.items()}),))
    assert record.content()["jobs"] == (
        {"label": "VGG16", "seconds": {"frozen pass": 2.0, "starting": 1.0}, "environment": {}},
    )


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([], "not a mapping"),
        ({"command": None}, "$.command"),
        ({"images": "yes"}, "$.images"),
        ({"dataset": []}, "$.dataset"),
        ({"dataset": {"counts": {"val": "many"}}}, "$.dataset.counts"),
        ({"dataset": {"health": {"unreadable": [{"id": "x"}]}}}, "$.dataset.health.unreadable"),
        ({"planned": [{"backbone": "VGG16"}]}, "$.planned[0]"),
        ({"jobs": [{"seconds": {"probe": "long"}}]}, "$.jobs[0].seconds"),
        ({"forecast": {"jobs": 1}}, "$.forecast"),
        ({"other": 1, "protocol": {"version": {}}}, "$.protocol"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(content: Any, place: str) -> None:
    with pytest.raises(ValueError, match=re.escape(place)) as refused:
        parse(content)
    assert "\n" not in str(refused.value)


def test_the_forecast_is_kept() -> None:
    error = ForecastRecord(jobs=2, said=1.0, taken=2.0, median_factor=2.0)
    assert parse(RunRecord(forecast=error).content()).forecast == error


def test_a_key_names_a_cell_and_its_network() -> None:
    random, scratch = CellKey("VGG16", "none", 96, "all-1", 2), CellKey("scratch", "none", 96, "none", 0)
    assert (random.network, random.label()) == ("VGG16 (random weights)", "VGG16 (random weights) @ all-1")
    assert (scratch.network, scratch.series) == ("scratch", ("scratch", "none", 96))
    assert (
        CellKey.of({"weights": "none", "backbone": "VGG16", "image_size": 96, "freeze": "all-1", "seed": 2}) == random
    )
