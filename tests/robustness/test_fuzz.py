"""Damaged and made-up input to whatever reads files: right as it is, or refused in one line. Seeded, so repeatable."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile_files import COLOURS, PLAIN, SIDE, corpus
from support.listings import listing
from support.stored_cells import cell, finished

from backbench.core.columns import COLUMNS
from backbench.core.errors import RequestError
from backbench.core.formatting import printable
from backbench.data import open_listing
from backbench.data.decoding import decode
from backbench.data.sources.image_files import is_image_name
from backbench.results import store
from backbench.results.run_record import parse

pytestmark = pytest.mark.timeout(120)  # nothing may hang


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The same with a few accidents: bits flipped, parts cut out, doubled, blanked or put elsewhere."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if not found:
            break
        start, length = int(rng.integers(len(found))), int(rng.integers(1, 40))
        part = found[start : start + length]
        match rng.integers(7):
            case 0 | 1:
                found[start] ^= 1 << int(rng.integers(8))
            case 2:
                del found[start:]
            case 3:
                del found[start : start + length]
            case 4:
                found[start:start] = part
            case 5:
                found[start : start + length] = bytes(len(part))
            case 6:
                elsewhere = int(rng.integers(len(found)))
                found[elsewhere : elsewhere + len(part)] = part
    return bytes(found)


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "ok", "\ud800", "../../x", "a\nb",
    "x" * 10_000, [], {}, [[]], {"": None}, [1, "2", None],
)  # fmt: skip


def distorted(content: Any, rng: np.random.Generator) -> Any:
    """A copy of nested JSON in which one thing is gone, renamed or something else."""
    copy = json.loads(json.dumps(content))
    place, path = copy, 0
    while isinstance(place, dict | list) and place and path < 4:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.4:
            match rng.integers(3):
                case 0:
                    del place[key]
                case _:
                    place[key] = ODD[int(rng.integers(len(ODD)))]
            return copy
        place, path = place[key], path + 1
    return ODD[int(rng.integers(len(ODD)))]


def refused_in_one_line(action: Callable[[], Any]) -> Any:
    """What the action returns; None when it says in one line that it cannot."""
    try:
        return action()
    except RequestError as error:
        said = printable(str(error))  # as every command prints it
    assert said
    assert "\n" not in said
    return None


def cells_are_sound(directory: Path, written: Any) -> bool:
    """Whether the cells are read, and if so, as they stand in the file and fit for a table."""
    found = refused_in_one_line(lambda: store.read_cells(directory))
    if not found:
        return False
    (one,) = found
    assert one.cell_id == written["cell_id"] == "c1"
    assert (one.status, one.reason) == (written["status"], written["reason"])
    assert one.row.to_columns().items() <= written["row"].items()
    table = store.table(found)
    for column in COLUMNS:
        value = table[column.name].iloc[0]
        if column.name not in ("status", "reason", "cell_id") and written["row"].get(column.name) is not None:
            assert value == written["row"][column.name]
    return True


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A stored cell as records were before they had digests: what is in its files is all there is to go by."""
    store.write_cell(tmp_path, finished(cell()))
    path = tmp_path / "cells" / "c1.json"
    content = json.loads(path.read_text())
    del content["sha256"], content["files"]
    path.write_text(json.dumps(content | {"schema": 1}))
    return path


def test_records_of_cells_with_accidents(record: Path) -> None:
    original, rng = record.read_bytes(), np.random.default_rng(1)
    sound = 0
    for _ in range(400):
        record.write_bytes(mutated(original, rng))
        try:
            written = json.loads(record.read_bytes())
        except (ValueError, RecursionError):
            written = None
        sound += cells_are_sound(record.parents[1], written)
    assert sound < 200


def test_records_of_cells_that_somebody_made_up(record: Path) -> None:
    original, rng = json.loads(record.read_text()), np.random.default_rng(2)
    sound = 0
    for _ in range(400):
        made_up = distorted(original, rng)
        try:
            record.write_text(json.dumps(made_up))
        except UnicodeEncodeError:
            continue
        sound += cells_are_sound(record.parents[1], made_up)
    assert 0 < sound < 400


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b"\xff\xfe{}",
        b"null",
        b'"c1"',
        b"",
        b"[]",
        b"NaN",
        b"\0" * 99,
    ],
)
def test_records_that_are_something_else(record: Path, content: bytes) -> None:
    record.write_bytes(content)
    with pytest.raises(RequestError, match="damaged"):
        store.read_cells(record.parents[1])
    (record.parents[1] / "run.json").write_bytes(content)
    with pytest.raises(RequestError, match=r"run\.json"):
        store.read_run(record.parents[1])


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "..", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", ""])
def test_an_id_leads_to_no_other_folder(record: Path, name: str) -> None:
    directory = record.parents[1]
    made_up = json.loads(record.read_text()) | {"cell_id": name}
    record.write_text(json.dumps(made_up))
    with pytest.raises(RequestError, match="is no id of a cell"):
        store.read_cells(directory)
    store.write_table(directory, store.table([cell()]).assign(cell_id=name).astype({"cell_id": "string"}))
    with pytest.raises(RequestError, match="is no id of a cell"):
        store.read_table(directory)


