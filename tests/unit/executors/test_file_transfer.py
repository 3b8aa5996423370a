"""Files on their way between machines: whole or not at all, once, and under their own names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backbench.backbones import parse_backbones
from backbench.core.backbone import Weights
from backbench.core.errors import UnavailableError
from backbench.executors.ray import file_transfer
from backbench.executors.ray.file_transfer import FileChunk, FileServer, fetch, pieces, put_down

CONTENT = bytes(range(256)) * 10
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_a_shelf_gives_a_file_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_transfer, "BLOCK", 1000)
    (tmp_path / "file").write_bytes(CONTENT)
    shelf = FileServer()
    assert shelf.digest(tmp_path / "file") == DIGEST
    assert [shelf.read(tmp_path / "file", offset) for offset in (0, 1000, 2000, 2560)] == [
        CONTENT[:1000], CONTENT[1000:2000], CONTENT[2000:], b"",
    ]  # fmt: skip


def test_a_file_comes_once_and_again_when_it_was_damaged(tmp_path: Path) -> None:
    target = tmp_path / "pixels" / "file.npy"
    assert fetch(target, sha256=DIGEST, blocks=iter([CONTENT[:7], CONTENT[7:]]))
    assert target.read_bytes() == CONTENT
    assert not fetch(target, sha256=DIGEST, blocks=iter([b"never read"]))
    target.write_bytes(b"damaged")
    assert fetch(target, sha256=DIGEST, blocks=iter([CONTENT]))
    assert target.read_bytes() == CONTENT


def test_other_bytes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="came to this node with other bytes"):
        fetch(tmp_path / "file", sha256=DIGEST, blocks=iter([CONTENT[:-1]]))
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_what_a_job_leaves_comes_back_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_transfer, "PIECE", 1000)
    (tmp_path / ".cell.npz").write_bytes(CONTENT)
    back = tmp_path / "back"
    back.mkdir()
    (back / ".cell.npz").write_bytes(b"of an attempt that was lost" * 1000)
    for piece in pieces(tmp_path / ".cell.npz", "model"):
        put_down(piece, back)
    assert (back / ".cell.npz").read_bytes() == CONTENT


def test_of_a_log_the_end_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_transfer, "LOG_BYTES", 10)
    (tmp_path / "000.log").write_bytes(b"long ago, and the reason")
    assert list(pieces(tmp_path / "000.log", "log")) == [FileChunk("log", "000.log", 0, b"the reason")]


@pytest.mark.parametrize("name", ["../table.csv", "/etc/passwd", "cells/a.json"])
def test_a_piece_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a file"):
        put_down(FileChunk("log", name, 0, b"x"), tmp_path / "logs")


def test_weights_that_are_gone_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (backbone,) = parse_backbones("MobileNet:alpha=0.25")
    assert backbone is not None
    there = tmp_path / "models" / backbone.file_name
    there.parent.mkdir()
    there.write_bytes(CONTENT)
    gone = Weights(tmp_path / "gone.onnx", "onnx", DIGEST, "wheel")
    found = FileServer().weights(backbone, gone, tmp_path)
    assert (found.path, found.format, found.digest) == (there, "h5", DIGEST)
    with pytest.raises(UnavailableError, match="is gone: run again"):
        FileServer().weights(backbone, Weights(gone.path, "onnx", "0" * 64, "wheel"), tmp_path)
