"""Learning rates of one cell by several workers: which cells are cut, and that they come to the cell of one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.planned_jobs import cells_of, planned

from backbench.core.cells import Cell, part_of
from backbench.core.cells import cells_to_measure as cells_wanted
from backbench.core.events import CellFinished, Event, Message, Scored
from backbench.core.job import Job
from backbench.core.job import Trial as Tried
from backbench.evaluation.lr_selection import Epoch, LearningRateRun
from backbench.evaluation.workload import workload_of
from backbench.executors.ray import lr_splits
from backbench.executors.ray.lr_splits import longest_first
from backbench.executors.ray.work_stealing import Parts
from backbench.executors.retry import Attempt, JobFailure


@pytest.fixture(scope="module")
def job() -> Job:
    """Five cells of the small CNN on a few real digits."""
    (job,) = planned(limit=20, seeds=5, image_size=16, backbones="scratch")
    return replace(job, wanted=cells_of(job))


def part(cell: str, rate: int, *scores: float, model: Path | None = None) -> CellFinished:
    """What becomes of one learning rate, by its scores; none where it diverges at once."""
    name = part_of(cell, rate)
    curve = tuple(Epoch(n, 1.0, score, 1.0, score) for n, score in enumerate(scores, 1))
    trial = LearningRateRun((3e-4, 1e-3, 1e-4)[rate], curve, "all epochs" if curve else "diverged")
    row = {"cell_id": name, "status": "ok" if curve else "failed", "test_acc": max(scores, default=0.0)}
    if not curve:
        return CellFinished(Cell(name, "failed", "it diverged", {}, row, {"diverged": [trial.trace()]}))
    row |= {"fit_seconds": 10.0, "wall_seconds": 12.0}
    best = scores.index(max(scores)) + 1
    training = {"start": {"epoch": 0}, "trials": [trial.trace()], "chosen": 0, "best_epoch": best}
    said = f"reason {rate}"
    return CellFinished(
        Cell(name, "ok", said, {"of": cell}, row, {"training": training}), {"p": np.ones(rate)}, {}, model
    )


def test_a_cell_whose_learning_rates_were_apart_is_told_once_as_if_they_had_raced(tmp_path: Path, job: Job) -> None:
    files = [tmp_path / f"{rate}.npz" for rate in range(3)]
    for file in files:
        file.touch()
    scores = [(0.3, 0.6, 0.6), (0.2, 0.5, 0.9), (0.3, 0.7, 0.4)]
    first, second, third = (part("abc", rate, *scores[rate], model=files[rate]) for rate in range(3))
    book, attempt = Parts(), Attempt(job)
    book.begin(4)
    assert book.tell(4, attempt, [third]) == []
    assert book.tell(5, attempt, [part("abc", 0, 0.1)]) == [], "of another job, of another dataset maybe"
    assert book.tell(4, attempt, [first, Message("said")]) == [Message("said")]
    (whole,) = book.tell(4, attempt, [second])
    assert isinstance(whole, CellFinished)
    assert (whole.cell.cell_id, whole.cell.reason, whole.cell.identity) == ("abc", "reason 2", {"of": "abc"})
    assert whole.cell.row == {
        "cell_id": "abc", "status": "ok", "test_acc": 0.7, "fit_seconds": 30.0, "wall_seconds": 36.0,
    }  # fmt: skip
    training = whole.cell.trace["training"]
    assert (training["chosen"], training["best_epoch"], training["start"]) == (2, 2, {"epoch": 0})
    told = [(trial["rate"], len(trial["curve"]), trial["ended"]) for trial in training["trials"]]
    # The second would have been better in the end, but a race does not wait for that.
    assert told == [(3e-4, 3, "all epochs"), (1e-3, 2, "behind"), (1e-4, 3, "all epochs")]
    assert len(whole.predictions["p"]) == 2
    assert whole.model == files[2]
    assert [file.exists() for file in files] == [False, False, True], "trained weights that did not win are let go"


def test_a_learning_rate_that_diverges_does_not_stand_in_the_way(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    parts = [part("abc", 0), part("abc", 1), part("abc", 2, 0.4)]
    (whole,) = [told for each in parts for told in book.tell(0, attempt, [each])]
    assert isinstance(whole, CellFinished)
    assert whole.cell.status == "ok"
    assert whole.cell.trace["training"]["chosen"] == 2
    assert [trial["ended"] for trial in whole.cell.trace["training"]["trials"]] == [
        "diverged",
        "diverged",
        "all epochs",
    ]
    (none,) = [told for rate in range(3) for told in book.tell(0, attempt, [part("xyz", rate)])]
    assert isinstance(none, CellFinished)
    assert (none.cell.cell_id, none.cell.row["cell_id"]) == ("xyz", "xyz")
    assert (none.cell.status, none.cell.reason) == ("failed", "it diverged")
    assert [trial["rate"] for trial in none.cell.trace["diverged"]] == [3e-4, 1e-3, 1e-4]


def test_a_learning_rate_that_breaks_breaks_its_cell_once(tmp_path: Path, job: Job) -> None:
    book, attempt = Parts(), Attempt(replace(job, wanted=("abc.1", "xyz")))
    book.begin(0)
    book.begin(0)
    file = tmp_path / "model.npz"
    file.touch()
    assert book.tell(0, attempt, [part("abc", 0, 0.4, model=file)]) == []
    broken = JobFailure("failed", "killed")
    assert book.tell(0, attempt, [broken]) == [replace(broken, cells=("abc", "xyz"))]
    assert not file.exists()
    assert book.tell(0, attempt, [replace(broken, cells=("abc.2",))]) == []
    assert book.tell(0, attempt, [part("abc", 2, 0.5)]) == []


def test_a_learning_rate_that_failed_fails_its_cell_at_once(tmp_path: Path, job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    file = tmp_path / "model.npz"
    file.touch()
    assert book.tell(0, attempt, [part("abc", 0, 0.4, model=file)]) == []
    bad = CellFinished(Cell("abc.1", "failed", "predictions hold NaN", {}, {"cell_id": "abc.1", "status": "failed"}))
    (whole,) = book.tell(0, attempt, [bad])
    assert isinstance(whole, CellFinished)
    assert (whole.cell.cell_id, whole.cell.status, whole.cell.reason) == ("abc", "failed", "predictions hold NaN")
    assert not file.exists()
    assert (0, "abc.2") in book.given_up()
    assert book.tell(0, attempt, [part("abc", 2, 0.5)]) == []


def test_who_was_given_up_does_not_win_after_another_run_of_its_rival(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    assert book.tell(0, attempt, [scored("abc", 0, 0.5, 0.6), scored("abc", 1, 0.1, 0.55)]) == []
    assert book.given_up() == [(0, "abc.1")]
    # Its node was lost, and on another the same training came to a little less.
    assert book.tell(0, attempt, [part("abc", 0, 0.5, 0.54, 0.54)]) == []
    (whole,) = book.tell(0, attempt, [part("abc", 2, 0.1)])
    assert isinstance(whole, CellFinished)
    assert (whole.cell.status, whole.cell.trace["training"]["chosen"]) == ("ok", 0)
    assert whole.predictions


def test_a_learning_rate_that_says_itself_that_it_is_behind_is_over(job: Job) -> None:
    book = Parts()
    attempt = Attempt(replace(job, wanted=("abc.1", "abc.2")), cell="abc.1")
    ended = scored("abc", 1, 0.1, 0.2)
    ended = replace(ended, trial={**ended.trial, "ended": "behind"})
    assert list(attempt.hear(ended)) == [ended]
    assert (attempt.job.wanted, attempt.cell) == (("abc.2",), None)
    assert book.tell(0, attempt, [part("abc", 0, 0.6, 0.7), ended]) == []
    assert book.given_up() == []
    (whole,) = book.tell(0, attempt, [part("abc", 2, 0.8)])
    assert isinstance(whole, CellFinished)
    trials = whole.cell.trace["training"]["trials"]
    assert [trial["ended"] for trial in trials] == ["all epochs", "behind", "all epochs"]


def test_only_what_is_a_large_part_of_a_share_is_trained_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = planned(limit=20, seeds=1, image_size=96, backbones="MobileNetV2", freeze="all,all-1,all-2")
    frozen, short, long = cells_of(job)
    training = workload_of(job, cells_of(job)).training
    assert training[short] < training[long]
    assert longest_first(job, math.inf) == (frozen, long, short)
    assert longest_first(job, 0.0) == (frozen, long, short), "each learning rate would be too little"
    monkeypatch.setattr(lr_splits, "FEW", 0.0)
    assert longest_first(job, 4 * training[short]) == (frozen, f"{long}.0", f"{long}.1", f"{long}.2", short)
    apart = replace(job, wanted=longest_first(job, 4 * training[short]))
    assert [cell.cell_id for cell in cells_wanted(apart)] == [frozen, short, f"{long}.0", f"{long}.1", f"{long}.2"]
    parts = workload_of(apart, apart.wanted or ()).training
    # Each also makes its own predictions, which the cell makes once.
    assert training[long] < sum(parts[f"{long}.{rate}"] for rate in range(3)) < 1.1 * training[long]
    everything = [frozen, *(f"{cell}.{rate}" for cell in (short, long) for rate in range(3))]
    assert sorted(longest_first(apart, 0.0)) == sorted(everything), "a part is no longer cut"
    assert longest_first(replace(job, trial=Tried(epochs=1)), 0.0) == (frozen, long, short)
    (scratch,) = planned(limit=20, seeds=2, image_size=16, backbones="scratch")
    assert sorted(longest_first(scratch, 0.0)) == sorted(cells_of(scratch))


def scored(cell: str, rate: int, *scores: float) -> Scored:
    """A learning rate that goes on."""
    (trial,) = part(cell, rate, *scores).cell.trace["training"]["trials"]
    return Scored(part_of(cell, rate), {**trial, "ended": ""}, seconds=float(len(scores)))


def test_who_is_behind_all_that_may_lead_is_given_up(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)

    def tell(*events: Event) -> tuple[list[Event | JobFailure], list[tuple[int, str]]]:
        return book.tell(9, attempt, events), book.given_up()

    assert tell(scored("abc", 2, 0.3, 0.4)) == ([], [])
    assert tell(scored("abc", 0, 0.6)) == ([], []), "one epoch is too few, and nobody knows of the second one yet"
    assert tell(scored("abc", 1, 0.1)) == ([], [])
    assert tell(scored("abc", 0, 0.6, 0.6)) == ([], []), "the second one may yet turn out to lead"
    assert tell(scored("abc", 1, 0.1, 0.2)) == ([], [(9, "abc.1"), (9, "abc.2")])
    (whole,), none = tell(part("abc", 0, 0.6, 0.6, 0.7))
    assert none == []
    assert isinstance(whole, CellFinished)
    trials = whole.cell.trace["training"]["trials"]
    assert [(len(trial["curve"]), trial["ended"]) for trial in trials] == [
        (3, "all epochs"), (2, "behind"), (2, "behind"),
    ]  # fmt: skip
    assert whole.cell.row["fit_seconds"] == 10 + 2 + 2
    assert whole.cell.row["wall_seconds"] == 12 + 2 + 2


def test_a_cell_can_be_whole_when_the_last_of_it_is_given_up(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    told = book.tell(0, attempt, [part("abc", 1), scored("abc", 2, 0.1, 0.2, 0.9), part("abc", 0, 0.6, 0.7)])
    assert book.given_up() == [(0, "abc.2")]
    (whole,) = told
    assert isinstance(whole, CellFinished)
    last = whole.cell.trace["training"]["trials"][2]
    assert ([point["score"] for point in last["curve"]], last["ended"]) == ([0.1, 0.2], "behind"), "it led too late"


def test_who_was_behind_cannot_save_another(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    assert book.tell(0, attempt, [part("abc", 0, 0.6, 0.6, 0.6), scored("abc", 1, 0.1, 0.2)]) == []
    assert book.given_up() == [(0, "abc.1")]
    (whole,) = book.tell(0, attempt, [scored("abc", 2, 0.3, 0.3)])
    assert book.given_up() == [(0, "abc.2")]
    assert isinstance(whole, CellFinished)


def test_what_is_left_of_a_broken_cell_is_given_up(job: Job) -> None:
    book, attempt = Parts(), Attempt(job)
    book.tell(0, attempt, [JobFailure("failed", "killed", cells=("abc.1", "xyz"))])
    assert book.given_up() == [(0, "abc.0"), (0, "abc.1"), (0, "abc.2")]
    assert book.given_up() == []


def one_after_the_other(trials: list[LearningRateRun]) -> tuple[list[tuple[int, str]], int]:
    """Epochs, ends and winner of a race as training runs it, epoch by epoch, each against the best before it."""
    told: list[tuple[int, str]] = []
    best, winner = -math.inf, -1
    curves: list[list[float]] = []
    for place, trial in enumerate(trials):
        scores = [point.score for point in trial.curve]
        end = len(scores), trial.ended
        for epoch in range(1, len(scores) + (trial.ended == "diverged")):
            if winner >= 0 and epoch >= 2 and max(scores[:epoch]) < max(curves[winner][:epoch]):
                end = epoch, "behind"
                break
        curves.append(scores[: end[0]])
        told.append(end)
        if curves[-1] and max(curves[-1]) > best:
            best, winner = max(curves[-1]), place
    return told, winner


def test_whoever_is_quicker_the_race_is_the_same(job: Job) -> None:
    rng = np.random.default_rng(0)
    given_up = 0
    for _ in range(500):
        parts = []
        for rate in range(3):
            scores = [float(score) for score in rng.integers(1, 8, rng.integers(0, 7)) / 8]
            ended = "diverged" if not scores or rng.random() < 0.2 else "no longer better"
            parts.append((part("abc", rate, *scores), scores, ended))
        trials = [
            LearningRateRun(
                (3e-4, 1e-3, 1e-4)[n], tuple(Epoch(e, 1.0, s, 1.0, s) for e, s in enumerate(scores, 1)), ended
            )
            for n, (_, scores, ended) in enumerate(parts)
        ]
        coming: list[list[Event]] = []
        for rate, (finished, scores, _) in enumerate(parts):
            # Who diverges later has told of every epoch before, the others of all but their last one.
            told_of = len(scores) if trials[rate].ended == "diverged" else len(scores) - 1
            ends = replace(finished, cell=replace(finished.cell, trace=dict(finished.cell.trace)))
            if scores:
                training = {**finished.cell.trace["training"], "trials": [trials[rate].trace()]}
                ends = replace(finished, cell=replace(finished.cell, trace={"training": training}))
            coming.append([*(scored("abc", rate, *scores[:epoch]) for epoch in range(1, told_of + 1)), ends])
        book, attempt, whole = Parts(), Attempt(job), list[Event | JobFailure]()
        while any(coming):
            rate = int(rng.choice([rate for rate in range(3) if coming[rate]]))
            whole += book.tell(0, attempt, [coming[rate].pop(0)])
            for _, name in book.given_up():
                given_up += 1
                coming[int(name[-1])].clear()
        (cell,) = whole
        assert isinstance(cell, CellFinished)
        expected, winner = one_after_the_other(trials)
        key = "training" if winner >= 0 else "diverged"
        found = cell.cell.trace["training"]["trials"] if winner >= 0 else cell.cell.trace[key]
        assert [(len(trial["curve"]), trial["ended"]) for trial in found] == expected
        if winner >= 0:
            assert cell.cell.trace["training"]["chosen"] == winner
            assert cell.cell.reason == f"reason {winner}", "the cell is the winner's"
    assert given_up > 100, "many were stopped before their end"
