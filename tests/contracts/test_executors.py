"""Which executor does the work, and what is said where it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backbench import __version__, executors
from backbench.cli.main import main
from backbench.core.errors import RequestError
from backbench.core.request import Request
from backbench.executors import local
from backbench.executors.ray import session as ray_session


def test_the_default_is_this_machine_with_as_many_workers_as_it_has_gpus_for() -> None:
    run = executors.chosen(Request(), [])
    assert isinstance(run, partial)
    assert (run.func, run.keywords) == (local.run, {"workers": None})


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def find(name: str, *others: Any) -> Any:
        return None if name == "ray" else there(name, *others)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.usefixtures("without_ray")
def test_without_ray_one_line_names_what_to_install_and_nothing_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sweep", "--executor", "ray", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr == (
        'backbench: --executor ray needs Ray, which is not installed here: pip install "backbench[ray]" on every'
        " machine of the cluster, or use --executor local\n"
    )
    assert not (tmp_path / "out").exists()


def test_workers_of_a_cluster_do_not_import_from_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ray_session._elsewhere():
        assert Path.cwd() != tmp_path
        assert not list(Path.cwd().glob("*.py"))
    assert Path.cwd() == tmp_path


def test_versions_are_known_in_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    from backbench.executors.ray import node as ray_node

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = ray_node.versions.__wrapped__()
    assert found["backbench"] == __version__
    assert found["keras"] == "none"


def test_a_ray_client_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with (
        pytest.raises(RequestError, match=r"ray://head:10001 is that of a Ray Client"),
        ray_session.connected("ray://head:10001"),
    ):
        pass
