"""Sweeps under a budget, with made-up networks and a clock of their own: what is measured, and why the rest is not."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from msgspec import UNSET
from support.planned_jobs import planned

from backbench import executors, sweep
from backbench.budget import cost_model, online_cost_model, successive_halving
from backbench.budget.history import past
from backbench.budget.protocol import Measurement
from backbench.cli.main import main
from backbench.core.backbone import Weights
from backbench.core.cells import PlannedCell, planned_cells
from backbench.core.errors import RequestError
from backbench.core.events import CellFinished, Event, Summary
from backbench.core.job import FULL, Effort, Job, Schedule, Screening
from backbench.core.request import Request
from backbench.evaluation.cell_results import finished, tried
from backbench.evaluation.fine_tuning import Trained
from backbench.evaluation.lr_selection import Epoch, LearningRateRun
from backbench.evaluation.workload import workload_of
from backbench.executors.retry import OUT_OF_TIME, JobFailure
from backbench.report import build
from backbench.results import store
from backbench.sweep import budgeted, controller, options
from backbench.sweep.progress import Bar
from backbench.sweep.summary import SweepSummary

# Scores of the networks' probes; training adds to them.
WORTH = {"MobileNetV2": 0.7, "MobileNet": 0.6, "Xception": 0.3, "VGG16": 0.2, "ResNet50": 0.15, "DenseNet121": 0.1}
# Seconds of a job's start, and of a FLOP of what is as quick as a large product; networks are as much slower as is
# usual for their kind.
START, RATE = 2.0, 2.25e-12
EPOCHS = 9


@dataclass
class Machine:
    """Runs jobs in no time by a clock that it sets itself; `log` has what each job was asked for.

    After so many cells it is interrupted once, should it be told to.
    """

    now: float = 100.0
    log: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    cut_off_after: int | None = None

    def sweep(self, request: Request) -> SweepSummary:
        """A sweep by this machine and its clock."""
        return sweep.run(request, executor=self.run, clock=lambda: self.now)

    def run(
        self,
        jobs: Iterable[tuple[int, Job] | None],
        *,
        logs: Path,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[tuple[int, Event | JobFailure]]:
        for position, job in filter(None, jobs):
            cells = [cell for cell in planned_cells(job.spec) if cell.cell_id in (job.cells or ())]
            self.log.append((job.label, kind_of(job.effort), tuple(f"{cell.freeze}#{cell.seed}" for cell in cells)))
            alone = workload_of(job.with_effort(FULL), [cell.cell_id for cell in cells])
            training = workload_of(job, [cell.cell_id for cell in cells]).training
            rate = RATE * cost_model.usual("frozen", job)
            passed = rate * alone.frozen
            self.now += START + passed
            if job.label in self.broken:
                yield position, JobFailure("failed", self.broken[job.label])
                continue
            trained = 0.0
            for cell in cells:
                seconds = (
                    online_cost_model.STARTING + rate * training[cell.cell_id] if cell.cell_id in training else 0.0
                )
                if deadline is not None and self.now + seconds > deadline:
                    self.now = deadline
                    yield position, OUT_OF_TIME
                    break
                self.now += seconds
                trained += seconds
                if self.cut_off_after == 0:
                    self.cut_off_after = None
                    raise KeyboardInterrupt
                self.cut_off_after = self.cut_off_after and self.cut_off_after - 1
                yield position, with_weights(job, outcome(job, cell))
            else:
                spent = {
                    "frozen pass": passed,
                    "fine-tuning": trained,
                    "starting": online_cost_model.STARTING * len(training),
                }
                yield position, Summary(job.label, spent, {"device": "made up"})


def kind_of(effort: Effort) -> str:
    if isinstance(effort, Screening):
        return "screening"
    return "whole" if effort.complete else f"{effort.epochs} epochs"


def with_weights(job: Job, found: CellFinished) -> CellFinished:
    if job.resources.drafts is None or found.cell.row.freeze == "all":
        return found
    job.resources.drafts.mkdir(exist_ok=True, parents=True)
    (path := job.resources.drafts / found.cell.cell_id).write_bytes(b"made up")
    return replace(found, model=path)


def outcome(job: Job, cell: PlannedCell) -> CellFinished:
    worth = WORTH.get(job.label, 0.05)
    depth = int(cell.freeze[4:]) if cell.freeze.startswith("all-") else 0
    share = 1.0 if job.effort.complete else 0.8
    score = min(0.97, (worth + 0.05 * depth + 0.01 * cell.seed) * share)
    data = job.spec.dataset
    if isinstance(job.effort, Screening):
        train = data.indices("train")
        right = np.arange(len(train)) < score * len(train)
        return tried(job.spec, cell, right.astype(float), effort=job.effort, seconds=1.0)
    if not job.effort.complete:
        items = np.full(len(data.indices("val")), np.log(score))
        return tried(job.spec, cell, items, effort=job.effort, seconds=1.0)
    found = {}
    for name in ("train", "val", "test"):
        labels = data.labels[data.indices(name)]
        probabilities = np.full((len(labels), 10), 0.01, np.float32)
        said = np.where(np.arange(len(labels)) < score * len(labels), labels, (labels + 1) % 10)
        probabilities[np.arange(len(labels)), said] = 0.91
        found[name] = probabilities
    row = {"fit_seconds": 9.0, "wall_seconds": 10.0, "params": 1000, "flops": 1000, "latency_ms": 1.0}
    curve = tuple(Epoch(epoch, 1.0, score, 1.0, score * part) for epoch, part in ((1, 0.8), (2, 1.0)))
    trace = {"training": Trained(Epoch(0, None, 0.1, 2.0, 0.1), (LearningRateRun(1e-3, curve),), 0).trace()}
    return finished(job.spec, cell, found, row=row, trace={} if cell.freeze == "all" else trace)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Machine:
    made = Machine()
    monkeypatch.setattr(successive_halving, "FEW", 0)  # these datasets are small
    monkeypatch.setattr(cost_model, "_product", lambda: 2e11)  # whatever else this CPU is doing now
    monkeypatch.setattr(build, "write_report", lambda *_, **__: None)
    weights = Weights(None, "h5", "0" * 64, "made up")
    supply = SimpleNamespace(waiting_for=lambda _: False, get=lambda _: weights, quiet=lambda _: None)
    monkeypatch.setattr(controller, "WeightsPrefetcher", lambda *_, **__: supply)
    return made


def request(out: Path, **asked: Any) -> Request:
    settings: dict[str, Any] = {
        "backbones": ",".join(WORTH), "freeze": "all,all-1,all-2", "seeds": 3, "limit": 200, "image_size": 75,
        "epochs": EPOCHS, "engine": "keras", "precision": "float32", "out": out,
    }  # fmt: skip
    return Request(**{**settings, **asked})


def by_status(out: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for cell in store.read_cells(out):
        name = f"{cell.row.backbone}@{cell.row.freeze}#{cell.row.seed}"
        found.setdefault(cell.status, set()).add(name)
    return found


def test_with_time_for_all_the_search_measures_the_best_and_drops_who_is_surely_behind(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = machine.sweep(request(tmp_path / "r", budget="2h"))
    assert outcome.complete
    assert outcome.counts == {"ok": 6 + 6, "pruned": 6 * 7 - 12}
    found = by_status(tmp_path / "r")
    # A third of six networks is tried; of each depth the better one goes on, and a third of the eight that are done.
    assert {name for name in found["ok"] if "@all#" not in name} == {
        f"MobileNetV2@{freeze}#{seed}" for freeze in ("all-1", "all-2") for seed in range(3)
    }
    kinds = [kind for _, kind, _ in machine.log]
    assert kinds[:6] == ["whole"] * 6
    assert ("MobileNet", "2 epochs", ("all-1#0", "all-2#0")) in machine.log
    said = capsys.readouterr().out
    assert "cells pruned: its frozen probe" in said
    assert "MobileNet @ all-1: tried for 2 epochs, score 0.5" in said


def test_a_pruned_cell_says_at_which_rung_with_which_score_and_why(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="2h"))
    cells = {(cell.row.backbone, cell.row.freeze, cell.row.seed): cell for cell in store.read_cells(tmp_path / "r")}
    behind = cells["MobileNet", "all-1", 0]
    assert behind.status == "pruned"
    assert behind.reason == (
        "a trial among all-1: score 0.520, the last that went on has score 0.600; tried for 2 epochs, score 0.520"
    )
    assert len(behind.trace["trial"]["items"]) == 179
    assert behind.row.selection_score is UNSET
    assert cells["VGG16", "all-2", 2].reason.startswith("its frozen probe: score ")


@pytest.mark.parametrize("seconds", [20, 45, 70, 100, 150])
def test_a_budget_is_kept_and_something_is_measured(machine: Machine, tmp_path: Path, seconds: int) -> None:
    began = machine.now
    outcome = machine.sweep(request(tmp_path / "r", budget=f"{seconds}s"))
    assert machine.now - began <= seconds
    assert outcome.counts["ok"] >= 1
    assert sum(outcome.counts.values()) == 6 * 7
    assert outcome.complete


def test_a_job_that_cannot_end_in_time_is_not_started(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="40s"))
    stopped = [entry for entry in machine.log if machine.now >= 100 + 40 - budgeted.FOR_THE_PAGE]
    assert not stopped  # the clock never came to the deadline, at which the machine would have stood still


@pytest.mark.parametrize(("late", "measured"), [(0.07, True), (0.2, False)])
def test_what_was_to_end_in_time_may_be_a_little_late(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: float, measured: bool
) -> None:
    """The last job takes longer than it was said to, by so much of the budget; nothing but it would have fitted."""
    (job,) = planned(backbones="MobileNetV2", freeze="all", limit=200, image_size=75)
    passed = (
        RATE
        * cost_model.usual("frozen", job)
        * workload_of(job, [cell.cell_id for cell in planned_cells(job.spec)]).frozen
    )
    monkeypatch.setitem(globals(), "START", 20 - budgeted.FOR_THE_PAGE + 20 * late - passed)
    outcome = machine.sweep(request(tmp_path / "r", backbones="MobileNetV2", freeze="all", budget="20s"))
    assert outcome.counts == ({"ok": 1} if measured else {"pruned": 1})
    assert machine.now - 100 <= 20 * (1 + budgeted.LATE)


def test_a_larger_budget_goes_on_from_what_is_there(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="60s"))
    first, before = by_status(tmp_path / "r"), len(machine.log)
    machine.sweep(request(tmp_path / "r", budget="2h"))
    assert first["ok"] < by_status(tmp_path / "r")["ok"]
    done = {(label, kind, cells) for label, kind, cells in machine.log[:before]}
    assert not done & set(machine.log[before:])  # nothing is measured or tried twice


def test_a_budget_that_reaches_nothing_leaves_everything_as_it_was(machine: Machine, tmp_path: Path) -> None:
    """Without the weights at hand, cells are still known for what they are."""
    machine.sweep(request(tmp_path / "r", budget="150s"))
    first, tries = by_status(tmp_path / "r"), _trials(tmp_path / "r")
    assert tries
    outcome = machine.sweep(request(tmp_path / "r", budget="1s"))
    assert by_status(tmp_path / "r") == first
    assert outcome.counts == {status: len(names) for status, names in first.items()}
    assert _trials(tmp_path / "r") == tries
    assert len(store.read_cells(tmp_path / "r")) == 6 * 7  # no row twice


def test_a_trial_of_a_search_that_was_cut_off_says_so(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(job: Job, found: CellFinished) -> CellFinished:
        if not job.effort.complete and found.cell.row.freeze == "all-2":
            raise KeyboardInterrupt
        return found

    monkeypatch.setitem(globals(), "with_weights", cut_off)
    with pytest.raises(KeyboardInterrupt):
        machine.sweep(request(tmp_path / "r", budget="2h"))
    (tried_one,) = [cell for cell in store.read_cells(tmp_path / "r") if cell.status == "pruned"]
    assert tried_one.reason == "the search was cut off; tried for 2 epochs, score 0.600"


def test_what_was_screened_is_not_screened_again(machine: Machine, tmp_path: Path) -> None:
    asked = request(tmp_path / "r", backbones=",".join([*WORTH, "ResNet101", "ResNet152", "DenseNet169"]))
    machine.sweep(replace(asked, budget="100s"))
    first = [entry for entry in machine.log if entry[1] == "screening"]
    assert first
    machine.log.clear()
    machine.sweep(replace(asked, budget="2h"))
    assert not set(first) & set(machine.log)


def test_what_is_measured_and_only_lacks_its_weights_is_not_pruned(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", keep_models="none"))
    outcome = machine.sweep(request(tmp_path / "r", keep_models="all", budget="40s"))
    assert by_status(tmp_path / "r").keys() == {"ok"}
    assert outcome.counts == {"ok": 6 * 7}


def _trials(out: Path) -> dict[str, Any]:
    return {cell.cell_id: cell.trace["trial"] for cell in store.read_cells(out) if "trial" in cell.trace}


@pytest.mark.parametrize("cells", [8, 13])
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(machine: Machine, tmp_path: Path, cells: int) -> None:
    machine.sweep(request(tmp_path / "whole", budget="2h"))
    machine.cut_off_after = cells
    with pytest.raises(KeyboardInterrupt):
        machine.sweep(request(tmp_path / "r", budget="2h"))
    machine.sweep(request(tmp_path / "r", budget="2h"))
    found, expected = (
        {cell.key: (cell.status, cell.reason) for cell in store.read_cells(tmp_path / name)} for name in ("r", "whole")
    )
    assert found == expected


def test_without_a_budget_what_was_pruned_is_measured(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="60s"))
    outcome = machine.sweep(request(tmp_path / "r"))
    assert outcome.counts == {"ok": 6 * 7}
    assert by_status(tmp_path / "r").keys() == {"ok"}


def test_a_share_is_of_what_everything_would_take(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.sweep(request(tmp_path / "whole"))
    full = machine.now - 100
    began = machine.now
    machine.sweep(request(tmp_path / "r", budget="0.1"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("budget: ")]
    minutes, seconds = re.search(r"of (?:(\d+) min )?([\d.]+) s;", line).groups(default="0")  # type: ignore[union-attr]
    allowed = 60 * int(minutes) + float(seconds)
    assert 0.5 * allowed < machine.now - began <= allowed
    assert allowed == pytest.approx(0.1 * full, rel=0.25)  # after a few of the jobs the rest is known this well


def test_a_job_that_fails_is_said_and_not_tried_for_ever(machine: Machine, tmp_path: Path) -> None:
    machine.broken["MobileNet"] = "made to fail"
    outcome = machine.sweep(request(tmp_path / "r", budget="2h"))
    assert not outcome.complete
    found = by_status(tmp_path / "r")
    assert found["failed"] == {"MobileNet@all#0"}
    assert sum(label == "MobileNet" for label, _, _ in machine.log) == 1
    assert "MobileNetV2@all-2#0" in found["ok"]
    reasons = {cell.reason for cell in store.read_cells(tmp_path / "r") if cell.row.backbone == "MobileNet"}
    assert reasons == {"made to fail", "its frozen probe failed"}


def test_what_failed_before_and_was_not_come_to_stays_failed(machine: Machine, tmp_path: Path) -> None:
    asked = request(tmp_path / "r", backbones="MobileNetV2,MobileNet", freeze="all")
    machine.broken["MobileNet"] = "made to fail"
    machine.sweep(asked)
    outcome = machine.sweep(replace(asked, budget="1s"))
    assert outcome.counts == {"ok": 1, "failed": 1}
    assert not outcome.complete
    assert {cell.reason for cell in store.read_cells(tmp_path / "r")} == {"", "made to fail"}


def test_trained_weights_that_are_beaten_go_when_the_search_is_over(machine: Machine, tmp_path: Path) -> None:
    outcome = machine.sweep(request(tmp_path / "r", budget="2h"))
    assert outcome.counts["ok"] == 12
    best = next(
        cell.cell_id
        for cell in store.read_cells(tmp_path / "r")
        if (cell.row.freeze, cell.row.seed, cell.status) == ("all-2", 2, "ok")
    )
    assert store.models(tmp_path / "r") == {best}


def test_a_depth_that_a_network_lacks_is_skipped_even_where_its_job_never_ran(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="20s", freeze="all,all-99"))
    assert len(by_status(tmp_path / "r")["skipped"]) == 6 * 3


def test_many_networks_are_screened_on_images_of_train(machine: Machine, tmp_path: Path) -> None:
    names = [*WORTH, "ResNet101", "ResNet152", "DenseNet169"]
    machine.sweep(request(tmp_path / "r", budget="2h", backbones=",".join(names), freeze="all"))
    assert [kind for _, kind, _ in machine.log[:9]] == ["screening"] * 9
    found = by_status(tmp_path / "r")
    assert "MobileNetV2@all#0" in found["ok"]
    assert "ResNet152@all#0" in found["pruned"]
    cells = {cell.row.backbone: cell for cell in store.read_cells(tmp_path / "r")}
    assert cells["ResNet152"].reason.startswith("screened: 4.5% right, the last that went on has ")
    assert "images of train right when left out" in cells["ResNet152"].reason


def test_the_forecast_and_its_error_are_in_the_record(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="2h"))
    error = json.loads((tmp_path / "r" / "run.json").read_text())["forecast"]
    assert error["jobs"] == len(machine.log)
    assert error["taken"] == pytest.approx(machine.now - 100)


def test_the_record_has_the_budget_in_its_command(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="2h"))
    assert "--budget 2h" in store.read_run(tmp_path / "r").command


@pytest.mark.parametrize("budget", ["soon", "0", "-1", "1.5", "0s", "nan", ""])
def test_what_is_no_budget_is_refused_in_one_line(budget: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="neither a duration nor a share"):
        options.check(request(tmp_path, budget=budget))


def test_budgets_are_durations_or_shares() -> None:
    asked = Request()
    assert options.budget_of(asked) is None
    assert options.budget_of(replace(asked, budget="1.5h")) == options.Budget(seconds=5400)
    assert options.budget_of(replace(asked, budget="0.25")) == options.Budget(share=0.25)


def test_the_command_says_what_was_spent(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "chosen", lambda *_: machine.run)
    words = [
        "sweep",
        "--backbones",
        "MobileNetV2,MobileNet",
        "--limit",
        "40",
        "--image-size",
        "75",
        "--engine",
        "keras",
    ]
    found = CliRunner().invoke(main, [*words, "--budget", "1h", "--out", str(tmp_path / "r")])
    assert found.exit_code == 0, found.output
    assert "of 1 h" in found.stdout
    assert "cells measured" in found.stdout


def test_what_measured_everything_can_be_replayed(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", backbones="MobileNetV2,MobileNet,Xception"))
    found = CliRunner().invoke(main, ["replay", str(tmp_path / "r"), "--draws", "2"])
    assert found.exit_code == 0, found.output
    # Nine candidates, 3 probes and 18 trained cells, each of which says that it took 10 s.
    assert found.stdout.splitlines()[0].startswith("digits: 9 candidates, 3 min 30 s in all; 2 replays")
    replayed = pd.read_csv(tmp_path / "r" / "replay.csv")
    assert len(replayed) == 2 * 8 * 2
    assert set(replayed.loc[replayed["budget"] == 1.0, "chosen"]) == {"MobileNetV2@all-2"}
    assert (tmp_path / "r" / "plots" / "replay.png").read_bytes()[:4] == b"\x89PNG"
    assert "successive halving" in (tmp_path / "r" / "plots" / "replay.svg").read_text()


def test_a_past_is_what_the_cells_say(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", backbones="MobileNetV2", seeds=2))
    known = past(tmp_path / "r")
    assert [(arm.label, len(arm.cells), arm.epochs) for arm in sorted(known.arms, key=lambda arm: arm.label)] == [
        ("MobileNetV2@all", 1, 0), ("MobileNetV2@all-1", 2, EPOCHS), ("MobileNetV2@all-2", 2, EPOCHS),
    ]  # fmt: skip
    assert known.total == pytest.approx(5 * 10)
    assert known.shared == {"MobileNetV2": pytest.approx(5 * 1)}
    arm = next(arm for arm in known.arms if arm.freeze == "all-1")
    assert known.test[arm] == pytest.approx((0.75 + 0.76) / 2)
    for cell in store.read_cells(tmp_path / "r"):
        assert np.exp(known.final[cell.cell_id].mean()) == pytest.approx(cell.row.selection_score)


def test_a_past_has_the_trials_of_a_search_that_came_before(machine: Machine, tmp_path: Path) -> None:
    machine.sweep(request(tmp_path / "r", budget="10m", seeds=1))
    machine.sweep(request(tmp_path / "r", seeds=1))
    known = past(tmp_path / "r")
    assert {epochs for _, epochs in known.tried} == {2}
    # Two networks at two depths, 0.05 better for each stage that is trained; a trial comes to four fifths of that.
    shown = sorted(float(np.exp(values.mean())) for values in known.tried.values())
    assert shown == pytest.approx([0.8 * score for score in (0.65, 0.7, 0.75, 0.8)], rel=1e-3)
    for (cell, epochs), values in known.tried.items():
        (arm,) = (arm for arm in known.arms if cell in arm.cells)
        assert known.seen(Measurement(arm, cell, Schedule(epochs=epochs))) is values


def test_what_was_measured_without_a_search_needs_no_trial(machine: Machine, tmp_path: Path) -> None:
    asked = {"backbones": "MobileNetV2,MobileNet", "seeds": 1}
    machine.sweep(request(tmp_path / "r", **asked))
    machine.log.clear()
    outcome = machine.sweep(request(tmp_path / "r", budget="10m", **{**asked, "seeds": 2}))
    assert outcome.counts["ok"] >= 6
    assert not [label for label, kind, _ in machine.log if kind != "whole"]
    assert ("MobileNetV2", "whole") in {(label, kind) for label, kind, _ in machine.log}, "the other seeds of the best"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"budget": "60s"}, "was measured under a budget"),
        ({"backbones": "MobileNetV2", "freeze": "all"}, "has 1 finished candidates"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_one_line(
    machine: Machine, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    machine.sweep(request(tmp_path / "r", **asked))
    found = CliRunner().invoke(main, ["replay", str(tmp_path / "r")])
    assert found.exit_code == 2
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_the_bar_shows_what_is_spent_of_a_budget_and_never_more_than_all() -> None:
    shown, spent = [], [0.0, 0.25, 0.5, 1.2]
    with Bar(2, visible=True) as bar:
        bar.follow(lambda: spent[len(shown)])
        for _ in spent:
            bar.end(0)
            shown.append(bar._bar.n)
    assert shown == [0.0, 0.5, 1.0, 2.0]
