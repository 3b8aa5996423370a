"""The results folder: what is written comes back, what fails is not there, what is not ours stays."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.stored_cells import cell, finished, with_model

from backbench.core.columns import COLUMNS
from backbench.core.errors import DamagedError, RequestError
from backbench.core.events import CellFinished
from backbench.core.files import sealed
from backbench.results import integrity, store
from backbench.results.run_record import DatasetRecord, RunRecord, parse

FRACTIONS = [
    "frozen_params_pct", "train_acc", "val_acc", "test_acc", "gap", "val_nll", "selection_score", "test_acc_lo",
    "test_acc_hi", "test_top5", "test_macro_f1", "test_nll", "test_ece", "latency_ms", "throughput_ips",
    "peak_mem_mb", "fit_seconds", "wall_seconds", "imagenet_top1", "ridge_loo_acc", "knn_loo_acc", "logme", "h_score",
    "temperature",
]  # fmt: skip
WHOLE = [
    "image_size", "freeze_depth", "stages", "seed", "params", "trainable_params", "flops",
]  # fmt: skip
ORDER = [
    "dataset", "backbone", "family", "weights", "weights_source", "image_size", "freeze", "freeze_depth",
    "stages", "frozen_params_pct", "seed", "status", "reason", "train_acc", "val_acc", "test_acc", "gap",
    "val_nll", "selection_score", "test_acc_lo", "test_acc_hi", "test_top5", "test_macro_f1", "test_nll",
    "test_ece", "params", "trainable_params", "flops", "latency_ms", "throughput_ips", "peak_mem_mb",
    "fit_seconds", "wall_seconds", "engine", "precision", "backend", "device", "cell_id",
    "imagenet_top1", "ridge_loo_acc", "knn_loo_acc", "logme", "h_score", "temperature",
]  # fmt: skip


def digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_cell_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = cell(weights_source="Schlüssel")
    store.write_cell(tmp_path, finished(written))
    assert store.read_cells(tmp_path) == [written]
    assert set(digests(tmp_path)) == {"cells/c1.json", "heads/c1.npz", "predictions/c1.npz"}


def test_predictions_come_back_bit_for_bit_and_their_digest_stands_in_the_cell(tmp_path: Path) -> None:
    stored = finished(cell())
    store.write_cell(tmp_path, stored)
    found = store.read_predictions(tmp_path, "c1")
    assert found.keys() == stored.predictions.keys()
    for name, values in stored.predictions.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    record = json.loads((tmp_path / "cells/c1.json").read_text())
    files = digests(tmp_path)
    assert record["files"] == {name: files[name] for name in ("predictions/c1.npz", "heads/c1.npz")}
    with np.load(tmp_path / "heads/c1.npz") as head:
        np.testing.assert_array_equal(head["weights"], np.eye(2))
    with pytest.raises(FileNotFoundError):
        store.read_predictions(tmp_path, "c2")


def test_the_table_has_the_columns_in_their_fixed_order_and_types(tmp_path: Path) -> None:
    frame = store.table([cell(), cell("c2", "failed", "it broke", backbone="Xception")])
    assert list(frame.columns) == ORDER
    types = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert {name for name, dtype in types.items() if dtype == "Float64"} == set(FRACTIONS)
    assert {name for name, dtype in types.items() if dtype == "Int64"} == set(WHOLE)
    assert {types[name] for name in ORDER if name not in FRACTIONS + WHOLE} == {"string"}
    first, second = (frame.iloc[index] for index in (0, 1))
    assert (first["cell_id"], first["status"], first["test_acc"], first["gap"]) == ("c1", "ok", 0.75, 0.125)
    assert first["flops"] == 30_713_000_000_000
    assert first["test_top5"] is pd.NA
    assert (second["status"], second["reason"], second["backbone"]) == ("failed", "it broke", "Xception")
    assert second["test_acc"] is pd.NA
    assert second["params"] is pd.NA


def test_an_empty_table_has_all_columns() -> None:
    frame = store.table([])
    assert len(frame) == 0
    assert list(frame.columns) == ORDER
    assert str(frame.dtypes["test_acc"]) == "Float64"


def test_the_table_is_the_same_in_both_files(tmp_path: Path) -> None:
    frame = store.table([cell(), cell("c2", "skipped", 'no, "weights"\nhere', backbone="Xception")])
    store.write_table(tmp_path, frame)
    pd.testing.assert_frame_equal(store.read_table(tmp_path), frame)
    text = pd.read_csv(tmp_path / "table.csv", dtype={name: str(dtype) for name, dtype in frame.dtypes.items()})
    text["reason"] = text["reason"].fillna("")
    pd.testing.assert_frame_equal(text, frame)


def test_columns_that_an_older_table_lacks_are_empty(tmp_path: Path) -> None:
    frame = store.table([cell(logme=0.5)])
    store.write_table(tmp_path, frame.drop(columns=["logme", "h_score"]))
    found = store.read_table(tmp_path)
    assert list(found.columns) == ORDER
    assert found["logme"].isna().all()
    pd.testing.assert_frame_equal(found.drop(columns="logme"), frame.drop(columns="logme"))


def test_a_later_cell_takes_the_place_of_one_that_was_not_ok(tmp_path: Path) -> None:
    store.write_cell(tmp_path, CellFinished(cell("early", "skipped", "no weights")))
    store.write_cell(tmp_path, CellFinished(cell("other", "failed", "out of memory", seed=1)))
    store.write_cell(tmp_path, finished(cell("late")))
    assert [(found.cell_id, found.status) for found in store.read_cells(tmp_path)] == [
        ("late", "ok"),
        ("other", "failed"),
    ]


@pytest.mark.parametrize(
    "place", [{"backbone": "Xception"}, {"weights": "none"}, {"image_size": 97}, {"freeze": "all-1"}, {"seed": 1}]
)
def test_cells_of_another_place_are_kept(tmp_path: Path, place: dict[str, Any]) -> None:
    store.write_cell(tmp_path, CellFinished(cell("early", "failed", "it broke", **place)))
    store.write_cell(tmp_path, finished(cell("late")))
    assert [found.cell_id for found in store.read_cells(tmp_path)] == ["early", "late"]


def test_an_ok_cell_takes_the_place_of_an_earlier_ok_one_with_all_of_its_files(tmp_path: Path) -> None:
    store.write_cell(tmp_path, finished(cell("first")))
    store.write_cell(tmp_path, finished(cell("second")))  # the same place with, say, another recipe
    assert set(digests(tmp_path)) == {"cells/second.json", "heads/second.npz", "predictions/second.npz"}


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_cell_that_is_not_ok_never_takes_the_place_of_one_that_is(tmp_path: Path, status: str) -> None:
    store.write_cell(tmp_path, finished(cell("first")))
    before = digests(tmp_path)
    store.write_cell(tmp_path, CellFinished(cell("second", status, "it broke")))
    after = digests(tmp_path)
    assert {name: after.get(name) for name in before} == before


def test_trained_weights_are_moved_to_their_cell_and_their_digest_stands_in_it(tmp_path: Path) -> None:
    store.write_cell(tmp_path, with_model(tmp_path, cell()))
    assert set(digests(tmp_path)) == {"cells/c1.json", "heads/c1.npz", "models/c1.npz", "predictions/c1.npz"}
    record = json.loads((tmp_path / "cells/c1.json").read_text())
    assert record["files"]["models/c1.npz"] == hashlib.sha256(b"weights").hexdigest()
    assert store.models(tmp_path) == {"c1"}
    assert store.file_of(tmp_path, "c1", "models") == tmp_path / "models/c1.npz"


def test_a_cell_that_takes_the_place_of_another_takes_its_weights_away(tmp_path: Path) -> None:
    store.write_cell(tmp_path, with_model(tmp_path, cell("first")))
    store.write_cell(tmp_path, finished(cell("second")))
    assert store.models(tmp_path) == set()
    assert store.file_of(tmp_path, "second", "models") is None


def test_only_the_wanted_weights_are_kept(tmp_path: Path) -> None:
    for number in range(3):
        store.write_cell(tmp_path, with_model(tmp_path, cell(f"c{number}", seed=number)))
    before = digests(tmp_path)
    with_model(tmp_path, cell("c9"))  # a draft of a job that is still running
    store.keep_models(tmp_path, {"c1", "unknown"})
    gone = {"models/c0.npz", "models/c2.npz"}
    assert digests(tmp_path).keys() == before.keys() - gone | {"models/.c9.npz"}
    assert store.models(tmp_path) == {"c1"}
    store.forget_drafts(tmp_path)
    assert digests(tmp_path).keys() == before.keys() - gone
    store.keep_models(tmp_path, ())
    store.forget_drafts(tmp_path)
    assert not (tmp_path / "models").exists(), "an empty folder would say nothing"
    store.forget_drafts(tmp_path)


def test_weights_that_are_not_those_of_the_cell_are_refused(tmp_path: Path) -> None:
    store.write_cell(tmp_path, with_model(tmp_path, cell()))
    (tmp_path / "models/c1.npz").write_bytes(b"other")
    with pytest.raises(RequestError, match=r"models/c1\.npz is damaged"):
        store.file_of(tmp_path, "c1", "models")
    assert store.file_of(tmp_path, "c1", "heads") == tmp_path / "heads/c1.npz"


def test_one_cell_can_be_read_alone(tmp_path: Path) -> None:
    store.write_cell(tmp_path, finished(cell()))
    assert store.read_cell(tmp_path, "c1") == cell()
    with pytest.raises(RequestError, match=r"cells/c2\.json is missing"):
        store.read_cell(tmp_path, "c2")


def test_the_earlier_cell_is_there_until_the_later_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    store.write_cell(tmp_path, finished(cell("first")))
    before = digests(tmp_path)
    monkeypatch.setattr(store, "write_json", refuse)
    with pytest.raises(OSError, match="No space"):
        store.write_cell(tmp_path, finished(cell("second")))
    after = digests(tmp_path)
    assert {name: after.get(name) for name in before} == before


def test_a_file_that_was_being_written_when_its_process_was_killed_is_no_cell(tmp_path: Path) -> None:
    store.write_cell(tmp_path, finished(cell()))
    (tmp_path / "cells/.c2.json.abc.json").write_text('{"cell_id": ')
    assert [found.cell_id for found in store.read_cells(tmp_path)] == ["c1"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"text"', '{"cell_id": "c1"}', json.dumps({"cell_id": "c1", "status": "ok", "row": {}})],
)
def test_a_damaged_cell_is_refused_by_name(tmp_path: Path, content: str) -> None:
    store.write_cell(tmp_path, finished(cell()))
    (tmp_path / "cells/c0.json").write_text(content)
    with pytest.raises(RequestError) as refused:
        store.read_cells(tmp_path)
    message = str(refused.value)
    assert str(tmp_path / "cells/c0.json") in message
    assert "damaged" in message
    assert "\n" not in message


def test_a_cell_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/c0.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(RequestError, match=r"c0\.json is damaged"):
        store.read_cells(tmp_path)


def test_clear_removes_what_sweeps_write_and_nothing_else(tmp_path: Path) -> None:
    store.write_run(tmp_path, parse({"command": "backbench sweep"}))
    store.write_cell(tmp_path, finished(cell()))
    store.write_table(tmp_path, store.table([cell()]))
    store.write_cell(tmp_path, with_model(tmp_path, cell()))
    with_model(tmp_path, cell("c2"))
    theirs = {"notes.txt", "photos/a.jpg", "plots/my own.pdf", "logs/diary.txt", "cells/c1.json.bak"}
    for name in ("leaderboard.html", "plots/a.png", "plots/a.svg", "logs/000-VGG16.log", *theirs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    store.clear(tmp_path)
    assert set(digests(tmp_path)) == theirs
    assert not (tmp_path / "predictions").exists(), "folders that are empty now are gone"
    store.clear(tmp_path)  # nothing to do is no error
    store.clear(tmp_path / "absent")


def test_clear_leaves_a_folder_alone_that_no_sweep_wrote(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/holiday.png").write_text("x")
    (tmp_path / "table.csv").write_text("x")
    store.clear(tmp_path)
    assert set(digests(tmp_path)) == {"plots/holiday.png", "table.csv"}


def test_nothing_is_half_written_when_the_last_move_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    store.write_cell(tmp_path, finished(cell("before")))
    store.write_table(tmp_path, store.table([cell("before")]))
    store.write_run(tmp_path, parse({"command": "before"}))
    before = digests(tmp_path)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        store.write_cell(tmp_path, finished(cell("after", seed=1)))
    with pytest.raises(OSError, match="No space"):
        store.write_table(tmp_path, store.table([cell("after")]))
    with pytest.raises(OSError, match="No space"):
        store.write_run(tmp_path, parse({"command": "after"}))
    assert digests(tmp_path) == before


def test_a_cell_does_not_count_before_its_predictions_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    store.write_cell(tmp_path, CellFinished(cell("early", "failed", "it broke")))
    monkeypatch.setattr(np, "savez_compressed", refuse)
    with pytest.raises(OSError, match="No space"):
        store.write_cell(tmp_path, finished(cell("late")))
    assert [found.cell_id for found in store.read_cells(tmp_path)] == ["early"]
    assert set(digests(tmp_path)) == {"cells/early.json"}, "no temporary file is left"


def test_an_interrupted_write_keeps_the_earlier_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_cell(tmp_path, finished(cell()))
    before = digests(tmp_path)

    def interrupt(self: Path, *_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write_cell(tmp_path, CellFinished(cell(), {}, {}))
    assert digests(tmp_path) == before


def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.write_cell(tmp_path, CellFinished(cell(test_nll=float("nan"))))
    assert digests(tmp_path) == {}


def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with store.locked(tmp_path / "out"):
        with pytest.raises(RequestError) as refused, store.locked(tmp_path / "out"):
            raise AssertionError("two at a time")
        assert str(tmp_path / "out") in str(refused.value)
    with store.locked(tmp_path / "out"):
        pass


def test_the_record_of_a_run_comes_back_with_its_schema(tmp_path: Path) -> None:
    store.write_run(tmp_path, parse({"command": "backbench sweep", "dataset": {"name": "Äpfel"}, "of the future": [1]}))
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (written["schema"], written["dataset"]["name"]) == (store.RUN_SCHEMA, "Äpfel")
    assert store.read_run(tmp_path) == RunRecord(
        command="backbench sweep", dataset=DatasetRecord(name="Äpfel"), other={"of the future": [1]}
    )


@pytest.mark.parametrize(("content", "word"), [(None, "no results"), ("{", "cannot be read"), ("[]", "not the record")])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, content: str | None, word: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RequestError, match=word) as refused:
        store.read_run(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_a_flipped_bit_in_any_byte_of_the_record_of_a_run_is_noticed(tmp_path: Path) -> None:
    """Spaces and line ends aside, which mean nothing in JSON."""
    store.write_run(tmp_path, parse({"command": "backbench sweep", "dataset": {"name": "digits"}}))
    path = tmp_path / "run.json"
    good, expected, unnoticed = path.read_bytes(), store.read_run(tmp_path), []
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with suppress(DamagedError):
            assert store.read_run(tmp_path) == expected
            unnoticed.append(good[place : place + 1])
    assert set(unnoticed) <= {b" ", b"\n"}


def test_the_record_of_a_run_from_before_it_had_a_digest_is_read(tmp_path: Path) -> None:
    old = {"schema": 2, "command": "backbench sweep", "dataset": {"name": "digits"}}
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert store.read_run(tmp_path) == parse(old)
    store.write_run(tmp_path, parse({**old, "command": "another"}))
    assert store.read_run(tmp_path).command == "another"
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == store.RUN_SCHEMA


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no table yet"):
        store.read_table(tmp_path)


def test_a_row_has_the_columns_of_its_key_and_no_other_types(tmp_path: Path) -> None:
    required = [column.name for column in COLUMNS if column.required]
    assert required == ["backbone", "weights", "image_size", "freeze", "seed"]
    store.write_cell(tmp_path, finished(cell()))
    path = tmp_path / "cells" / "c1.json"
    content = json.loads(path.read_text())
    without_seed = {name: value for name, value in content["row"].items() if name != "seed"}
    for row in (without_seed, content["row"] | {"gap": "1"}):
        path.write_text(json.dumps(sealed(content | {"row": row})))
        with pytest.raises(RequestError, match=r"c1\.json is damaged \(.*\$\.row"):
            store.read_cells(tmp_path)


def test_rewriting_a_cell_replaces_it(tmp_path: Path) -> None:
    store.write_cell(tmp_path, finished(cell()))
    changed = replace(cell(), reason="measured again")
    store.write_cell(tmp_path, finished(changed))
    assert store.read_cells(tmp_path) == [changed]


@pytest.mark.parametrize(
    "files",
    [
        {"../victim.txt": "0" * 64},
        {"/etc/passwd": "0" * 64},
        {"predictions/c2.npz": "0" * 64},
        {"predictions/c1.npz": "no digest"},
        {"logs/c1.npz": "0" * 64},
        5,
        ["predictions/c1.npz"],
    ],
)
def test_a_record_names_no_files_but_its_own(tmp_path: Path, files: object) -> None:
    directory = tmp_path / "results"
    victim = tmp_path / "victim.txt"
    victim.write_text("of somebody else")
    store.write_run(directory, parse({"dataset": {}}))
    store.write_cell(directory, finished(cell()))
    record = directory / "cells" / "c1.json"
    record.write_text(json.dumps(sealed(json.loads(record.read_text()) | {"files": files})))
    with pytest.raises(RequestError, match="is damaged"):
        store.read_cells(directory)
    integrity.put_right(directory, say=lambda _: None)
    assert victim.read_text() == "of somebody else"
    assert (directory / "cells" / "c1.json.damaged").exists()
    assert store.read_cells(directory) == []
