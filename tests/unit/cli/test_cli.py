"""The command line: bad input is one line and exit code 2 with nothing written; reading results needs no framework."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from backbench.cli import errors
from backbench.cli.main import main
from backbench.core.cells import PROTOCOL_VERSION, Cell
from backbench.core.columns import CellRow
from backbench.core.events import CellFinished
from backbench.core.job import Job
from backbench.data import decoding
from backbench.results import store, thumbnails
from backbench.results.run_record import parse
from backbench.sweep import pipeline

FRAMEWORKS = ("keras", "tensorflow", "jax", "torch", "openvino")


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with a cache elsewhere; a job that starts after all is an error."""

    def forbidden(jobs: Iterable[tuple[int, Job]], **_: Any) -> Any:
        raise AssertionError(f"work was begun: {[job.label for _, job in jobs]}")
        yield

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pipeline.executors.local, "run", forbidden)
    return folder


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def content(folder: Path) -> dict[str, str]:
    """Every file and folder below, with the digest of what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def refused(*words: str) -> str:
    """The one line with which a sweep is refused; the working directory is as it was."""
    before = content(Path.cwd())
    found = invoke("sweep", *words)
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert content(Path.cwd()) == before, "something was written"
    (line,) = found.stderr.splitlines()
    return line.removeprefix("backbench: ")


def images(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("MobilNetV2", ("unknown backbone 'MobilNetV2'", "MobileNetV2")),
        ("resnet5", ("unknown backbone 'resnet5'", "ResNet50")),
        ("scrach", ("unknown backbone 'scrach'", "scratch")),
        ("VGG16,zzzzzz", ("unknown backbone 'zzzzzz'", "backbench backbones")),
        ("MobileNetV2:alpha=0.36", ("MobileNetV2:alpha=0.36", "MobileNetV2:alpha=0.35")),
        ("VGG16:alpha=2", ("VGG16", "one width")),
        ("VGG16,-VGG16", ("leaves no backbone",)),
        (",", ("no backbone was named",)),
    ],
)
def test_unknown_backbones_are_refused_with_the_nearest_names(
    here: Path, asked: str, expected: tuple[str, ...]
) -> None:
    message = refused("--backbones", asked)
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--freeze", "some", "freeze depth 'some'"),
        ("--freeze", "", "freeze depth"),
        ("--freeze", "all,all-0", "freeze depth 'all-0'"),
        ("--freeze", "all-1;none", "freeze depth 'all-1;none'"),
        ("--views", "0", "--views 0"),
        ("--keep-gb", "-1", "--keep-gb -1"),
        ("--keep-gb", "inf", "--keep-gb inf"),
        ("--weights", "imagnet", "--weights imagnet is unknown"),
        ("--weights", "", "--weights (empty) is unknown"),
        ("--seeds", "0", "--seeds 0"),
        ("--seeds", "-3", "--seeds -3"),
        ("--limit", "0", "--limit 0 leaves no images"),
        ("--limit", "-1", "--limit -1 leaves no images"),
        ("--limit", "9", "train has 10 classes"),
        ("--epochs", "0", "--epochs 0"),
        ("--batch-size", "0", "--batch-size 0"),
        ("--workers", "0", "--workers 0"),
        ("--min-per-class", "0", "--min-per-class 0"),
        ("--image-size", "31", "at least 32 px, not 31"),
        ("--image-size", "0", "px, not 0"),
        ("--image-size", "-5", "px, not -5"),
        ("--label-column", "label", "digits"),
    ],
)
def test_options_that_mean_nothing_are_refused(here: Path, option: str, value: str, expected: str) -> None:
    assert expected in refused("--backbones", "VGG16", option, value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seeds", "two"),
        ("--limit", "many"),
        ("--resize", "pad"),
        ("--augment", "heavy"),
        ("--keep-gb", "much"),
        ("--keep-models", "some"),
        ("--precision", "float16"),
        ("--executor", "moon"),
        ("--sedes", "2"),
    ],
)
def test_options_that_cannot_be_read_are_refused(here: Path, option: str, value: str) -> None:
    assert option in refused(option, value)


@pytest.mark.parametrize(
    ("backbone", "size", "least"), [("Xception", 70, 71), ("InceptionV3", 74, 75), ("scratch", 15, 16)]
)
def test_images_below_a_backbones_minimum_are_refused(here: Path, backbone: str, size: int, least: int) -> None:
    message = refused("--backbones", f"VGG16,{backbone}", "--image-size", str(size))
    name = backbone if size >= 32 else "VGG16"
    assert message.startswith(f"{name} needs images of at least {least if size >= 32 else 32} px, not {size}")
    assert "--image-size" in message


def empty(root: Path) -> None:
    root.mkdir()


def of_text(root: Path) -> None:
    for name in ("a/1.txt", "a/2.txt", "b/1.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("not an image")


def text_called_images(root: Path) -> None:
    for number in range(12):
        path = root / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"not image {number}")


def one_class(root: Path) -> None:
    images(root / "Kiwi", 10)


def one_class_in_splits(root: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        images(root / split / "Kiwi", 3, 10 * number)


def untrained_class(root: Path) -> None:
    for number, name in enumerate(("train/Apple", "val/Apple", "test/Apple", "test/Kiwi")):
        images(root / name, 3, 10 * number)


def tiny_class(root: Path) -> None:
    images(root / "Apple", 10)
    images(root / "Kiwi", 1, 20)


def loose(root: Path) -> None:
    images(root, 5)


UNUSABLE = [
    (empty, ("holds no images", "folder of its own")),
    (of_text, ("holds no images, only 3 other files", ".csv, .txt")),
    (text_called_images, ("unreadable images: 12",)),
    (one_class, ("one class ('Kiwi')", "at least 2")),
    (one_class_in_splits, ("one class ('Kiwi')", "at least 2")),
    (untrained_class, ("class 'Kiwi' has no training images",)),
    (tiny_class, ("class 'Kiwi' has 1 image", "--min-per-class 1")),
    (loose, ("no class folders",)),
]


@pytest.mark.parametrize(("make", "expected"), UNUSABLE, ids=[make.__name__ for make, _ in UNUSABLE])
def test_folders_that_cannot_be_used_are_refused(
    here: Path, tmp_path: Path, make: Callable[[Path], None], expected: tuple[str, ...]
) -> None:
    make(tmp_path / "fruit")
    message = refused("--dataset", str(tmp_path / "fruit"), "--backbones", "scratch", "--image-size", "32")
    for part in expected:
        assert part in message


@pytest.mark.parametrize("name", ["digit", "/no/such/folder", "hf:", "hf:./nowhere"])
def test_unknown_datasets_are_refused(here: Path, name: str) -> None:
    message = refused("--dataset", name)
    assert name.removeprefix("hf:./") in message


def test_a_file_is_no_dataset(here: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    assert "it is a file, not a folder" in refused("--dataset", str(tmp_path / "photo.jpg"))


@pytest.mark.parametrize("below", ["file", "file/deeper/still"])
def test_an_output_that_cannot_be_written_is_refused(here: Path, below: str) -> None:
    (here / "file").write_text("mine")
    message = refused("--out", below, "--limit", "20", "--backbones", "scratch")
    assert message.startswith(f"cannot write to {below} (")
    assert "--out" in message
    assert (here / "file").read_text() == "mine"


def test_an_output_that_cannot_be_written_is_refused_before_images_are_read(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("images were read first")

    (here / "file").write_text("mine")
    monkeypatch.setattr(decoding, "decode", forbidden)
    assert "cannot write" in refused("--out", "file/deeper")


def test_a_cache_without_room_is_refused_with_what_is_needed(
    here: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    message = refused("--limit", "20", "--image-size", "64", "--backbones", "scratch")
    # Three splits of 20 images, 64 x 64 pixels of three bytes.
    assert f"{3 * 20 * 64 * 64 * 3 / 1e6:.1f} MB" in message
    assert str(cache) in message
    assert "BACKBENCH_CACHE" in message
    assert not list(cache.rglob("*.npy"))


def test_a_cache_that_cannot_be_written_is_refused(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("BACKBENCH_CACHE", str(tmp_path / "file/cache"))
    message = refused("--limit", "20", "--image-size", "64", "--backbones", "scratch")
    assert "BACKBENCH_CACHE" in message


def test_an_unknown_backend_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    assert "unknown Keras backend 'theano'" in refused()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Stored results of another dataset: two cells measured and one skipped, as a sweep leaves them."""
    folder = tmp_path / "stored"
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 10)
    for number, backbone in enumerate(("MobileNetV2", "scratch")):
        logits = rng.normal(0, 1, (30, 3)) + (2 - number) * np.eye(3)[labels]
        probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
        accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
        row = {
            "dataset": "fruit", "backbone": backbone, "family": "f", "weights": "none" if number else "imagenet",
            "weights_source": "keras cache", "image_size": 96, "freeze": "none" if number else "all",
            "freeze_depth": 0, "stages": 1, "frozen_params_pct": 0.0, "seed": 0, "train_acc": 1.0,
            "val_acc": accuracy, "test_acc": accuracy, "gap": 1 - accuracy, "val_nll": 0.7,
            "selection_score": accuracy - 0.01, "test_acc_lo": accuracy - 0.1, "test_acc_hi": accuracy + 0.1,
            "test_macro_f1": accuracy, "test_nll": 0.7, "test_ece": 0.1, "params": 10**6, "trainable_params": 10**4,
            "flops": 10**8, "latency_ms": 3.0 + number, "throughput_ips": 500.0, "peak_mem_mb": 400.0,
            "fit_seconds": 1.0, "wall_seconds": 2.0, "engine": "keras", "precision": "float32",
            "backend": "tensorflow", "device": "a CPU",
        }  # fmt: skip
        ids = np.array([f"item {item}" for item in range(30)])
        predictions = {
            f"{split}_{name}": value
            for split in ("val", "test")
            for name, value in (("ids", ids), ("labels", labels), ("probs", probabilities))
        }
        cell = Cell(f"{number:016x}", "ok", "", {"backbone": backbone}, CellRow(**row), {})
        store.write_cell(folder, CellFinished(cell, predictions))
    lost = {"backbone": "VGG16", "weights": "imagenet", "image_size": 96, "freeze": "all", "seed": 0}
    store.write_cell(folder, CellFinished(Cell("f" * 16, "skipped", "no weights for VGG16", {}, CellRow(**lost), {})))
    store.write_run(
        folder,
        parse(
            {
                "command": "backbench sweep --dataset fruit",
                "request": {"dataset": "fruit"},
                "protocol": {"version": PROTOCOL_VERSION},
                "dataset": {
                    "name": "fruit",
                    "source": "~/fruit",
                    "fingerprint": "f" * 64,
                    "classes": ["a", "b", "c"],
                    "counts": {"train": 90, "val": 30, "test": 30},
                    "health": {},
                },
                "environment": {},
                "jobs": [],
            }
        ),
    )
    assert invoke("report", str(folder)).exit_code == 0
    return folder


