"""Sweeps on a real cluster of two nodes, each with a cache of its own here: the same cells, come what may."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.manual_clock import ManualClock
from support.planned_jobs import cells_of
from support.scripted_work import LAST_WORD, Script

import backbench
from backbench import sweep
from backbench.core.cells import Status
from backbench.core.errors import RequestError
from backbench.core.events import CellFinished, CellStarted, Event, Progress, Summary
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors.ray import cluster as ray_cluster
from backbench.executors.retry import OUT_OF_TIME, Attempt, JobFailure
from backbench.results import store
from backbench.sweep import plan

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
pytest.importorskip("ray", reason="Ray is not installed: make test-cluster installs it")

TIMES = ["latency_ms", "throughput_ips", "peak_mem_mb", "fit_seconds", "wall_seconds"]
MOBILE = "MobileNet:alpha=0.25"


@dataclass(frozen=True)
class Machines:
    """Two nodes: the driver's, which stays, and another. `folder` has their caches, called `near` and `far`."""

    cluster: Any
    folder: Path

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, name: str, **environment: str) -> Any:
        """One more node of one core, with a cache and a Keras home of its own."""
        environment = {
            "BACKBENCH_CACHE": str(self.folder / name),
            "KERAS_HOME": str(self.folder / f"{name}-keras"),
            **environment,
        }
        return self.cluster.add_node(num_cpus=1, object_store_memory=80 << 20, env_vars=environment)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    from ray.cluster_utils import Cluster

    tests, source = Path(__file__).parents[1], Path(backbench.__file__).parent.parent
    paths = [str(source), str(tests), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = Machines(Cluster(), tmp_path_factory.mktemp("machines"))
        found.add("near")
        found.add("far")
        yield found
        for node in [*found.cluster.worker_nodes, found.cluster.head_node]:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Request]:
    """Three cells of two jobs, one with pretrained weights where there are any."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "weights"
    weights = sorted(shared.glob("mobilenet_2_5_224*.h5"))
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("keras")
        (home / "models").mkdir()
        for path in weights:
            shutil.copy(path, home / "models")
        patch.setenv("KERAS_HOME", str(home))
        patch.setenv("BACKBENCH_CACHE", str(tmp_path_factory.mktemp("driver")))
        yield Request(
            backbones=f"{MOBILE},scratch", freeze="all,all-1", weights="imagenet" if weights else "none", limit=20,
            image_size=32, epochs=1, engine="keras", precision="float32", mirrors=False, keep_models="all",
            images=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def locally(request_of: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    assert sweep.run(replace(request_of, out=out)).counts == {"ok": 3}
    return out


@pytest.fixture
def job(machines: Machines, tmp_path: Path) -> Job:
    """One job of four cells, with pixels that are only on the driver's machine."""
    listing = plan.listing_for(Request(limit=10), progress=lambda *_: None)
    request = Request(backbones="scratch", seeds=4, limit=10, image_size=16)
    dataset, pixels = plan.dataset_for(request, listing, cache=tmp_path, progress=lambda *_: None)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (found,) = plan.jobs_for(request, dataset, resolved=resolved, cache=tmp_path)
    return found.with_resources(pixels=pixels).owing(cells_of(found))


# Long enough for a node to be lost, or to hear of what others take over, before a job is over.
SLOWLY = Script(seconds=0.25)


def same(one: Path, other: Path, files: int = 6) -> None:
    """Tables, predictions, heads and trained weights are equal, value for value."""
    tables = [store.read_table(out).drop(columns=TIMES) for out in (one, other)]
    pd.testing.assert_frame_equal(*tables)
    found = sorted(path.relative_to(one) for path in one.glob("[phm]*/*.npz"))
    assert found == sorted(path.relative_to(other) for path in other.glob("[phm]*/*.npz"))
    assert len(found) >= files
    for name in found:
        with np.load(one / name) as ours, np.load(other / name) as theirs:
            assert ours.files == theirs.files
            for array in ours.files:
                np.testing.assert_array_equal(ours[array], theirs[array], err_msg=f"{name} {array}")


