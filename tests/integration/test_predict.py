"""Classifying files with an exported model: what is said of each, and of those that cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from backbench.cli.main import main
from backbench.core.errors import RequestError
from backbench.data import decoding
from backbench.evaluation import classifier
from backbench.evaluation import predict as predicting
from backbench.evaluation.linear_probe import Head
from backbench.evaluation.predict import Prediction, as_table, predict

LABELS = ("red", "green", "<script>alert(1)</script>", "bl\nau")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mean colours of a square of 6 pixels, centre crop, with logits of ten times a colour's share of 255."""
    images = keras.Input((6, 6, 3), dtype="uint8")
    means = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(images, "float32") / 255.0)
    weights = 10 * np.eye(3, 4, dtype=np.float32)
    weights[:, 3] = weights[:, 2]
    body = keras.Model(images, means)
    head = Head(weights, np.array([0, 0, 0, -1], np.float32))
    path = tmp_path_factory.mktemp("model") / "colours.keras"
    classifier.assembled(body, head, labels=LABELS, temperature=1.0, resize="crop", name="colours").save(path)
    return path


def colour(path: Path, *levels: int, size: tuple[int, int] = (9, 7)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), levels, np.uint8)).save(path)
    return path


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)], catch_exceptions=False)


def test_what_was_put_in_is_read_back(model: Path) -> None:
    found = classifier.load(model)
    assert (found.labels, found.size, found.resize) == (LABELS, 6, "crop")
    assert found.model.get_layer("labels").seed == list(LABELS)


def test_probabilities_by_hand(model: Path, tmp_path: Path) -> None:
    """Logits 10, 0, 0, -1 for red and 0, 0, 8, 7 for a blue of 204."""
    red, blue = colour(tmp_path / "red.png", 255, 0, 0), colour(tmp_path / "blue.png", 0, 0, 204, size=(50, 3))
    first, second = predict(model, [red, blue], top=4)
    assert [label for label, _ in first.classes] == ["red", "green", LABELS[2], LABELS[3]]
    total = np.exp([10, 0, 0, -1]).sum()
    assert [share for _, share in first.classes] == pytest.approx(np.exp([10, 0, 0, -1]) / total, rel=1e-5)
    assert [label for label, _ in second.classes] == [LABELS[2], LABELS[3], "red", "green"]
    assert second.classes[0][1] == pytest.approx(np.exp(8) / np.exp([0, 0, 8, 7]).sum(), rel=1e-5)


def test_the_image_is_upright_and_cut_as_the_pipeline_does(model: Path, tmp_path: Path) -> None:
    """Lying on its side, as a phone stores it: the middle is green, and only there where it stands upright."""
    wide = np.zeros((6, 18, 3), np.uint8)
    wide[:, 6:12, 1] = 255
    lying = Image.fromarray(wide).transpose(Image.Transpose.ROTATE_90)
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "a.png", exif=exif)
    (found,) = predict(model, [tmp_path / "a.png"], top=1)
    square = decoding.load_square((tmp_path / "a.png").read_bytes(), 6, "crop")
    assert square[..., 1].min() == 255
    assert found.classes[0][0] == "green"


def test_folders_stand_for_the_images_below_in_order(model: Path, tmp_path: Path) -> None:
    names = ["b.png", "a/2.PNG", "a/1.png", ".hidden.png", ".cache/3.png"]
    for name in names:
        colour(tmp_path / name, 255, 0, 0)
    (tmp_path / "notes.txt").write_text("no image")
    found = predict(model, [tmp_path / "b.png", tmp_path], top=1)
    assert [row.file for row in found] == [str(tmp_path / name) for name in ("b.png", "a/1.png", "a/2.PNG", "b.png")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="empty holds no images"):
        predict(model, [tmp_path / "empty"])


def test_files_that_cannot_be_read_do_not_stop_the_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of two; with more than one of them unreadable altogether."""
    monkeypatch.setattr(predicting, "BATCH", 2)
    files = [tmp_path / f"{number}.png" for number in range(7)]
    for number in (2, 6):
        colour(files[number], 0, 255, 0)
    files[0].write_text("text")
    files[3].mkdir()
    colour(files[3] / "x.png", 0, 255, 0)
    os.mkfifo(files[4])
    said: list[tuple[int, int]] = []
    found = predict(model, files, progress=lambda done, total: said.append((done, total)))
    assert [row.error for row in found] == [
        "not an image of a known format", "No such file or directory", "", "", "not a regular file",
        "No such file or directory", "",
    ]  # fmt: skip
    assert {row.classes[0][0] for row in found if not row.error} == {"green"}
    assert said == [(2, 7), (4, 7), (6, 7), (7, 7)]


def test_the_command_prints_a_table_and_says_what_it_could_not_read(model: Path, tmp_path: Path) -> None:
    red, blue = colour(tmp_path / "r.png", 255, 0, 0), colour(tmp_path / "blue.png", 0, 0, 255)
    found = invoke(model, red, blue, "--top", "2")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [
        f"{red}     red 100.0%{' ' * 21}  green 0.0%",
        f"{blue}  <script>alert(1)</script> 73.1%  bl?au 26.9%",
    ]
    found = invoke(model, tmp_path / "absent.png", red)
    assert found.exit_code == 3
    assert found.stderr == f"backbench: {tmp_path}/absent.png: No such file or directory\n"
    assert found.stdout.startswith(f"{red}  red 100.0%")
    assert invoke(model, tmp_path / "absent.png").exit_code == 3


def test_the_same_as_json(model: Path, tmp_path: Path) -> None:
    red = colour(tmp_path / "r.png", 255, 0, 0)
    found = invoke(model, red, tmp_path / "absent.png", "--top", "1", "--json")
    assert found.exit_code == 3
    first, second = json.loads(found.stdout)
    assert first == {"file": str(red), "classes": [{"label": "red", "probability": pytest.approx(0.99989, abs=1e-5)}]}
    assert second == {"file": f"{tmp_path}/absent.png", "error": "No such file or directory"}


def test_control_sequences_do_not_reach_the_terminal() -> None:
    assert as_table([Prediction("a\x1b[2Jb", (("x\ty", 0.5),))]) == "a?[2Jb  x?y 50.0%\n"
    assert as_table([Prediction("a", error="lost")]) == ""


def test_what_is_no_exported_model_is_refused(model: Path, tmp_path: Path) -> None:
    photo = colour(tmp_path / "r.png", 255, 0, 0)
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_text("text")
    (tmp_path / "cut.keras").write_bytes(model.read_bytes()[:5000])
    for name, expected in (
        ("absent.keras", "is not there"),
        ("other.keras", "not one that `backbench export` wrote"),
        ("text.keras", "cannot be loaded as a Keras model"),
        ("cut.keras", "cannot be loaded as a Keras model"),
        ("r.png", "cannot be loaded as a Keras model"),
    ):
        found = invoke(tmp_path / name, photo)
        assert found.exit_code == 2
        (line,) = found.stderr.splitlines()
        assert line.startswith(f"backbench: {tmp_path / name} ")
        assert expected in line


@pytest.mark.parametrize("words", [["--top", "0"], ["--top", "many"], []])
def test_requests_that_mean_nothing_are_one_line(model: Path, words: list[str]) -> None:
    found = invoke(model, *words)
    assert found.exit_code == 2
    assert len(found.stderr.splitlines()) == 1
