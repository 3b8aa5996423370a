"""The cache keeps to its size: what was used longest ago goes, what a process reads stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backbench.core.cache import evict, hold, let_go, letting_go, limit_bytes
from backbench.core.errors import RequestError


def entry(root: Path, name: str, *, used: int, size: int = 100) -> Path:
    """A data file with its note, `size` bytes together."""
    path = root / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * (size - 10))
    path.with_suffix(".json").write_bytes(b"n" * 10)
    for each in (path, path.with_suffix(".json")):
        os.utime(each, (used, used))
    return path


def left(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))


def test_what_was_used_longest_ago_goes_with_its_note_until_the_rest_fits(tmp_path: Path) -> None:
    entry(tmp_path, "features/b", used=200)
    entry(tmp_path, "pixels/a", used=100)
    entry(tmp_path, "converted/c", used=300)
    assert evict(tmp_path, 300) == []
    assert evict(tmp_path, 299) == [tmp_path / "pixels/a"]
    assert left(tmp_path) == ["converted/c.json", "converted/c.npy", "features/b.json", "features/b.npy"]
    assert evict(tmp_path, 0) == [tmp_path / "features/b", tmp_path / "converted/c"]
    assert left(tmp_path) == []


def test_an_entry_is_as_young_as_its_youngest_file(tmp_path: Path) -> None:
    old = entry(tmp_path, "features/a", used=100)
    entry(tmp_path, "features/b", used=200)
    os.utime(old.with_suffix(".json"), (300, 300))
    assert evict(tmp_path, 100) == [tmp_path / "features/b"]


def test_what_was_set_aside_goes_too(tmp_path: Path) -> None:
    path = entry(tmp_path, "pixels/a", used=100)
    path.replace(path.with_name("a.npy.damaged"))
    assert evict(tmp_path, 50) == [tmp_path / "pixels/a"]
    assert left(tmp_path) == []


def test_weights_and_files_that_are_being_written_are_no_part_of_it(tmp_path: Path) -> None:
    entry(tmp_path, "weights/VGG16", used=1)
    entry(tmp_path, "pixels/.a.npy.x7", used=1)
    assert evict(tmp_path, 0) == []
    assert len(left(tmp_path)) == 4


def test_to_hold_an_entry_is_to_use_it(tmp_path: Path) -> None:
    first = entry(tmp_path, "features/a", used=100)
    entry(tmp_path, "features/b", used=200)
    with letting_go():
        hold(first)
    assert evict(tmp_path, 100) == [tmp_path / "features/b"]


def test_what_is_held_stays_whatever_the_limit_until_it_is_let_go(tmp_path: Path) -> None:
    held = entry(tmp_path, "pixels/a", used=100)
    entry(tmp_path, "pixels/b", used=200)
    with letting_go():
        hold(held)
        assert evict(tmp_path, 0) == [tmp_path / "pixels/b"]
    assert evict(tmp_path, 0) == [tmp_path / "pixels/a"]


def test_one_file_can_be_let_go_before_the_others(tmp_path: Path) -> None:
    first, second = entry(tmp_path, "pixels/a", used=100), entry(tmp_path, "pixels/b", used=200)
    with letting_go():
        for path in (first, first, second):
            hold(path)
        let_go(first)
        assert evict(tmp_path, 0) == [tmp_path / "pixels/a"]


def test_what_another_process_reads_stays_until_it_has_ended_however_that_was(tmp_path: Path) -> None:
    held = entry(tmp_path, "pixels/a", used=100)
    code = "import sys\nfrom pathlib import Path\nfrom backbench.core.cache import hold\nhold(Path(sys.argv[1]))\n"
    reader = subprocess.Popen(
        [sys.executable, "-c", f"{code}print('ready', flush=True)\nsys.stdin.read()", str(held)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    assert evict(tmp_path, 0) == []
    reader.kill()
    reader.communicate()
    assert evict(tmp_path, 0) == [tmp_path / "pixels/a"]


def test_to_hold_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    hold(tmp_path / "nothing")
    assert evict(tmp_path / "no cache", 0) == []


def test_the_limit_is_fifty_gb_or_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKBENCH_CACHE_LIMIT", raising=False)
    assert limit_bytes() == 50e9
    monkeypatch.setenv("BACKBENCH_CACHE_LIMIT", "0.5")
    assert limit_bytes() == 5e8
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("BACKBENCH_CACHE_LIMIT", wrong)
        with pytest.raises(RequestError, match="is no size"):
            limit_bytes()
