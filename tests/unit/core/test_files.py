"""Files come to stand whole, and as shareable as any other of their user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backbench.core.cache import cache_root
from backbench.core.files import write_text

WRITING = "import os, sys\nfrom pathlib import Path\nos.umask(int(sys.argv[2], 8))\n" + (
    "from backbench.core.files import write_text\nwrite_text(Path(sys.argv[1]), 'text')\n"
)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
@pytest.mark.parametrize(("mask", "mode"), [("002", 0o664), ("022", 0o644), ("027", 0o640), ("077", 0o600)])
def test_files_are_readable_by_whom_the_user_lets_read(tmp_path: Path, mask: str, mode: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", WRITING, str(tmp_path / "file"), mask], env=environment, check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which nobody may make files")
def test_an_error_names_the_file_that_was_to_be_written_and_not_its_temporary_name() -> None:
    with pytest.raises(OSError, match=r"'/proc/table\.csv'$"):
        write_text(Path("/proc/table.csv"), "text")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_cache_root_is_the_users_cache_folder_or_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_root() == Path("/home/somebody/.cache/backbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache_root() == Path("/var/caches/backbench")
    monkeypatch.setenv("BACKBENCH_CACHE", "~/fast")
    assert cache_root() == Path("/home/somebody/fast")
