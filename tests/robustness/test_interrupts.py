"""Commands that are stopped, and two of them at once: real processes from a cold start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.kill_campaign import differences
from support.kill_harness import command

from backbench.results import integrity, store

pytestmark = pytest.mark.slow


def start(out: Path, cache: Path, **changed: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(out, **changed),
        env={**os.environ, "BACKBENCH_CACHE": str(cache)},
        start_new_session=True,
        # As a terminal leaves it: whoever runs the tests in the background may have it ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(pattern: str, folder: Path, running: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if list(folder.glob(pattern)):
            return
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not come")


def alive(group: int) -> list[str]:
    """Processes of a group, without those that have ended and wait to be asked how."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.parametrize(("sent", "to_all"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_sweep_that_is_stopped_ends_within_seconds_and_keeps_what_was_finished(
    tmp_path: Path, sent: signal.Signals, to_all: bool
) -> None:
    """As a job scheduler does it, and as a terminal does."""
    running = start(tmp_path / "out", tmp_path / "cache")
    wait_for("cells/[!.]*.json", tmp_path / "out", running)
    began = time.monotonic()
    if to_all:
        os.killpg(running.pid, sent)
    else:
        running.send_signal(sent)
    _, said = running.communicate(timeout=120)
    assert time.monotonic() - began < 30
    assert running.returncode == 130
    assert said.strip() == "backbench: stopped; what was finished is stored, the same command goes on from there"
    gone = time.monotonic() + 10
    while left := alive(running.pid):
        assert time.monotonic() < gone, left
        time.sleep(0.05)
    table = store.read_table(tmp_path / "out")
    assert table["status"].tolist() == ["ok"] * len(table)
    assert {finding.what for finding in integrity.look_at(tmp_path / "out")} <= {"leaderboard.html"}
    again = start(tmp_path / "out", tmp_path / "cache")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0
    assert f"{len(table)} of 3 cells were already there" in said
    assert integrity.look_at(tmp_path / "out") == []


def test_two_sweeps_share_a_cache_and_a_third_is_kept_out_of_a_folder(tmp_path: Path) -> None:
    two = [start(tmp_path / name, tmp_path / "cache") for name in ("a", "b")]
    wait_for("run.json", tmp_path / "a", two[0])
    third = start(tmp_path / "a", tmp_path / "cache")
    _, said = third.communicate(timeout=300)
    assert third.returncode == 2
    assert said.startswith(f"backbench: another sweep is writing to {tmp_path / 'a'}: wait for it, or choose another")
    for running in two:
        _, said = running.communicate(timeout=300)
        assert running.returncode == 0, said
    assert differences(tmp_path / "a", tmp_path / "b") == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_disk_without_room_for_the_cache_is_said_in_one_line(tmp_path: Path) -> None:
    limited = ["prlimit", "--fsize=50000", *command(tmp_path / "out")]
    environment = {**os.environ, "BACKBENCH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(limited, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"backbench: the cache {tmp_path / 'cache/pixels'} cannot be written (File too large)")
    assert not (tmp_path / "out/cells").exists()
