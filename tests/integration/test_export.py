"""An exported cell gives its accuracy on the original files, with Keras alone; what cannot be exported says why."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.in_process import InProcess

import backbench
from backbench import executors, sweep
from backbench.cli.main import main
from backbench.core.cells import PROTOCOL_VERSION
from backbench.core.files import sealed
from backbench.core.request import Request
from backbench.results import store
from backbench.results.export import export

MOBILE = "MobileNet:alpha=0.25"
FILE = "mobilenet_2_5_224_tf_no_top.h5"

# Class probabilities of image files by a model, those of one shape together, by Keras and Pillow and nothing of ours.
KERAS_ALONE = """
import json, sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "backbench":
            raise ImportError("backbench must not be needed")
sys.meta_path.insert(0, Forbidden())
import keras, numpy
from PIL import Image
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
files = json.load(open(sys.argv[2]))
images = [numpy.asarray(Image.open(file).convert("RGB")) for file in files]
labels = model.get_layer("labels").seed
found = numpy.empty((len(images), len(labels)))
for shape in {image.shape for image in images}:
    chosen = [position for position, image in enumerate(images) if image.shape == shape]
    found[chosen] = model.predict(numpy.stack([images[position] for position in chosen]), verbose=0)
numpy.save(sys.argv[3], found)
json.dump(labels, open(sys.argv[4], "w"))
"""


@pytest.fixture(scope="module", autouse=True)
def _here(shared_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and genuine weights; jobs run in this process, without measuring what inference costs."""

    from backbench.evaluation import inference_cost

    models = tmp_path_factory.mktemp("keras") / "models"
    models.mkdir()
    shutil.copy(shared_weights / FILE, models / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(models.parent))
        patch.setenv("BACKBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(inference_cost, "speed", lambda *_, **__: inference_cost.Speed(1.0, 100.0))
        patch.setattr(inference_cost, "peak_memory", lambda *_, **__: 250.0)
        yield


@pytest.fixture(scope="module")
def swept(grocery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """510 test photos, so that a single one is not yet 0.2 points; most are of another shape than the input."""
    out = tmp_path_factory.mktemp("results") / "grocery"
    request = Request(
        dataset=str(grocery),
        backbones=f"{MOBILE},scratch",
        limit=510,
        image_size=128,
        epochs=2,
        mirrors=False,
        keep_models="all",
        out=out,
    )
    sweep.run(request, executor=InProcess())
    assert store.read_table(out)["status"].tolist() == ["ok"] * 3
    return out


def row_of(directory: Path, freeze: str) -> dict[str, Any]:
    table = store.read_table(directory)
    (row,) = table[table["freeze"] == freeze].to_dict("records")
    return row


def re_evaluated(model: Path, directory: Path, freeze: str, photos: Path) -> tuple[float, float, Any]:
    """Accuracy on the original test files, the stored one, and the probabilities' largest differences per image."""
    row = row_of(directory, freeze)
    stored = store.read_predictions(directory, row["cell_id"])
    files, told, labels = (model.with_suffix(ending) for ending in (".files.json", ".npy", ".labels.json"))
    files.write_text(json.dumps([str(photos / name) for name in stored["test_ids"]]))
    done = subprocess.run(
        [sys.executable, "-c", KERAS_ALONE, str(model), str(files), str(told), str(labels)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, found = json.loads(labels.read_text()), np.load(told)
    truth = [name.split("/")[1] for name in stored["test_ids"].tolist()]
    right = [names[position] == label for position, label in zip(found.argmax(axis=1), truth, strict=True)]
    return float(np.mean(right)), row["test_acc"], np.abs(found - stored["test_probs"]).max(axis=1)


@pytest.mark.parametrize(
    ("freeze", "name"), [("all", f"{MOBILE}@all"), ("all-1", f"{MOBILE}@all-1"), ("none", "scratch")]
)
def test_an_exported_cell_gives_its_accuracy_on_the_original_files(
    swept: Path, grocery: Path, tmp_path: Path, freeze: str, name: str
) -> None:
    row = export(swept, tmp_path / "a.keras", name)
    assert row["cell_id"] == row_of(swept, freeze)["cell_id"]
    accuracy, expected, differences = re_evaluated(tmp_path / "a.keras", swept, freeze, grocery)
    assert accuracy == pytest.approx(expected, abs=0.002)
    # Kept activations were float16; of a tall photo a pixel in six may be off by one level of 255.
    assert np.quantile(differences, 0.75) < 2e-3
    assert differences.max() < 0.05
    assert keras.saving.load_model(tmp_path / "a.keras").count_params() == row["params"]


@pytest.mark.slow
def test_cells_in_bfloat16_and_of_centre_crops(grocery: Path, tmp_path: Path) -> None:
    request = Request(
        dataset=str(grocery),
        backbones=MOBILE,
        limit=204,
        image_size=96,
        epochs=1,
        precision="bfloat16",
        resize="crop",
        mirrors=False,
        keep_models="all",
        out=tmp_path / "results",
    )
    sweep.run(request, executor=InProcess())
    for freeze in ("all", "all-1"):
        export(tmp_path / "results", tmp_path / f"{freeze}.keras", f"{MOBILE}@{freeze}")
        accuracy, expected, differences = re_evaluated(
            tmp_path / f"{freeze}.keras", tmp_path / "results", freeze, grocery
        )
        assert accuracy == pytest.approx(expected, abs=0.005)
        assert np.median(differences) < 0.02


@pytest.mark.parametrize("freeze", ["all", "none"])
def test_random_weights_are_exported_as_they_were(grocery: Path, tmp_path: Path, freeze: str) -> None:
    request = Request(
        dataset=str(grocery), backbones=MOBILE, weights="none", freeze=freeze, limit=68, image_size=64, epochs=1,
        out=tmp_path / "results",
    )  # fmt: skip
    sweep.run(request, executor=InProcess())
    export(tmp_path / "results", tmp_path / "a.keras")
    accuracy, expected, differences = re_evaluated(tmp_path / "a.keras", tmp_path / "results", freeze, grocery)
    assert accuracy == pytest.approx(expected, abs=1 / 68)
    assert np.median(differences) < 1e-3


def test_without_a_name_the_winner_is_exported(swept: Path, tmp_path: Path) -> None:
    found = backbench.load(swept)
    path = found.export(tmp_path / "new" / "best.keras")
    assert path == tmp_path / "new" / "best.keras"
    model = keras.saving.load_model(path)
    assert model.name.endswith(found.best["cell_id"])
    assert model.name.startswith("MobileNet-alpha-0.25-all")


def test_the_users_own_keras_settings_are_left_alone(swept: Path, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        export(swept, tmp_path / "a.keras", f"{MOBILE}@all")
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(before)
    model = keras.saving.load_model(tmp_path / "a.keras")
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def refused(*words: object) -> str:
    found = invoke("export", *words)
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.splitlines()
    return line.removeprefix("backbench: ")


@pytest.fixture
def copy(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path / "grocery")
    return tmp_path / "grocery"


def test_the_command_says_what_it_wrote_and_overwrites_only_when_told(swept: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.keras"
    target.write_text("mine")
    assert f"{target} is there already" in refused(swept, "scratch", "--to", target)
    assert target.read_text() == "mine"
    found = invoke("export", swept, "scratch", "--to", target, "--force")
    assert found.exit_code == 0
    accuracy = row_of(swept, "none")["test_acc"]
    assert found.stdout == f"{target}: scratch, {accuracy:.1%} on test\n"
    assert zipfile.is_zipfile(target)
    assert list(tmp_path.iterdir()) == [target]


def test_weights_that_were_not_kept_are_refused_with_the_command_that_makes_them(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "chosen", lambda *_: InProcess())
    row = row_of(copy, "all-1")
    (copy / "models" / f"{row['cell_id']}.npz").unlink()
    message = refused(copy, f"{MOBILE}@all-1", "--to", tmp_path / "a.keras")
    assert message.startswith(f"the trained weights of {MOBILE}@all-1 were not kept; this trains it again and keeps")
    assert not (tmp_path / "a.keras").exists()
    before = {path: path.read_bytes() for path in (copy / "cells").iterdir() if path.stem != row["cell_id"]}
    program, *words = shlex.split(message.partition(": ")[2])
    assert program == "backbench"
    assert invoke(*words).exit_code == 0
    assert {path: path.read_bytes() for path in before} == before, "the other cells were left alone"
    assert row_of(copy, "all-1")["test_acc"] == pytest.approx(row["test_acc"], abs=0.01)
    assert invoke("export", copy, f"{MOBILE}@all-1", "--to", tmp_path / "a.keras").exit_code == 0


def test_results_of_an_earlier_protocol_are_measured_anew_elsewhere(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "chosen", lambda *_: InProcess())
    row = row_of(copy, "all-1")
    (copy / "models" / f"{row['cell_id']}.npz").unlink()
    record = store.read_run(copy)
    store.write_run(copy, msgspec.structs.replace(record, protocol={**record.protocol, "version": 2}))
    message = refused(copy, f"{MOBILE}@all-1", "--to", tmp_path / "a.keras")
    assert f"{copy} was measured by protocol 2, to which protocol {PROTOCOL_VERSION} cannot add" in message
    words = shlex.split(message.partition("in another folder: ")[2])
    assert words[words.index("--out") + 1] == f"{copy}-protocol-{PROTOCOL_VERSION}"
    assert words[words.index("--engine") + 1] == record.resolved["engine"]
    assert invoke(*words[1:]).exit_code == 0
    assert store.models(Path(f"{copy}-protocol-{PROTOCOL_VERSION}"))


def test_what_is_damaged_or_missing_is_refused(copy: Path, tmp_path: Path) -> None:
    probe, tail = row_of(copy, "all")["cell_id"], row_of(copy, "all-1")["cell_id"]
    (copy / "heads" / f"{probe}.npz").unlink()
    assert f"the head of {MOBILE}@all is missing" in refused(copy, f"{MOBILE}@all", "--to", tmp_path / "a.keras")
    (copy / "models" / f"{tail}.npz").write_bytes(b"PK")
    assert "is damaged" in refused(copy, f"{MOBILE}@all-1", "--to", tmp_path / "a.keras")
    shutil.rmtree(copy / "cells")
    assert "with its cells" in refused(copy, "--to", tmp_path / "a.keras")


def test_weights_of_another_network_are_refused(copy: Path, tmp_path: Path) -> None:
    """As if somebody had put another cell's file in its place, digest and all."""
    scratch, tail = (row_of(copy, freeze)["cell_id"] for freeze in ("none", "all-1"))
    shutil.copy(copy / "models" / f"{tail}.npz", copy / "models" / f"{scratch}.npz")
    record = copy / "cells" / f"{scratch}.json"
    content = json.loads(record.read_text())
    content["files"] = {
        f"models/{scratch}.npz": hashlib.sha256((copy / "models" / f"{scratch}.npz").read_bytes()).hexdigest()
    }
    record.write_text(json.dumps(sealed(content)))
    assert "does not fit its cell" in refused(copy, "scratch", "--to", tmp_path / "a.keras")


def test_other_pretrained_weights_than_those_of_the_cell_are_refused(copy: Path, tmp_path: Path) -> None:
    record = copy / "cells" / f"{row_of(copy, 'all')['cell_id']}.json"
    content = json.loads(record.read_text())
    content["identity"]["weights_digest"] = "0" * 64
    record.write_text(json.dumps(sealed(content)))
    message = refused(copy, f"{MOBILE}@all", "--to", tmp_path / "a.keras")
    assert message.startswith(f"the weights of {MOBILE} that are here (keras cache) are not those that the cell was")


def test_without_pretrained_weights_the_export_says_how_to_get_them(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backbench.backbones.weights import resolve

    def unreachable(url: str, *_: Any, **__: Any) -> None:
        raise resolve.HostUnreachableError("example.org", "no network")

    monkeypatch.setattr(resolve, "download", unreachable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    message = refused(swept, f"{MOBILE}@all", "--to", tmp_path / "a.keras")
    assert message.startswith(f"no weights for {MOBILE}: ")
    assert invoke("export", swept, "scratch", "--to", tmp_path / "a.keras").exit_code == 0, "it needs none"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["scratch", "--to", "a.h5"], "a.h5 does not end in .keras"),
        (["scratch", "--to", "folder.keras"], "folder.keras is a folder"),
        (["scratch", "--to", "file/a.keras"], "cannot write file/a.keras"),
        (["MobilNet@all", "--to", "a.keras"], "unknown candidate 'MobilNet@all'"),
        ([MOBILE, "--to", "a.keras"], f"'{MOBILE}' is ambiguous: it may be {MOBILE}@all"),
        (["scratch"], "Missing option '--to'"),
    ],
)
def test_requests_that_mean_nothing_are_one_line(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "file").write_text("mine")
    assert expected in refused(swept, *words)
    assert {path.name for path in tmp_path.rglob("*")} == {"folder.keras", "file"}


def test_a_folder_without_results_is_refused_without_a_framework(tmp_path: Path) -> None:
    script = "import sys; sys.modules['keras'] = None; from backbench.cli.main import main; main()"
    for words, expected in (
        (["export", str(tmp_path), "--to", "a.keras"], "holds no results"),
        (["predict", str(tmp_path / "a.keras"), "b.jpg"], "a.keras is not there"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert expected in line