def test_a_record_under_another_name_deletes_nothing_of_others(record: Path) -> None:
    directory = record.parents[1]
    record.rename(record.with_name("c2.json"))
    with pytest.raises(RequestError, match="it is the record of c1"):
        store.read_cells(directory)
    assert (directory / "predictions" / "c1.npz").exists()


def test_predictions_with_accidents(record: Path) -> None:
    directory, path = record.parents[1], record.parents[1] / "predictions" / "c1.npz"
    original, rng = path.read_bytes(), np.random.default_rng(3)
    expected = store.read_predictions(directory, "c1")
    for _ in range(1000):
        path.write_bytes(mutated(original, rng))
        found = refused_in_one_line(lambda: store.read_predictions(directory, "c1"))
        if found is not None:
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)


class Planted:
    """What a pickle could do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def made_up_predictions(rng: np.random.Generator, mark: Path) -> Iterator[dict[str, np.ndarray]]:
    """Whole archives of what is none of a sweep's predictions."""
    sound = finished(cell()).predictions
    yield dict(sound) | {"test_probs": np.array([[Planted(mark)] * 2] * 2, dtype=object)}
    yield dict(sound) | {"test_ids": np.array([Planted(mark), "b"], dtype=object)}
    for name in sound:
        yield {other: values for other, values in sound.items() if other != name}
        yield dict(sound) | {name: sound[name][:1]}
        yield dict(sound) | {name: np.array(1.0)}
        yield dict(sound) | {name: np.array(["a", "b"], dtype="S1")}
    yield dict(sound) | {"test_labels": np.array([0, 2])}
    yield dict(sound) | {"test_labels": np.array([-1, 0])}
    yield dict(sound) | {"test_labels": np.array([0.0, 1.0])}
    for wrong in (np.nan, np.inf, -0.5, 7.0):
        probabilities = sound["test_probs"].copy()
        probabilities[tuple(rng.integers(2, size=2))] = wrong
        yield dict(sound) | {"test_probs": probabilities}


def test_predictions_that_somebody_made_up(record: Path, tmp_path: Path) -> None:
    path, mark = record.parents[1] / "predictions" / "c1.npz", tmp_path / "ran"
    refused = 0
    for arrays in made_up_predictions(np.random.default_rng(4), mark):
        np.savez(path, allow_pickle=True, **arrays)
        with pytest.raises(RequestError, match="damaged"):
            store.read_predictions(record.parents[1], "c1")
        refused += 1
    assert refused >= 20
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["npy", "text", "empty", "zip of text", "huge array", "folder"])
def test_predictions_that_are_something_else(record: Path, kind: str) -> None:
    path = record.parents[1] / "predictions" / "c1.npz"
    path.unlink()
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, np.zeros(3))
    elif kind in ("zip of text", "huge array"):
        header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
        shape = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999), }".ljust(117) + b"\n"
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("test_probs.npy", header + shape if kind == "huge array" else "words")
    elif kind == "text":
        stream.write(b"<html>")
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(stream.getvalue())
    with pytest.raises(RequestError, match="damaged"):
        store.read_predictions(record.parents[1], "c1")


def test_run_records_that_somebody_made_up(tmp_path: Path) -> None:
    original = {
        "schema": 1, "command": "backbench sweep", "request": {"dataset": "x"}, "resolved": {"engine": "keras"},
        "protocol": {"version": 3}, "dataset": {"name": "x", "health": {"notes": []}}, "environment": {}, "jobs": [],
    }  # fmt: skip
    rng, sound = np.random.default_rng(5), 0
    for _ in range(300):
        made_up = distorted(original, rng)
        try:
            (tmp_path / "run.json").write_text(json.dumps(made_up))
        except UnicodeEncodeError:
            continue
        found = refused_in_one_line(lambda: store.read_run(tmp_path))
        sound += found is not None and found == parse(found.content())
    assert 0 < sound < 300


