"""What is wrong with a results folder is found by name, and a sweep puts it right without using it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.stored_cells import cell, finished, with_model

from backbench.cli.main import main
from backbench.core.errors import RequestError
from backbench.results import integrity, store
from backbench.results.integrity import Finding
from backbench.results.run_record import RunRecord, parse


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two cells with all their files, the tables and a page."""
    store.write_run(tmp_path, parse({"command": "backbench sweep"}))
    store.write_cell(tmp_path, finished(cell("c1")))
    store.write_cell(tmp_path, with_model(tmp_path, cell("c2", backbone="Xception")))
    renew(tmp_path)
    return tmp_path


def renew(directory: Path) -> None:
    store.write_table(directory, store.table(store.read_cells(directory)))
    (directory / "leaderboard.html").write_text("the page")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def put_right(directory: Path) -> tuple[bool, list[str]]:
    said: list[str] = []
    return integrity.put_right(directory, say=said.append), said


def test_nothing_is_wrong_with_what_a_sweep_leaves(results: Path) -> None:
    assert integrity.look_at(results) == []
    assert put_right(results) == (False, [])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no results"):
        integrity.look_at(tmp_path)


def test_a_flipped_bit_in_any_byte_of_a_record_is_noticed(results: Path) -> None:
    """Spaces and line ends aside, which mean nothing in JSON."""
    record = results / "cells/c1.json"
    good = record.read_bytes()
    unnoticed = []
    for place, byte in enumerate(good):
        record.write_bytes(good[:place] + bytes([byte ^ (1 << place % 8)]) + good[place + 1 :])
        try:
            found = store.read_cell(results, "c1")
        except RequestError:
            continue
        unnoticed.append((chr(byte), found == cell("c1")))
    assert len(unnoticed) < len(good) / 4
    assert all(before in " \n" and same for before, same in unnoticed)


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -3])
def test_a_record_that_is_cut_off_is_set_aside_under_its_name(results: Path, cut: int) -> None:
    record = results / "cells/c1.json"
    record.write_bytes(record.read_bytes().rstrip()[:cut])
    assert integrity.look_at(results) == [Finding("cells/c1.json", "damaged: not what was written", "set aside")]
    assert put_right(results) == (
        True,
        ["cells/c1.json: damaged: not what was written; it was set aside as cells/c1.json.damaged"],
    )
    assert [found.cell_id for found in store.read_cells(results)] == ["c2"]
    assert (results / "cells/c1.json.damaged").exists()


@pytest.mark.parametrize("name", ["predictions/c1.npz", "heads/c1.npz"])
@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_damaged_predictions_and_heads_take_their_cell_with_them(results: Path, name: str, damage: str) -> None:
    path = results / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        flip(path, 40)
    assert [finding.what for finding in integrity.look_at(results)] == [name, "cells/c1.json"]
    changed, said = put_right(results)
    assert changed
    assert len(said) == 2
    assert store.read_cells(results) == [cell("c2", backbone="Xception")]
    assert (results / f"{name}.damaged").exists() == (damage != "gone")
    store.write_cell(results, finished(cell("c1")))
    renew(results)
    assert integrity.look_at(results) == []


def test_damaged_trained_weights_are_set_aside_and_their_cell_still_counts(results: Path) -> None:
    flip(results / "models/c2.npz", 3)
    assert [finding.what for finding in integrity.look_at(results)] == ["models/c2.npz"]
    put_right(results)
    assert len(store.read_cells(results)) == 2
    assert store.models(results) == set()
    assert (results / "models/c2.npz.damaged").exists()


def test_trained_weights_that_were_thinned_out_are_not_missed(results: Path) -> None:
    store.keep_models(results, ())
    assert integrity.look_at(results) == []


def test_of_two_cells_for_one_place_the_finished_one_counts_then_the_latest(results: Path) -> None:
    """A sweep was killed after it had written a cell, and before it could forget the earlier one."""
    for name, status, seconds in (("old", "ok", 1), ("new", "ok", 2), ("late", "failed", 3)):
        one = finished(cell(name, status=status, backbone="VGG19"))
        alone = results / name
        store.write_cell(alone, one if status == "ok" else replace(one, predictions={}, head={}))
        shutil.copytree(alone, results, dirs_exist_ok=True)
        shutil.rmtree(alone)
        os.utime(results / f"cells/{name}.json", (seconds, seconds))
    assert {(finding.what, finding.wrong) for finding in integrity.look_at(results)} == {
        ("cells/old.json", "replaced by new"),
        ("cells/late.json", "replaced by old"),
    }
    assert put_right(results) == (True, [])
    assert [found.cell_id for found in store.read_cells(results)] == ["c1", "c2", "new"]
    assert sorted(path.stem for path in (results / "predictions").iterdir()) == ["c1", "c2", "new"]