def test_an_output_with_another_datasets_results_is_refused_and_left_alone(here: Path, results: Path) -> None:
    before = content(results)
    message = refused("--out", str(results), "--limit", "20", "--image-size", "32", "--backbones", "scratch")
    assert "fruit" in message
    assert "--out" in message
    assert "--fresh" in message
    assert content(results) == before


@pytest.mark.parametrize("content_of_it", ["{", "[]", ""])
def test_an_output_with_a_damaged_record_is_refused_and_left_alone(
    here: Path, results: Path, content_of_it: str
) -> None:
    (results / "run.json").write_text(content_of_it)
    before = content(results)
    message = refused("--out", str(results), "--limit", "20", "--image-size", "32", "--backbones", "scratch")
    assert "run.json" in message
    assert content(results) == before


@pytest.mark.parametrize("command", ["report", "show"])
def test_a_folder_without_results_is_refused(here: Path, command: str) -> None:
    (here / "nothing").mkdir()
    for folder in ("nothing", "absent"):
        found = invoke(command, folder)
        assert found.exit_code == 2
        (line,) = found.stderr.splitlines()
        assert folder in line
        assert content(here) == {"nothing": ""}


def test_report_rebuilds_the_same_page_and_table_byte_for_byte(results: Path) -> None:
    before = content(results)
    for name in ("leaderboard.html", "table.csv", "table.parquet"):
        (results / name).unlink()
    shutil.rmtree(results / "plots")
    assert invoke("report", str(results)).exit_code == 0
    after = content(results)
    assert after == before
    assert "MobileNetV2" in (results / "leaderboard.html").read_text()


