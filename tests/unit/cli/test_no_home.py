"""A user without a home folder: no HOME, and an id that the system's list of users does not have, as in a container."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from backbench.backbones import keras_cache
from backbench.core.cache import cache_root, provide_home
from backbench.core.errors import RequestError
from backbench.data import results_name

# Python runs it at the start of every process, those that a sweep starts among them.
UNKNOWN_USER = """
import pwd

def getpwuid(uid):
    raise KeyError(uid)

pwd.getpwuid = getpwuid
"""
SOURCE = Path(__file__).parent.parent / "src"


def unknown(_: object) -> None:
    raise KeyError


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "BACKBENCH_CACHE", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def backbench(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line as this user has it, in the empty folder `folder / "here"`."""
    (folder / "python").mkdir()
    (folder / "here").mkdir()
    (folder / "python" / "sitecustomize.py").write_text(UNKNOWN_USER)
    paths = os.pathsep.join([str(folder / "python"), str(SOURCE)])
    return subprocess.run(
        [sys.executable, "-m", "backbench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder / "here",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": paths, **variables},
    )


@pytest.mark.parametrize("command", [["backbones"], ["fetch"], ["sweep"], ["sweep", "--plan"]], ids=" ".join)
def test_command_that_needs_a_cache_says_which_variable_to_set(tmp_path: Path, command: list[str]) -> None:
    done = backbench(tmp_path, *command)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "no home folder" in line
    assert "set BACKBENCH_CACHE" in line
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("names", [["BACKBENCH_CACHE"], ["XDG_CACHE_HOME"], ["BACKBENCH_CACHE", "KERAS_HOME"]], ids=str)
def test_plan_needs_one_folder(tmp_path: Path, names: list[str]) -> None:
    done = backbench(tmp_path, "sweep", "--plan", **{name: str(tmp_path / name) for name in names})
    assert (done.returncode, done.stderr) == (0, "")
    assert "MobileNetV2" in done.stdout
    assert list((tmp_path / "here").iterdir()) == []


def test_sweep_and_the_processes_that_it_starts_need_one_folder(tmp_path: Path) -> None:
    words = ("--backbones", "scratch", "--limit", "30", "--epochs", "1", "--out", str(tmp_path / "out"))
    done = backbench(tmp_path, "sweep", *words, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "atplotlib" not in done.stderr
    assert (tmp_path / "out" / "leaderboard.html").is_file()
    assert (tmp_path / "cache" / "backbench" / "pixels").is_dir()
    assert (tmp_path / "cache" / "backbench" / ".keras").is_dir(), "Keras had its home folder in the cache"
    assert list((tmp_path / "here").iterdir()) == [], "no library wrote into a folder that is called ~"


@pytest.mark.usefixtures("no_home")
def test_cache_root_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="BACKBENCH_CACHE nor XDG_CACHE_HOME"):
        cache_root()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "backbench"
    monkeypatch.setenv("BACKBENCH_CACHE", "~/cache")
    with pytest.raises(RequestError, match="BACKBENCH_CACHE=~/cache"):
        cache_root()
    monkeypatch.setenv("BACKBENCH_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"


@pytest.mark.usefixtures("no_home")
def test_keras_cache_without_a_home_folder_is_that_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert keras_cache() == Path("/tmp/.keras/models")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_cache() == tmp_path / "models"


@pytest.mark.usefixtures("no_home")
def test_home_is_the_cache_folder_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "")  # monkeypatch puts back what is set now
    del os.environ["HOME"]
    provide_home()
    assert "HOME" not in os.environ
    monkeypatch.setenv("BACKBENCH_CACHE", str(tmp_path / "cache"))
    provide_home()
    assert os.environ["HOME"] == str(tmp_path / "cache")
    assert keras_cache() == tmp_path / "cache" / ".keras" / "models"
    monkeypatch.setenv("BACKBENCH_CACHE", str(tmp_path / "other"))
    provide_home()
    assert os.environ["HOME"] == str(tmp_path / "cache"), "a home folder that is there stays"


@pytest.mark.usefixtures("no_home")
def test_dataset_below_an_unknown_home_folder_has_a_name() -> None:
    assert results_name("~/photos") == "photos"
