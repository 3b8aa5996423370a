"""Processes of ours: what they say, and that they end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbench.core import subprocesses


def with_module(folder: Path, code: str) -> dict[str, str]:
    """An environment in which the module `guest` is this code."""
    (folder / "guest.py").write_text(code)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def test_a_module_runs_as_it_does_with_m(tmp_path: Path) -> None:
    code = "import sys\nprint(__name__, sys.argv[1:])\nprint('and', file=sys.stderr)\nsys.exit(7)\n"
    done = subprocesses.run("guest", ["--to", "x y"], timeout=60, environment=with_module(tmp_path, code))
    assert (done.returncode, done.stdout, done.stderr) == (7, "__main__ ['--to', 'x y']\n", "and\n")


def test_the_folder_where_the_user_is_has_no_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guest.py").write_text("print('somebody else was here')")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocesses.run("guest", [], timeout=60, environment=environment)
    assert done.returncode == 1
    assert "No module named guest" in done.stderr
    assert done.stdout == ""


def test_a_module_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        subprocesses.run("guest", [], timeout=0.5, environment=with_module(tmp_path, "import time\ntime.sleep(600)\n"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    code = "import os, sys, time\nprint(os.getpid(), file=open(sys.argv[1], 'w'), flush=True)\ntime.sleep(600)\n"
    starting = (
        "import os, sys\nfrom backbench.core import subprocesses\n"
        "subprocesses.run('guest', [sys.argv[1]], timeout=600, environment=os.environ)\n"
    )
    noted = tmp_path / "pid"
    words = [sys.executable, "-c", starting, str(noted)]
    parent = subprocess.Popen(words, env=with_module(tmp_path, code))
    until = time.monotonic() + 60
    while not (noted.exists() and noted.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.05)
    command = Path(f"/proc/{noted.read_text().strip()}/cmdline")
    assert command.read_bytes()
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while command.exists() and command.read_bytes():  # nothing to read once it has ended
        assert time.monotonic() < until
        time.sleep(0.05)