def test_report_shows_stored_images_unless_they_are_to_stay_out(results: Path) -> None:
    thumbnails.keep(results, {f"item {item}": np.full((8, 8, 3), 8 * item, np.uint8) for item in range(30)})
    for words, shown in (([], True), (["--no-images"], False), (["--images"], True)):
        assert invoke("report", str(results), *words).exit_code == 0
        assert ("data:image/jpeg" in (results / "leaderboard.html").read_text()) == shown
    record = store.read_run(results)
    store.write_run(results, msgspec.structs.replace(record, images=False))
    for words, shown in (([], False), (["--images"], True)):
        assert invoke("report", str(results), *words).exit_code == 0
        assert ("data:image/jpeg" in (results / "leaderboard.html").read_text()) == shown


def test_report_needs_no_cells(results: Path) -> None:
    page = (results / "leaderboard.html").read_text()
    shutil.rmtree(results / "cells")
    (results / "leaderboard.html").unlink()
    assert invoke("report", str(results)).exit_code == 0
    # without its cells a folder can export nothing, and promises nothing
    without = re.sub(r'  <p class="hint">No weights were kept[^\n]*\n', "", page)
    assert without != page
    assert (results / "leaderboard.html").read_text() == without


def test_show_lists_the_ranking_and_what_is_missing(results: Path) -> None:
    found = invoke("show", str(results))
    assert found.exit_code == 0
    assert found.stdout.index("MobileNetV2") < found.stdout.index("scratch") < found.stdout.index("VGG16")
    assert "no weights for VGG16" in found.stdout