def test_a_damaged_record_of_the_run_is_named_and_kept(results: Path) -> None:
    path = results / "run.json"
    flip(path, path.read_bytes().index(b"sweep"))
    damaged = path.read_bytes()
    assert integrity.look_at(results) == [Finding("run.json", "damaged: not what was written", "set aside")]
    assert integrity.earlier_run(results) == (RunRecord(), True)
    said = integrity.copy_aside(results)
    assert said.startswith("run.json is damaged: kept as run.json.damaged and written anew from this command.")
    assert path.read_bytes() == damaged, "a sweep that is killed now must still see it"
    assert (results / "run.json.damaged").read_bytes() == damaged
    assert integrity.set_aside(results) == ["run.json.damaged"]


def test_leftovers_of_a_killed_sweep_are_deleted_and_other_files_are_not(results: Path) -> None:
    leftovers = [
        "cells/.c3.json.x7.json", "predictions/.c3.npz.a.npz", "models/.c4.npz", "plots/.gaps.png.q.png",
        ".table.csv.z.csv", ".run.json.k.json", "predictions/c3.npz",
    ]  # fmt: skip
    theirs = ["notes.txt", ".hidden", "plots/mine.pdf", ".lock"]
    for name in (*leftovers, *theirs):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text("half")
    assert sorted(finding.what for finding in integrity.look_at(results)) == sorted(leftovers)
    assert put_right(results) == (False, []), "the table is not touched by it"
    assert not any((results / name).exists() for name in leftovers)
    assert all((results / name).exists() for name in theirs)
    assert integrity.look_at(results) == []


def test_a_table_that_lacks_a_cell_is_out_of_date(results: Path) -> None:
    store.write_cell(results, finished(cell("c3", backbone="ResNet50")))
    assert [finding.what for finding in integrity.look_at(results)] == ["table.parquet"]
    assert not store.table_is_current(results)
    store.write_table(results, store.table(store.read_cells(results)))
    assert store.table_is_current(results)


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_damaged_table_is_out_of_date(results: Path, name: str) -> None:
    path = results / name
    path.write_bytes(path.read_bytes()[:-9])
    assert [finding.what for finding in integrity.look_at(results)] == ["table.parquet"]


def test_a_page_that_is_older_than_what_it_shows_is_out_of_date(results: Path) -> None:
    os.utime(results / "leaderboard.html", (1, 1))
    assert integrity.look_at(results) == [
        Finding("leaderboard.html", "missing, or older than what it shows", "rewrite")
    ]
    (results / "leaderboard.html").unlink()
    assert not integrity.page_is_current(results)


def test_the_command_says_it_in_lines_and_as_json_and_changes_nothing(results: Path) -> None:
    run = CliRunner().invoke
    fine = run(main, ["doctor", str(results)])
    assert (fine.exit_code, fine.output) == (0, "nothing is wrong\n")
    flip(results / "predictions/c1.npz", 40)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    found = run(main, ["doctor", str(results)])
    assert found.exit_code == 3
    first, second, last = found.output.splitlines()
    assert first == "predictions/c1.npz: damaged: its digest is not the one in the cell's record"
    assert second.startswith("cells/c1.json: ")
    assert last == "2 wrong: the sweep's command puts it right"
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    as_json = run(main, ["doctor", str(results), "--json"])
    assert as_json.exit_code == 3
    content = json.loads(as_json.output)
    assert [finding["file"] for finding in content["findings"]] == ["predictions/c1.npz", "cells/c1.json"]
    assert (content["in_use"], content["set_aside"]) == (False, [])


def test_what_was_set_aside_is_shown_and_is_nothing_wrong(results: Path) -> None:
    flip(results / "models/c2.npz", 3)
    put_right(results)
    shown = CliRunner().invoke(main, ["doctor", str(results)])
    assert shown.exit_code == 0
    assert "models/c2.npz.damaged: set aside by an earlier sweep" in shown.output


def test_a_sweep_that_is_writing_now_is_no_damage(results: Path) -> None:
    (results / "cells/.c3.json.x7.json").write_text("half")
    with store.locked(results):
        assert integrity.in_use(results)
        shown = CliRunner().invoke(main, ["doctor", str(results)])
    assert (shown.exit_code, shown.output) == (0, "a sweep is writing here now; nothing is wrong\n")
    assert not integrity.in_use(results)
    assert CliRunner().invoke(main, ["doctor", str(results)]).exit_code == 3


def test_predictions_that_are_not_those_of_the_cell_are_refused(results: Path) -> None:
    assert store.read_predictions(results, "c1")["test_labels"].tolist() == [0, 1]
    store.write_cell(results, finished(cell("c9")))
    shutil.copy(results / "heads/c2.npz", results / "predictions/c9.npz")
    with pytest.raises(RequestError, match=r"predictions/c9\.npz is damaged"):
        store.read_predictions(results, "c9")
