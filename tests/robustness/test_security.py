"""What docs/security.md promises and a test can hold: of the source as it is written, and of files made to do harm."""

from __future__ import annotations

import ast
import json
import marshal
import re
import ssl
import subprocess
import sys
import threading
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest

import backbench
from backbench.backbones import APPLICATIONS
from backbench.backbones.weights.download import DownloadError, HostUnreachableError, download
from backbench.backbones.weights.package_wheels import MIRRORS
from backbench.core.errors import RequestError
from backbench.evaluation.classifier import load

SOURCE = Path(backbench.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the source: its file, what is called, and the call."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(SOURCE).as_posix(), ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """The value of a keyword that is written out."""
    found = [argument.value for argument in call.keywords if argument.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_arrays_are_read_and_written_without_pickle() -> None:
    arrays = [(where, what, call) for where, what, call in calls() if re.fullmatch(r"np\.(load|savez?\w*)", what)]
    assert len(arrays) >= 8
    for where, what, call in arrays:
        assert keyword(call, "allow_pickle") is False, f"{where}: {what} at line {call.lineno}"


def test_models_are_loaded_in_safe_mode() -> None:
    loads = [call for _, what, call in calls() if what.endswith("load_model")]
    assert loads
    assert all(keyword(call, "safe_mode") is True for call in loads)


def test_nothing_that_runs_what_it_reads() -> None:
    modules = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "runpy", "code"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = modules & {name.partition(".")[0] for name in names}
            assert found <= ({"runpy"} if path.name == "subprocesses.py" else set()), path.name
    named = [call.args[0] for _, what, call in calls() if what == "subprocesses.run"]
    assert sorted(ast.unparse(name) for name in named) == ["'backbench.evaluation.inference_cost'", "'pip'"]
    forbidden = re.compile(
        r"eval|exec|compile|__import__|os\.system|os\.popen|yaml\.\w*load|pd\.read_pickle|torch\.load"
        r"|.*\.(extract|extractall|unpack_archive|enable_unsafe_deserialization|_create_unverified_context)"
    )
    assert [(where, what) for where, what, _ in calls() if forbidden.fullmatch(what)] == []


def test_no_check_of_a_host_is_turned_off() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for off in ("CERT_NONE", "check_hostname", "verify=False", "--trusted-host", "unverified", "trust_remote_code"):
            assert off not in text, f"{path.name}: {off}"


def test_programs_are_started_without_a_shell_and_ours_without_the_users_folder() -> None:
    started = [(where, call) for where, what, call in calls() if what.startswith("subprocess.")]
    assert {where for where, _ in started} == {"core/subprocesses.py", "features/device.py", "results/run_record.py"}
    assert all(keyword(call, "shell") is None for _, call in started)
    lists = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.List)]
    ours = [[ast.unparse(part) for part in node.elts] for node in lists if "sys.executable" in ast.unparse(node)]
    assert len(ours) == 2
    assert all(words[1] == "'-P'" for words in ours)


def test_published_weights_come_over_tls_and_all_but_two_have_a_digest() -> None:
    assert all(backbone.weights_url.startswith("https://") for backbone in APPLICATIONS)
    without = {backbone.name for backbone in APPLICATIONS if not backbone.weights_hash}
    assert without == {"MobileNet", "MobileNetV2"}  # Keras publishes none: docs/security.md says so
    assert all(len(mirror.sha256) == len(mirror.tensors) == 64 for mirror in MIRRORS.values())


CODE = "(lambda x: (__import__('pathlib').Path({mark!r}).touch(), x)[1])"


def poisoned(path: Path, mark: Path) -> Path:
    """A Keras model with a Lambda layer whose code leaves a mark when it is run."""
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x, output_shape=(3,))(inputs)).save(path)
    code = b64encode(marshal.dumps(eval(CODE.format(mark=str(mark))).__code__)).decode()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        files["config.json"] = re.sub(
            rb'"code": "[^"]*"', b'"code": ' + json.dumps(code).encode(), files["config.json"]
        )
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_code_inside_a_model_is_not_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    model = poisoned(tmp_path / name, mark)
    with pytest.raises(RequestError, match="cannot be loaded as a Keras model"):
        load(model)
    renamed = model.rename(tmp_path / "other.keras")
    with pytest.raises(RequestError, match="cannot be loaded as a Keras model"):
        load(renamed)
    if name.endswith(".keras"):  # else this would prove nothing
        keras.saving.load_model(renamed, compile=False, safe_mode=False)(np.zeros((1, 3), np.float32))
        assert mark.exists()
    else:
        assert not mark.exists()


class Answers(BaseHTTPRequestHandler):
    """Sends on to `location` from /on, and has a file at every other path."""

    location = ""

    def do_GET(self) -> None:
        if self.path == "/on":
            self.send_response(302)
            self.send_header("Location", self.location)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"weights")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine that nobody has signed, with its key."""
    made = tmp_path / "host.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
    ]
    words += [str(made), "-out", str(made) + ".crt", "-days", "2", "-subj", "/CN=backbench", "-addext"]
    try:
        subprocess.run([*words, "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not there to make a certificate")
    made.write_bytes(made.read_bytes() + Path(str(made) + ".crt").read_bytes())
    return made


@pytest.fixture
def hosts(certificate: Path) -> Iterator[tuple[str, str]]:
    """Addresses of two hosts: one with that certificate, one without encryption."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secure, plain = (ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answers,), {})) for _ in range(2))
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in (secure, plain)]
    for thread in threads:
        thread.start()
    addresses = f"https://127.0.0.1:{secure.server_port}", f"http://127.0.0.1:{plain.server_port}"
    secure.RequestHandlerClass.location = f"{addresses[1]}/file"  # type: ignore[attr-defined]
    plain.RequestHandlerClass.location = "ftp://127.0.0.1/file"  # type: ignore[attr-defined]
    yield addresses
    for server, thread in zip((secure, plain), threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_host_that_cannot_prove_who_it_is_is_not_talked_to(hosts: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(HostUnreachableError, match="certificate is not trusted here"):
        download(f"{hosts[0]}/file", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_a_verified_host_cannot_send_on_to_an_unverified_one(
    hosts: tuple[str, str], certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    assert download(f"{hosts[0]}/file", tmp_path / "got").read_bytes() == b"weights"
    with pytest.raises(DownloadError, match=rf"leads on to {hosts[1]}/file, which is not https"):
        download(f"{hosts[0]}/on", tmp_path / "other")
    with pytest.raises(DownloadError, match=r"leads on to ftp://127\.0\.0\.1/file, which is not http or https"):
        download(f"{hosts[1]}/on", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_modules_beside_the_images_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs `backbench` inside an unpacked archive runs nothing of it."""
    mark = tmp_path / "ran"
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("pip", "keras", "numpy", "PIL", "multiprocessing", "pickle", "struct", "backbench"):
        (photos / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    command = Path(sys.executable).with_name("backbench")
    if not command.is_file():
        pytest.skip("the command is not installed")
    done = subprocess.run(
        [str(command), "sweep", "--dataset", ".", "--out", str(tmp_path / "out")],
        cwd=photos, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "holds no images" in done.stderr
    assert not mark.exists()
    program = tmp_path / "command.py"
    program.write_text(
        "import multiprocessing, sys\n"
        "from backbench.cli.errors import plainly\n"
        "from backbench.executors.local import _without_main\n"
        "if __name__ == '__main__':\n"
        "    plainly(lambda: None)()\n"
        "    process = multiprocessing.get_context('spawn').Process(target=print)\n"
        "    with _without_main():\n"
        "        process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], cwd=photos, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not mark.exists()