def test_show_needs_no_more_than_the_table(results: Path) -> None:
    whole = invoke("show", str(results)).stdout
    for folder in ("cells", "predictions"):
        shutil.rmtree(results / folder)
    (results / "run.json").unlink()
    found = invoke("show", str(results))
    assert found.exit_code == 0
    assert found.stdout.splitlines()[0] == whole.splitlines()[0]
    assert "can be exported" not in found.stdout


def test_backbones_lists_every_row_with_valid_facts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(here / "keras"))
    rows = json.loads(invoke("backbones", "--json").stdout)
    assert len(rows) == 48
    assert len({row["name"] for row in rows}) == 48
    for row in rows:
        assert set(row) == {
            "name", "family", "params", "input_size", "min_size", "preprocessing", "imagenet_top1",
            "imagenet_top1_source", "weights", "stages",
        }  # fmt: skip
        assert 100_000 < row["params"] < 10**9
        assert 32 <= row["min_size"] <= row["input_size"] <= 600
        assert row["imagenet_top1"] is None or 0.35 < row["imagenet_top1"] < 0.9
        assert row["imagenet_top1_source"]
        assert row["weights"].startswith("from storage.googleapis.com")
        assert len(row["stages"]) >= 3
        for stage in row["stages"]:
            assert set(stage) == {"name", "stride", "output_shapes", "params_pct", "flops_pct"}
        strides = [stage["stride"] for stage in row["stages"]]
        assert strides == sorted(set(strides))
        assert strides[-1] == 32
        for share in ("params_pct", "flops_pct"):
            assert sum(stage[share] for stage in row["stages"]) == pytest.approx(100, abs=0.05)
    by_name = {row["name"]: row for row in rows}
    assert by_name["VGG16"]["params"] == 14_714_688
    assert by_name["VGG16"]["stages"][1] == {
        "name": "block2_conv2",
        "stride": 2,
        "output_shapes": [[112, 112, 128]],
        "params_pct": 1.5,  # 9 x (64 + 128) x 128 kernels and 2 x 128 biases
        "flops_pct": 18.08,  # 5.55 of 30.69 billion
    }
    assert "keras-models" not in by_name["NASNetLarge"]["weights"]
    listed = invoke("backbones").stdout.splitlines()
    assert len(listed) == 49
    assert [line.split()[0] for line in listed[1:]] == [row["name"] for row in rows]