def test_the_table_is_the_local_one(machines: Machines, request_of: Request, locally: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = sweep.run(replace(request_of, out=out, executor="ray", ray_address=machines.address))
    assert outcome.counts == {"ok": 3}
    same(locally, out)
    shipped = {path.parent.parent.name for path in machines.folder.glob("*/pixels/*.npy")}
    assert shipped == {"near", "far"}, "two jobs of a node's cores each ran on two nodes, whose caches were empty"
    assert len(list((out / "logs").glob("*.log"))) == 2
    assert list(machines.folder.glob("*/jobs/.*")) == [], "nothing of a job stays on its node"


def test_a_budget_is_spent_on_a_cluster_too(
    machines: Machines, request_of: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = replace(request_of, seeds=2, epochs=3, budget="5m", out=out, executor="ray", ray_address=machines.address)
    outcome = sweep.run(asked)
    assert set(outcome.counts) <= {"ok", "pruned"}
    cells = store.read_cells(out)
    assert len(cells) == 1 + 2 + 2
    assert {cell.status for cell in cells if cell.row.freeze == "all"} == {"ok"}, "a probe is cheap"
    tried = [cell for cell in cells if "trial" in cell.trace]
    assert tried, "what is trained was tried for its first epochs"
    assert all(len(cell.trace["trial"]["items"]) == 20 for cell in tried), "with a value for each image of val"
    assert json.loads((out / "run.json").read_text())["forecast"]
    said = capsys.readouterr()
    assert "budget: " in said.out + said.err


def test_a_killed_sweep_goes_on_where_it_was(
    machines: Machines, request_of: Request, locally: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = replace(request_of, out=out, executor="ray", ray_address=machines.address, workers=1)
    imports = "from pathlib import *\nfrom backbench import sweep\nfrom backbench.core.request import *\n"
    program = f"{imports}sweep.run({asked!r})"
    killed = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    wait_until(lambda: list((out / "cells").glob("*.json")) or killed.poll() is not None)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 1 <= len(store.read_cells(out)) < 3, "it was killed in the middle"
    outcome = sweep.run(replace(asked, workers=None))
    assert outcome.already >= 1
    assert outcome.counts == {"ok": 3}
    same(locally, out)


def test_a_lost_node_loses_nothing_and_doubles_nothing(machines: Machines, job: Job, tmp_path: Path) -> None:
    drafts = tmp_path / "models"
    jobs = [(place, job.with_resources(drafts=drafts)) for place in range(3)]
    lost = machines.add("lost")
    heard: list[tuple[int, Event | JobFailure]] = []
    for place, event in ray_cluster.run(jobs, logs=tmp_path / "logs", address=machines.address, work=SLOWLY):
        heard.append((place, event))
        if lost and isinstance(event, CellFinished) and event.cell.row["cache"] == "lost":
            machines.cluster.remove_node(lost, allow_graceful=False)
            lost = None
    assert lost is None, "one of three jobs ran on the third node"
    finished = [(place, event.cell.cell_id) for place, event in heard if isinstance(event, CellFinished)]
    assert sorted(finished) == sorted((place, cell) for place in range(3) for cell in job.cells or ())
    assert [event for _, event in heard if isinstance(event, JobFailure)] == []
    assert sorted(place for place, event in heard if isinstance(event, Summary)) == [0, 1, 2]
    for cell in job.cells or ():
        assert (drafts / f".{cell}.npz").read_bytes() == cell.encode() * 1000
    logs = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in logs] == ["000-scratch.log", "001-scratch.log", "002-scratch.log"]
    assert {path.read_text() for path in logs} == {f"{LAST_WORD}\n"}


def test_a_task_that_always_dies_is_a_failed_job_and_the_others_go_on(
    machines: Machines, job: Job, tmp_path: Path
) -> None:
    first, *others = cells_of(job)
    jobs = [(0, job.owing((first,))), (1, job.owing(tuple(others)))]
    deadly = Script(at_once={first: "the worker is killed"})
    heard = list(ray_cluster.run(jobs, logs=tmp_path, address=machines.address, work=deadly))
    assert [event for place, event in heard if place == 0] == [
        JobFailure(Status.FAILED, "given up after 3 attempts: the worker that it ran in died")
    ]
    kinds = [type(event) for place, event in heard if place == 1]
    assert kinds == [Progress, *[CellStarted, Progress, CellFinished] * 3, Summary]


def test_a_node_without_a_job_takes_over_cells_of_another(
    machines: Machines, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = job.with_spec(seeds=12, epochs=10**6).owing(None)  # so much work that it is worth a process of its own
    attempts: set[int] = set()
    start = ray_cluster._Cluster.start

    def starting(self: Any, position: int, attempt: Attempt, *others: Any) -> None:
        attempts.add(attempt.number)
        start(self, position, attempt, *others)

    monkeypatch.setattr(ray_cluster._Cluster, "start", starting)
    slowly = Script(seconds=2.0)
    heard = [event for _, event in ray_cluster.run([(0, long)], logs=tmp_path, address=machines.address, work=slowly)]
    assert attempts == {1}, "who gave cells away left them out, and did not have to begin anew"
    cells = [event.cell for event in heard if isinstance(event, CellFinished)]
    assert sorted(cell.cell_id for cell in cells) == sorted(cells_of(long))
    assert {cell.row["cache"] for cell in cells} == {"near", "far"}
    assert [type(event) for event in heard if isinstance(event, Summary | JobFailure)] == [Summary]
    assert isinstance(heard[-1], Summary)


def test_at_the_deadline_all_is_stopped(machines: Machines, job: Job, tmp_path: Path) -> None:
    """Time is over with the first cell, however long the cluster took to get there."""
    clock, heard = ManualClock(), []
    first, *others = cells_of(job)
    endless = Script(dict.fromkeys(others, "sleeps"))
    running = ray_cluster.run(
        [(0, job)], logs=tmp_path, address=machines.address, deadline=2000.0, work=endless, clock=clock
    )
    for _, event in running:
        if isinstance(event, CellFinished):
            clock.now = 2000.0
        heard.append(event)
    assert [event.cell.cell_id for event in heard if isinstance(event, CellFinished)] == [first]
    assert heard[-1] == OUT_OF_TIME
    assert not any(isinstance(event, Summary) for event in heard)


def test_a_node_with_another_backbench_is_refused(machines: Machines, job: Job, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(Path(backbench.__file__).parent, other / "backbench")
    with (other / "backbench" / "analysis" / "metrics.py").open("a") as stream:
        stream.write("# other numbers\n")
    node = machines.add("other", PYTHONPATH=os.pathsep.join([str(other), os.environ["PYTHONPATH"]]))
    try:
        with pytest.raises(
            RequestError, match=r"the node \S+ has its source \w{12} and the sweep's machine \w{12}: num"
        ):
            list(ray_cluster.run([(0, job)], logs=tmp_path, address=machines.address))
    finally:
        machines.cluster.remove_node(node, allow_graceful=False)


def wait_until(true: Any, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
