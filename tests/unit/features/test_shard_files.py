"""A frozen pass in shards: whoever joins them has what one process would have computed, to the bit."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from backbench.backbones.registry import BY_NAME
from backbench.core.backbone import Weights
from backbench.core.cells import planned_cells
from backbench.core.events import CellFinished, Event, Passed, Summary
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.evaluation import inference_cost, shared_pass
from backbench.evaluation import job as jobs
from backbench.features import frozen_model, frozen_pass, shard_files
from backbench.features.engines.base import EngineReport
from backbench.sweep import plan

MOBILE = "MobileNet:alpha=0.25"
FILE = "mobilenet_2_5_224_tf_no_top.h5"


@pytest.fixture
def job(shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """40 digits a split at 32 pixels, the genuine weights, one epoch."""
    monkeypatch.setattr(inference_cost, "speed", lambda *_, **__: inference_cost.Speed(1.0, 100.0))
    monkeypatch.setattr(inference_cost, "peak_memory", lambda *_, **__: 250.0)
    request = Request(backbones=MOBILE, limit=40, image_size=32, epochs=1, freeze="all,all-1,all-2")
    listing = plan.listing_for(request, progress=lambda *_: None)
    dataset, _ = plan.dataset_for(request, listing, cache=tmp_path / "cache", progress=lambda *_: None)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (found,) = plan.jobs_for(request, dataset, resolved=resolved, cache=tmp_path / "cache")
    path = shared_weights / FILE
    weights = Weights(path, "h5", hashlib.sha256(path.read_bytes()).hexdigest(), "keras cache")
    found = plan.with_pixels(replace(found, weights=weights), listing, progress=lambda *_: None)
    return replace(found, drafts=tmp_path / "drafts")


def run(job: Job) -> list[Event]:
    said: list[Event] = []
    jobs.run(job, said.append)
    return said


def shards_of(job: Job, *cuts: tuple[int, int]) -> tuple[Mapping[int, Path], ...]:
    said = [run(replace(job, shard=cut)) for cut in cuts]
    for events in said:
        assert [type(event) for event in events if isinstance(event, Passed | CellFinished | Summary)] == [
            Passed,
            Summary,
        ]
    return tuple(event.paths for events in said for event in events if isinstance(event, Passed))


def found_by(job: Job) -> dict[str, dict[str, Any]]:
    """Predictions by freeze depth."""
    return {e.cell.row["freeze"]: dict(e.predictions) for e in run(job) if isinstance(e, CellFinished)}


def test_cells_from_shards_are_those_of_one_pass(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, stages = len(job.dataset.rows), len(BY_NAME[MOBILE].stages)
    assert rows == 120
    alone = found_by(job)
    assert set(alone) == {"all", "all-1", "all-2"}
    elsewhere = replace(job, cache=tmp_path / "elsewhere")
    elsewhere.cache.mkdir()
    files = shards_of(elsewhere, (0, 32), (32, 96), (96, rows))
    assert not (elsewhere.cache / "features").exists(), "a shard is no whole pass"
    assert [set(paths) for paths in files] == [{stages, stages - 1, stages - 2}] * 3

    def computed(*_: Any, **__: Any) -> Any:
        raise AssertionError("the frozen part ran again")

    monkeypatch.setattr(frozen_pass.FrozenModel, "settle", computed)
    (last,) = [cell.cell_id for cell in planned_cells(job) if cell.freeze == "all-1"]
    few = tuple(
        {depth: Path(shutil.copy(path, f"{path}.copy")) for depth, path in paths.items() if depth != stages - 2}
        for paths in files
    )
    one = found_by(replace(elsewhere, shards=few, wanted=(last,)))
    assert set(one) == {"all-1"}, "a job reads only what its cells need"
    np.testing.assert_array_equal(one["all-1"]["test_probs"], alone["all-1"]["test_probs"])
    assert not any(path.exists() for paths in few for path in paths.values()), "what was read is let go"
    joined = found_by(replace(elsewhere, shards=files))
    for freeze, predictions in alone.items():
        for name, values in predictions.items():
            np.testing.assert_array_equal(joined[freeze][name], values, err_msg=f"{freeze} {name}")


def test_a_job_makes_a_pass_of_its_own_where_shards_do_not_fit(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shards_of(job, (0, 64), (64, len(job.dataset.rows)))
    ran: list[int] = []
    settle = frozen_pass.FrozenModel.settle
    monkeypatch.setattr(frozen_pass.FrozenModel, "settle", lambda *args: (ran.append(1), settle(*args))[1])
    (frozen, *_) = planned_cells(job)
    said = run(replace(job, shards=(second, first), wanted=(frozen.cell_id,)))
    assert ran
    assert [event.cell.status for event in said if isinstance(event, CellFinished)] == ["ok"]


def test_a_shard_has_nowhere_to_go_without_a_folder(job: Job) -> None:
    with pytest.raises(ValueError, match="needs a folder"):
        run(replace(job, shard=(0, 32), drafts=None))


KEY = {"network": "a", "engine": "keras"}
SHAPES: dict[int, list[tuple[int, ...]]] = {5: [(6,)], 4: [(2,), (1, 3)], 2: [(4,)]}
RNG = np.random.default_rng(0)
TENSORS = [RNG.normal(size=(10, *shape)).astype("f4" if n == 5 else "f2") for n in SHAPES for shape in SHAPES[n]]
RAN = EngineReport("keras", "float32", {"noise": 0.25})


def made(folder: Path, first: int, last: int, scale: float = 0.5, **changed: Any) -> dict[int, Path]:
    """The rows from first to last, in a file for each depth."""
    folder.mkdir(parents=True)
    paths = {depth: folder / f"{depth}.h5" for depth in SHAPES}
    with shard_files.writing(paths, rows=last - first, shapes=SHAPES) as shelves:
        for start in range(first, last, 3):
            rows = slice(start, min(last, start + 3))
            shelves[5][rows.start - first : rows.stop - first] = TENSORS[0][rows]
            shelves[4].write(start - first, [tensor[rows] for tensor in TENSORS[1:3]], (1.0, scale))
            shelves[2].write(start - first, [TENSORS[3][rows]], (2.0,))
        shard_files.sign(shelves, **{"key": KEY, "first": first, "ran": RAN, "seconds": 3.0, **changed})
    return paths


def test_shards_together_are_the_pass(tmp_path: Path) -> None:
    files = made(tmp_path / "a", 0, 4), made(tmp_path / "b", 4, 10, seconds=4.5)
    found = shard_files.together(files, key=dict(reversed(KEY.items())), rows=10, shapes=dict(reversed(SHAPES.items())))
    assert found is not None
    assert (found.scales, found.ran, found.seconds) == ((1, 0.5, 2), RAN, 7.5)
    parts = list(found.read(3))
    assert [len(part[0]) for part in parts] == [3, 1, 3, 3]
    for read, given in zip(zip(*parts, strict=True), TENSORS, strict=True):
        np.testing.assert_array_equal(np.concatenate(read), given)
        assert read[0].dtype == given.dtype
    some = shard_files.together(files, key=KEY, rows=10, shapes={5: SHAPES[5], 2: SHAPES[2]})
    assert some is not None
    assert some.scales == (2,)
    np.testing.assert_array_equal(next(some.read(10))[1], TENSORS[3][:4])


def test_what_is_not_this_pass_is_not_taken_for_it(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", 0, 4), made(tmp_path / "b", 4, 10)
    asked: dict[str, Any] = {"key": KEY, "rows": 10, "shapes": SHAPES}
    assert shard_files.together((first, second), **asked)
    assert not shard_files.together((), **asked)
    assert not shard_files.together((second, first), **asked)
    assert not shard_files.together((first,), **asked)
    assert not shard_files.together((first, made(tmp_path / "gap", 5, 10)), **asked)
    assert not shard_files.together((first, first, second), **asked)
    assert not shard_files.together((first, second), **asked | {"rows": 11})
    assert not shard_files.together((first, second), **asked | {"key": {**KEY, "engine": "openvino"}})
    assert not shard_files.together((first, second), **asked | {"shapes": {**SHAPES, 3: [(4,)]}})
    assert not shard_files.together((first, second), **asked | {"shapes": {**SHAPES, 2: [(5,)]}})
    assert not shard_files.together((first, {**second, 2: made(tmp_path / "longer", 4, 9)[2]}), **asked)
    others: dict[str, Any] = {"scale": 4.0, "ran": EngineReport("keras", "bfloat16"), "key": {"network": "b"}}
    for name, value in others.items():
        assert not shard_files.together((first, made(tmp_path / name, 4, 10, **{name: value})), **asked), name
    with h5py.File(second[2], "r+") as file:
        del file.attrs["note"]  # its process ended in the middle
    assert not shard_files.together((first, second), **asked)
    whole = first[4].read_bytes()
    first[4].write_bytes(whole[: len(whole) // 2])
    assert not shard_files.together((first,), **asked | {"rows": 4})
    first[4].unlink()
    assert not shard_files.together((first,), **asked | {"rows": 4})


def test_a_shard_has_only_the_depths_that_are_wanted(job: Job) -> None:
    (last,) = [cell.cell_id for cell in planned_cells(job) if cell.freeze == "all-2"]
    (files,) = shards_of(replace(job, wanted=(last,)), (0, 32))
    assert set(files) == {len(BY_NAME[MOBILE].stages), len(BY_NAME[MOBILE].stages) - 2}


def test_copies_on_the_disk_leave_room_for_what_is_made_of_them(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    files = shards_of(job, (0, len(job.dataset.rows)))
    copies = sum(path.stat().st_size for path in files[0].values())
    kept = [path.stat().st_size for depth, path in files[0].items() if depth != len(BY_NAME[MOBILE].stages)]
    asked: list[int] = []
    room_for = frozen_model.room_for

    def free(*_: Any) -> Any:
        return type("Usage", (), {"free": int(1.3 * sum(kept)) - copies})

    def told(*args: Any, **options: Any) -> Any:
        found = room_for(*args, **options)
        asked.append(len(found))
        return found

    monkeypatch.setattr(shared_pass.shutil, "disk_usage", free)
    monkeypatch.setattr(shared_pass, "room_for", told)
    run(replace(job, shards=files, wanted=(planned_cells(job)[0].cell_id,)))
    run(replace(job, wanted=(planned_cells(job)[0].cell_id,)))
    assert asked == [2, 0], "with the copies, and without"
