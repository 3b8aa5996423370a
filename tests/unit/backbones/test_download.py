import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backbench.backbones.weights.download import (
    ContentError,
    DownloadError,
    HostUnreachableError,
    IncompleteError,
    download,
    file_digest,
)
from backbench.core.errors import UnavailableError

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Host:
    """What the server does next, and the requests that it got: one `Range` header, or None, each."""

    content: bytes = CONTENT
    ranges: list[str | None] = field(default_factory=list)
    break_after: int | None = None
    ignore_range: bool = False
    status: int | None = None
    wait: float = 0.0
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/weights.h5"


@pytest.fixture
def host() -> Iterator[Host]:
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            state.released.wait(state.wait)
            if state.status is not None:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not state.ignore_range else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            self.wfile.write(state.content[start : state.break_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.h5"


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


@pytest.mark.parametrize("digest", [MD5, SHA256, None])
def test_whole_file_arrives_with_progress(host: Host, target: Path, digest: str | None) -> None:
    seen: list[tuple[int, int | None]] = []
    assert download(host.url, target, digest=digest, progress=lambda done, total: seen.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_finished_file_is_not_asked_for_again(host: Host, target: Path) -> None:
    download(host.url, target, digest=MD5)
    download(host.url, target, digest=MD5)
    assert host.ranges == [None]


def test_damaged_file_is_set_aside_and_replaced(host: Host, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    download(host.url, target, digest=MD5)
    assert target.read_bytes() == CONTENT
    assert target.with_name(f"{target.name}.damaged").read_bytes() == CONTENT[:-1]


def test_refused_port_is_an_unreachable_host(target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(HostUnreachableError, match=r"^127\.0\.0\.1 cannot be reached: connection refused$") as raised:
        download(f"http://127.0.0.1:{port}/weights.h5", target, digest=MD5)
    assert raised.value.host == "127.0.0.1"
    assert isinstance(raised.value, UnavailableError)
    assert not target.exists()


def test_unknown_name_is_an_unreachable_host(target: Path) -> None:
    with pytest.raises(HostUnreachableError, match="its name cannot be resolved"):
        download("http://no-such-host.invalid/weights.h5", target)


def test_silent_server_times_out(host: Host, target: Path) -> None:
    host.wait = 30
    begun = time.monotonic()
    with pytest.raises(HostUnreachableError, match=r"no answer within 0\.3 s"):
        download(host.url, target, digest=MD5, timeout=0.3)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("status", "unreachable"), [(404, False), (403, False), (500, False), (502, True), (503, True)]
)
def test_status_tells_a_missing_file_from_a_gateway(host: Host, target: Path, status: int, unreachable: bool) -> None:
    host.status = status
    with pytest.raises(DownloadError, match=f"answered {status}") as raised:
        download(host.url, target, digest=MD5)
    assert isinstance(raised.value, HostUnreachableError) is unreachable


def test_cut_off_half_way_is_continued_by_the_next_call(host: Host, target: Path) -> None:
    host.break_after = 100_000
    with pytest.raises(IncompleteError, match=r"broke off after 100,000 of 307,200 bytes .* run again to continue"):
        download(host.url, target, digest=SHA256)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:100_000]

    host.break_after = None
    seen: list[tuple[int, int | None]] = []
    download(host.url, target, digest=SHA256, progress=lambda done, total: seen.append((done, total)))
    assert host.ranges == [None, "bytes=100000-"]
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert seen[0][0] > 100_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_server_that_ignores_the_range_is_read_from_the_start(host: Host, target: Path) -> None:
    host.break_after = 100_000
    with pytest.raises(IncompleteError):
        download(host.url, target, digest=MD5)
    host.break_after, host.ignore_range = None, True
    download(host.url, target, digest=MD5)
    assert host.ranges == [None, "bytes=100000-"]
    assert target.read_bytes() == CONTENT


def test_without_a_digest_nothing_is_continued(host: Host, target: Path) -> None:
    host.break_after = 100_000
    with pytest.raises(IncompleteError):
        download(host.url, target)
    host.break_after = None
    download(host.url, target)
    assert host.ranges == [None, None]
    assert target.read_bytes() == CONTENT


def test_part_that_is_complete_needs_no_request(host: Host, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    download(host.url, target, digest=MD5)
    assert host.ranges == []
    assert target.read_bytes() == CONTENT


def test_part_that_is_too_long_is_fetched_anew(host: Host, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"more")
    download(host.url, target, digest=MD5)
    assert host.ranges == [f"bytes={len(CONTENT) + 4}-", None]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("expected", "algorithm"), [("0" * 32, "md5"), ("0" * 64, "sha256")])
def test_wrong_digest_is_thrown_away_and_said(host: Host, target: Path, expected: str, algorithm: str) -> None:
    came = hashlib.new(algorithm, CONTENT).hexdigest()
    with pytest.raises(ContentError, match=f"came with {algorithm} {came} where {expected} was published") as raised:
        download(host.url, target, digest=expected)
    assert not isinstance(raised.value, HostUnreachableError)
    assert not target.exists()
    assert not part_of(target).exists()


def test_wrong_content_without_a_digest_is_thrown_away(host: Host, target: Path) -> None:
    host.content = b"<html>Please sign in</html>"
    with pytest.raises(ContentError, match="did not answer with a weights file"):
        download(host.url, target, valid=lambda path: path.read_bytes().startswith(b"\x89HDF"))
    assert not target.exists()


def test_only_http_is_asked(target: Path, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="is no http or https address"):
        download((tmp_path / "local").as_uri(), target)


def test_folder_that_cannot_be_written_is_one_line(host: Host, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match="cannot write"):
        download(host.url, tmp_path / "models" / "weights.h5")


def test_two_processes_fetch_once(host: Host, target: Path) -> None:
    host.wait = 1.5  # long enough for both to be at it
    code = (
        "import sys; from pathlib import Path; from backbench.backbones.weights.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]), digest=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, host.url, str(target), SHA256]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [("", 0)] * 2
    assert host.ranges == [None]
    assert target.read_bytes() == CONTENT


def test_file_digest_takes_its_algorithm_from_the_length(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"abc")
    assert file_digest(target, "0" * 32) == "900150983cd24fb0d6963f7d28e17f72"
    assert file_digest(target, "0" * 64) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