def test_images_with_accidents(cache: Path) -> None:
    sources = [file.content for file in corpus() if isinstance(file.content, bytes) and file.pixels is not None]
    rng = np.random.default_rng(6)
    contents = [mutated(source, rng) for source in sources[:70] for _ in range(12)]
    sound = len(contents) // 2
    contents.insert(sound, PLAIN)
    found, failures = decode(listing(*contents), size=SIDE, resize="stretch", cache=cache)
    rows = found.open()
    assert rows.shape == (len(contents), SIDE, SIDE, 3)
    assert np.array_equal(rows[sound], COLOURS)
    assert len(contents) // 4 < len(failures) < len(contents)
    for index, reason in failures.items():
        assert reason.isprintable()
        assert 0 < len(reason) <= 200
        assert "0x" not in reason
        assert not rows[index].any()


def test_sidecars_of_decoded_images_with_accidents(cache: Path) -> None:
    items = listing(PLAIN, PLAIN[:70])
    found, failures = decode(items, size=SIDE, resize="stretch", cache=cache)
    assert failures.keys() == {1}
    sidecar = found.path.with_suffix(".json")
    original, rng = json.loads(sidecar.read_text()), np.random.default_rng(7)
    contents = [json.dumps(distorted(original, rng)) for _ in range(60)]
    contents.append(json.dumps(original | {"failures": {"0": failures[1]}}))  # another image than the unreadable one
    for content in (*contents, "[" * 100_000, '{"failures": {"7": "x"}}', '{"failures": {"x": "y"}}'):
        sidecar.write_text(content)
        again, known = decode(items, size=SIDE, resize="stretch", cache=cache)
        assert np.array_equal(again.open()[0], COLOURS)
        assert known == failures


NAMES = (
    "a", "b.jpg", "c.PNG", ".d.jpg", "e.txt", "é.jpeg", "f\ng.gif", "train", "val", "test", "Test", "i" * 200 + ".webp",
    "__MACOSX", "j.jpg.exe", "images", "meta",
)  # fmt: skip


def grow(folder: Path, rng: np.random.Generator, depth: int = 0) -> None:
    """Random folders, files, links and pipes."""
    folder.mkdir()
    for name in rng.choice(NAMES, size=int(rng.integers(0, 6)), replace=False):
        path = folder / str(name)
        match rng.integers(8):
            case 0 | 1 | 2 if depth < 3:
                grow(path, rng, depth + 1)
            case 3:
                path.symlink_to(["nowhere", ".", "..", path.name, "/dev/null"][int(rng.integers(5))])
            case 4:
                os.mkfifo(path)
            case _:
                path.write_bytes(rng.bytes(int(rng.integers(0, 30))))


def test_folders_of_any_shape(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    read = 0
    for number in range(300):
        (tmp_path / str(number)).mkdir()
        root = tmp_path / str(number) / "photos"  # alone, so that a link to what is above leads back to it
        grow(root, rng)
        found = refused_in_one_line(lambda: open_listing(str(root)))  # noqa: B023  called at once
        if found is None:
            continue
        read += 1
        assert len(found.class_names) >= 2
        assert len(set(found.ids)) == len(found.ids) == len(found.labels) == len(found.digests)
        assert set(found.published.tolist()) <= {"train", "val", "test", ""}
        for item, label in zip(found.ids, found.labels, strict=True):
            assert (root / item).is_file()
            assert (root / item).resolve().is_relative_to(root)
            assert is_image_name(item)
            assert found.class_names[label] in item.split("/")
        for item, reason in found.unreadable:
            assert not (root / item).is_file()
            assert reason
    assert read > 20


def test_lists_of_the_food_archive_with_accidents(tmp_path: Path) -> None:
    root, rng = tmp_path / "food-101", np.random.default_rng(9)
    for name in ("apple/1", "apple/2", "ramen/3", "ramen/4"):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / f"{name}.jpg").write_bytes(name.encode())
    (root / "meta").mkdir()
    (root / "meta" / "test.txt").write_text("apple/2\nramen/4\n")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    lines = [
        b"apple/1",
        b"ramen/3",
        b"../secret",
        b"/etc/passwd",
        b"apple/../../secret",
        b"a\0b/c",
        b"\xff/\xfe",
        b"./1",
    ]
    for _ in range(300):
        chosen = b"\n".join(lines[int(i)] for i in rng.integers(len(lines), size=3))
        (root / "meta" / "train.txt").write_bytes(mutated(chosen, rng) if rng.random() < 0.5 else chosen)
        found = refused_in_one_line(lambda: open_listing(str(root)))
        if found is not None:
            for index in range(len(found.ids)):
                assert found.images.encoded(index).startswith((b"apple/", b"ramen/"))