def test_backbones_says_which_weights_are_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(here))
    file = here / "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    file.parent.mkdir()
    file.write_bytes(b"x")
    rows = json.loads(invoke("backbones", "--json").stdout)
    assert [row["name"] for row in rows if row["weights"].startswith("here")] == ["MobileNetV2:alpha=0.35"]
    assert {row["weights"] for row in rows if row["weights"].startswith("here")} == {f"here: {file}"}


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def without_frameworks(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a fresh interpreter in which importing a framework is an error."""
    script = f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {FRAMEWORKS!r}:
            raise ImportError(name + ' must not be imported')
sys.meta_path.insert(0, Forbidden())
from backbench.cli.main import main
main({list(words)!r}, prog_name='backbench')
"""
    return python("-c", script)


@pytest.mark.parametrize(
    "command",
    [[], ["sweep"], ["report"], ["show"], ["compare"], ["export"], ["predict"], ["backbones"], ["fetch"]],
    ids=str,
)
def test_help_imports_neither_frameworks_nor_pandas(command: list[str]) -> None:
    script = f"""
import sys
from backbench.cli.main import main
try:
    main({[*command, "--help"]!r}, prog_name='backbench')
except SystemExit as end:
    assert not end.code, end.code
heavy = set(sys.modules) & {{'pandas', 'matplotlib', 'sklearn', 'scipy', 'PIL', 'datasets', *{FRAMEWORKS!r}}}
sys.exit(f'imported: {{heavy}}' if heavy else 0)
"""
    found = python("-c", script)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("Usage: backbench")


def test_the_module_runs_as_a_command_and_helps_without_heavy_imports() -> None:
    found = python("-X", "importtime", "-m", "backbench.sweep", "--help")
    assert found.returncode == 0
    assert found.stdout.startswith("Usage: python -m backbench.sweep")
    assert "--dataset" in found.stdout
    imported = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"pandas", "matplotlib", "sklearn", "datasets", *FRAMEWORKS}


def test_reading_results_needs_no_framework(results: Path) -> None:
    before = content(results)
    (results / "leaderboard.html").unlink()
    for command in (["report", str(results)], ["show", str(results)]):
        found = without_frameworks(*command)
        assert (found.returncode, found.stderr) == (0, "")
    assert "MobileNetV2" in found.stdout
    assert content(results) == before


def test_listing_backbones_needs_no_framework() -> None:
    found = without_frameworks("backbones", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    assert len(json.loads(found.stdout)) == 48


def test_a_request_is_refused_without_a_framework(tmp_path: Path) -> None:
    found = without_frameworks("sweep", "--backbones", "nonsense", "--out", str(tmp_path / "out"))
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_for_a_report_too(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(directory: Path, frame: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory / "table.csv"))

    monkeypatch.setattr(store, "write_table", full)
    found = CliRunner().invoke(main, ["report", str(results)])
    assert found.exit_code == 2
    assert found.stderr == (
        f"backbench: cannot write to {results / 'table.csv'} (No space left on device):"
        " make room and run the same command again\n"
    )


def test_a_timeout_that_is_no_duration_is_refused(here: Path) -> None:
    assert refused("--timeout", "30 minutes") == "--timeout 30 minutes is no duration: write 90s, 30m or 2h"


def test_a_limit_of_the_cache_that_is_no_size_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBENCH_CACHE_LIMIT", "plenty")
    assert refused() == "BACKBENCH_CACHE_LIMIT=plenty is no size: a number of GB, such as 50"


@pytest.mark.parametrize(
    ("name", "closed", "said"),
    [
        ("there", "there", "read"),
        ("there", "", "write to"),
        ("missing", "", "write to"),
        ("missing", "folder", "open"),
    ],
)
def test_a_missing_permission_says_what_it_was_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    closed: str,
    said: str,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there").touch()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != closed)  # root may do anything

    @errors.plainly
    def command() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / name))

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == f"backbench: cannot {said} {folder / name} (Permission denied): get the permission, or work on a copy\n"
    )
