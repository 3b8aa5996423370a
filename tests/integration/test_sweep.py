"""Whole sweeps on real images: what they leave behind, and that running them again does only what is missing."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from click.testing import CliRunner
from PIL import Image
from support.in_process import InProcess
from support.ready_jobs import when_ready

from backbench import sweep
from backbench.analysis import metrics
from backbench.cli.main import main
from backbench.core.backbone import Weights
from backbench.core.cells import PROTOCOL_VERSION, CellKey
from backbench.core.dataset import Dataset, Pixels
from backbench.core.errors import RequestError, UnavailableError
from backbench.core.events import CellFinished, Event, Message
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors.retry import JobFailure
from backbench.report import build
from backbench.results import integrity, store, thumbnails
from backbench.sweep import plan, weights_prefetch
from backbench.sweep.summary import SweepSummary

MOBILE = "MobileNetV2:alpha=0.35"
TIMES = ["latency_ms", "throughput_ips", "peak_mem_mb", "fit_seconds", "wall_seconds"]


@dataclass(frozen=True)
class Swept:
    """A finished sweep of two jobs in processes of their own."""

    request: Request
    outcome: SweepSummary
    out: Path

    @property
    def table(self) -> pd.DataFrame:
        return store.read_table(self.out)

    def row(self, backbone: str) -> dict[str, Any]:
        (row,) = self.table[self.table["backbone"] == backbone].to_dict("records")
        return row


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the whole module: pixels and features are shared, as between a user's sweeps."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BACKBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def swept(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    out = tmp_path_factory.mktemp("results") / "digits"
    request = Request(
        backbones=f"{MOBILE},scratch",
        freeze="all",
        weights="none",
        limit=60,
        image_size=32,
        epochs=1,
        out=out,
        mirrors=False,
    )
    return Swept(request, sweep.run(request), out)


@pytest.fixture
def copy(swept: Swept, tmp_path: Path) -> Swept:
    """The same results in a folder that a test may change."""
    out = tmp_path / "digits"
    shutil.copytree(swept.out, out)
    return replace(swept, request=replace(swept.request, out=out), out=out)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """An executor whose jobs run in this process, without measuring what they cost."""
    from backbench.evaluation import inference_cost

    monkeypatch.setattr(inference_cost, "speed", lambda *_, **__: inference_cost.Speed(1.0, 100.0))
    monkeypatch.setattr(inference_cost, "peak_memory", lambda *_, **__: 250.0)
    return InProcess()


def digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def cell_file(swept: Swept, backbone: str) -> Path:
    return swept.out / "cells" / f"{swept.row(backbone)['cell_id']}.json"


def test_a_sweep_ends_with_every_cell_ok(swept: Swept) -> None:
    assert swept.outcome == SweepSummary(swept.out, already=0, counts={"ok": 2})
    assert swept.outcome.complete
    assert swept.table["status"].tolist() == ["ok", "ok"]
    assert set(swept.table["backbone"]) == {MOBILE, "scratch"}


def test_a_sweep_leaves_the_documented_files(swept: Swept) -> None:
    files = set(digests(swept.out))
    mobile, scratch = (swept.row(name)["cell_id"] for name in (MOBILE, "scratch"))
    assert {"run.json", "table.csv", "table.parquet", "leaderboard.html"} <= files
    assert {name for name in files if name.startswith("cells/")} == {f"cells/{mobile}.json", f"cells/{scratch}.json"}
    assert {f"predictions/{mobile}.npz", f"predictions/{scratch}.npz", f"heads/{mobile}.npz"} <= files
    pictures = sorted(name for name in files if name.startswith("plots/"))
    assert pictures
    assert {Path(name).stem for name in pictures if name.endswith(".png")} == {
        Path(name).stem for name in pictures if name.endswith(".svg")
    }
    hidden = {name for name in files if Path(name).name.startswith(".")}
    assert hidden <= {".lock"}, "no temporary file is left"


@pytest.mark.parametrize("backbone", [MOBILE, "scratch"])
def test_the_table_says_what_the_stored_predictions_say(swept: Swept, backbone: str) -> None:
    row = swept.row(backbone)
    stored = store.read_predictions(swept.out, row["cell_id"])
    probabilities, labels = stored["test_probs"], stored["test_labels"]
    assert probabilities.shape == (60, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    test_acc = np.mean(probabilities.argmax(axis=1) == labels)
    assert row["test_acc"] == test_acc
    assert row["gap"] == row["train_acc"] - test_acc
    assert row["val_acc"] == np.mean(stored["val_probs"].argmax(axis=1) == stored["val_labels"])
    assert row["val_nll"] == metrics.nll(stored["val_probs"], stored["val_labels"])
    score = metrics.selection_score(stored["val_probs"], stored["val_labels"])
    assert row["selection_score"] == pytest.approx(score, rel=1e-5)
    assert (row["test_acc_lo"], row["test_acc_hi"]) == metrics.wilson_interval(float(test_acc), 60)
    assert row["test_top5"] == metrics.top_k_accuracy(probabilities, labels)
    assert row["test_macro_f1"] == metrics.macro_f1(probabilities, labels)
    assert row["test_nll"] == metrics.nll(probabilities, labels)
    assert row["test_ece"] == metrics.ece(probabilities, labels)


def test_both_cells_were_tested_on_the_same_items(swept: Swept) -> None:
    first, second = (store.read_predictions(swept.out, cell_id) for cell_id in swept.table["cell_id"])
    for name in ("val_ids", "test_ids", "val_labels", "test_labels"):
        np.testing.assert_array_equal(first[name], second[name])
    assert not set(first["val_ids"]) & set(first["test_ids"])
    counts = np.bincount(first["test_labels"], minlength=10)
    assert counts.min() >= 5, "the limit keeps the classes in proportion"


def test_facts_of_the_frozen_cell(swept: Swept) -> None:
    row = swept.row(MOBILE)
    assert (row["freeze"], row["weights"], row["seed"]) == ("all", "none", 0)
    assert row["freeze_depth"] == row["stages"]
    assert row["frozen_params_pct"] == 100.0
    assert row["trainable_params"] == 1280 * 10 + 10
    assert row["params"] == 410_208 + 12_810  # as Keras counts MobileNetV2 at this width, and the head
    assert row["train_acc"] > 0.9, "a linear map on 1,280 random features fits 60 images"


def test_facts_of_the_scratch_cell(swept: Swept) -> None:
    row = swept.row("scratch")
    assert (row["freeze"], row["weights"], row["freeze_depth"]) == ("none", "none", 0)
    assert row["params"] == row["trainable_params"]
    assert row["frozen_params_pct"] == 0.0


def test_every_cell_says_what_it_cost(swept: Swept) -> None:
    for row in swept.table.to_dict("records"):
        assert 0 < row["latency_ms"] < 5000
        assert row["throughput_ips"] >= 0.9 * 1000 / row["latency_ms"]
        assert 50 < row["peak_mem_mb"] < 10_000
        assert 0 < row["fit_seconds"] <= row["wall_seconds"]
        assert row["flops"] > 1e6
        assert (row["engine"], row["precision"], row["backend"]) == ("keras", "float32", "tensorflow")
        assert row["device"]


def test_run_json_says_what_was_asked_and_on_what(swept: Swept) -> None:
    run = store.read_run(swept.out)
    assert run.request["backbones"] == f"{MOBILE},scratch"
    assert run.request["limit"] == 60
    assert run.dataset.counts == {"train": 60, "val": 60, "test": 60}
    assert run.dataset.health.images == 180
    identities = [cell.identity for cell in store.read_cells(swept.out)]
    assert {identity["dataset"] for identity in identities} == {run.dataset.fingerprint}
    assert run.protocol_version == identities[0]["protocol"]
    assert {"engine", "precision", "backend"} <= set(run.resolved)
    assert {"python", "keras"} <= set(run.environment)
    assert {job.environment["backend"] for job in run.jobs} == {"tensorflow"}
    assert [job.label for job in run.jobs] == [f"{MOBILE} (random weights)", "scratch"]
    assert run.started <= run.finished


def test_the_cell_keeps_what_stands_behind_its_numbers(swept: Swept) -> None:
    cells = {cell.row.backbone: cell for cell in store.read_cells(swept.out)}
    probe = cells[MOBILE].trace["probe"]
    assert probe["path"][probe["chosen"]]["val_acc"] == cells[MOBILE].row.val_acc
    training = cells["scratch"].trace["training"]
    (trial,) = training["trials"]
    assert [epoch["epoch"] for epoch in trial["curve"]] == [1]
    assert trial["curve"][0]["score"] == cells["scratch"].row.selection_score
    assert (training["chosen"], training["epoch"]) == (0, 1)


def test_running_again_does_nothing_and_says_so(copy: Swept, ran: InProcess) -> None:
    before = digests(copy.out)
    again = sweep.run(copy.request, executor=ran)
    assert (again.already, again.counts) == (2, {"ok": 2})
    assert ran.labels == []
    assert digests(copy.out) == before


def test_the_mistakes_are_kept_as_thumbnails_of_the_decoded_images(swept: Swept, cache: Path) -> None:
    best = swept.table.sort_values("selection_score").iloc[-1]
    stored = store.read_predictions(swept.out, best["cell_id"])
    confidence = stored["test_probs"].max(axis=1)
    wrong = stored["test_probs"].argmax(axis=1) != stored["test_labels"]
    surest = str(stored["test_ids"][np.where(wrong, confidence, -1).argmax()])
    (kept,) = thumbnails.read(swept.out, [surest]).values()
    scans = sklearn.datasets.load_digits().images[int(surest.removeprefix("digit-"))]
    shown = np.asarray(Image.open(io.BytesIO(kept)).convert("L").resize((8, 8), Image.Resampling.BOX))
    assert np.corrcoef(shown.ravel(), scans.ravel())[0, 1] > 0.95
    assert base64.b64encode(kept).decode() in (swept.out / "leaderboard.html").read_text()
    assert store.read_run(swept.out).images is True


def test_private_images_are_removed_and_stay_out_until_they_are_asked_for(copy: Swept, ran: InProcess) -> None:
    def shown() -> bool:
        folder, page = (copy.out / name for name in ("thumbnails", "leaderboard.html"))
        assert folder.exists() == ("data:image" in page.read_text())
        return folder.exists()

    assert shown()
    for asked, expected in ((False, False), (None, False), (True, True), (None, True)):
        assert sweep.run(replace(copy.request, images=asked), executor=ran).counts == {"ok": 2}
        assert shown() == expected
        assert store.read_run(copy.out).images is expected
    assert ran.labels == []


def test_what_a_sweep_that_is_cut_off_still_owes_is_in_its_record_and_on_the_page(copy: Swept, ran: InProcess) -> None:
    key = CellKey(MOBILE, "none", 32, "all", 0)
    scratch = replace(key, backbone="scratch", freeze="none")
    before = store.read_run(copy.out)
    assert before.planned == (key, scratch)
    more = replace(copy.request, freeze="all,all-1", seeds=2)

    def interrupted(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        sweep.run(more, executor=interrupted)
    record = store.read_run(copy.out)
    added = [
        replace(key, seed=1),
        *(replace(key, freeze="all-1", seed=seed) for seed in (0, 1)),
        replace(scratch, seed=1),
    ]
    assert record.planned == (key, scratch, *added)
    assert len(record.command.splitlines()) == 2, "the command that goes on is on the page"
    assert (record.finished, record.jobs) == (before.finished, before.jobs)
    assert "4 of 6 cells were not measured" in build.write_report(copy.out).read_text()
    assert sweep.run(more, executor=ran).counts == {"ok": 6}
    assert "has not come to its end" not in (copy.out / "leaderboard.html").read_text()


def test_images_that_became_private_are_gone_even_where_the_sweep_is_cut_off(copy: Swept) -> None:
    def interrupted(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        raise KeyboardInterrupt
        yield

    private = replace(copy.request, images=False)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(private, executor=interrupted)
    assert not (copy.out / "leaderboard.html").exists()
    assert not (copy.out / "thumbnails").exists()
    sweep.run(replace(private, images=None))
    assert "data:image" not in (copy.out / "leaderboard.html").read_text()


def test_a_cache_that_was_emptied_meanwhile_costs_the_pictures_only(tmp_path: Path) -> None:
    dataset = Dataset(
        name="toy", source="toy", class_names=("a",), ids=("x", "y"), labels=np.zeros(2, dtype=np.int64),
        split=np.array(["train", "test"]), rows=np.array([2, 0]), fingerprint="f", health={},
    )  # fmt: skip
    images = Pixels(tmp_path / "images.npy", size=1, resize="stretch")
    assert plan.pixels_of(dataset, images, ["x"]) == {}
    np.save(images.path, np.arange(9, dtype=np.uint8).reshape(3, 1, 1, 3))
    found = plan.pixels_of(dataset, images, ["x", "renamed since"])
    assert {item: image.tolist() for item, image in found.items()} == {"x": [[[6, 7, 8]]]}


@pytest.mark.parametrize("backbone", [MOBILE, "scratch"])
def test_only_the_missing_cell_is_measured_again_and_gives_the_same_numbers(
    copy: Swept, ran: InProcess, backbone: str
) -> None:
    label = f"{MOBILE} (random weights)" if backbone == MOBILE else "scratch"
    before, expected = digests(copy.out), copy.row(backbone)
    cell_file(copy, backbone).unlink()
    again = sweep.run(copy.request, executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert ran.labels == [label]
    found = copy.row(backbone)
    for name in expected.keys() - set(TIMES):
        assert found[name] == expected[name], name
    after = digests(copy.out)
    kept = {name for name in before if name.startswith("cells/")} - {f"cells/{expected['cell_id']}.json"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert set(after) == set(before)


def test_features_are_not_computed_again(copy: Swept, ran: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from backbench.features.engines import keras_engine

    def forbidden(*_: Any) -> Iterator[Any]:
        raise AssertionError("an image went through the frozen backbone again")

    monkeypatch.setattr(keras_engine, "forward", forbidden)
    cell_file(copy, MOBILE).unlink()
    assert sweep.run(copy.request, executor=ran).counts == {"ok": 2}


def test_fresh_measures_again_and_each_seed_of_a_random_backbone_is_a_cell(copy: Swept, ran: InProcess) -> None:
    (copy.out / "notes.txt").write_text("mine")
    known = copy.row(MOBILE)
    again = sweep.run(replace(copy.request, backbones=MOBILE, seeds=2, fresh=True), executor=ran)
    assert (again.already, again.counts) == (0, {"ok": 2})
    assert ran.labels == [f"{MOBILE} (random weights)"]
    found = copy.table.set_index("seed")
    assert set(found["backbone"]) == {MOBILE}, "what was there is gone"
    assert (copy.out / "notes.txt").read_text() == "mine", "what is not ours stays"
    assert found.loc[0, "cell_id"] == known["cell_id"]
    assert found.loc[0, "test_nll"] == known["test_nll"]
    assert found.loc[1, "test_nll"] != known["test_nll"], "another seed is another network"


def test_a_depth_that_a_backbone_lacks_is_a_skipped_row_with_its_reason(copy: Swept, ran: InProcess) -> None:
    request = replace(copy.request, freeze="all,all-9")
    for _ in range(2):
        outcome = sweep.run(request, executor=ran)
        assert (outcome.already, outcome.counts) == (2, {"ok": 2, "skipped": 1})
        assert not outcome.complete
    assert ran.labels == [], "there is nothing to measure"
    (skipped,) = copy.table[copy.table["status"] == "skipped"].to_dict("records")
    assert (skipped["backbone"], skipped["freeze"], skipped["freeze_depth"]) == (MOBILE, "all-9", 0)
    assert f"{MOBILE} has 5 stages" in skipped["reason"]
    assert len(copy.table) == 3


def test_what_a_job_has_to_say_is_printed(copy: Swept, capsys: pytest.CaptureFixture[str]) -> None:
    def telling(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        for position, _job in when_ready(jobs):
            yield position, Message("this takes up to 90 min")
            yield position, JobFailure("failed", "and then it broke")

    sweep.run(replace(copy.request, backbones=MOBILE, freeze="none"), executor=telling)
    printed = capsys.readouterr().out
    assert printed.index("this takes up to 90 min") < printed.index("and then it broke")


def test_depths_are_added_to_what_is_there(copy: Swept, ran: InProcess) -> None:
    known = copy.row(MOBILE)
    again = sweep.run(replace(copy.request, backbones=MOBILE, freeze="all,all-1"), executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert ran.labels == [f"{MOBILE} (random weights)"]
    rows = copy.table[copy.table["backbone"] == MOBILE].set_index("freeze")
    assert rows["freeze_depth"].to_dict() == {"all": 5, "all-1": 4}
    assert rows.loc["all", "cell_id"] == known["cell_id"], "it was not measured again"
    for freeze, row in rows.iterrows():
        stored = store.read_predictions(copy.out, row["cell_id"])
        assert row["test_acc"] == metrics.accuracy(stored["test_probs"], stored["test_labels"]), freeze
    files = digests(copy.out)
    assert f"heads/{rows.loc['all', 'cell_id']}.npz" in files
    assert f"heads/{rows.loc['all-1', 'cell_id']}.npz" not in files, "its head stands on features of its own"


@pytest.mark.parametrize(("keep", "expected"), [(None, {"scratch"}), ("all", {"all", "scratch"}), ("none", set())])
def test_trained_weights_stay_as_asked(
    swept: Swept, ran: InProcess, tmp_path: Path, keep: str | None, expected: set[str]
) -> None:
    """Of the network the better depth, unless all or none are wanted; a folder keeps to what it was told."""
    request = replace(swept.request, out=tmp_path / "digits", keep_models=keep, freeze="all,all-1")
    sweep.run(request, executor=ran)
    found = store.read_table(tmp_path / "digits").set_index("cell_id")
    better = found[found["backbone"] == MOBILE]["selection_score"].astype(float).idxmax()
    names = {cell_id: "scratch" if row["backbone"] == "scratch" else row["freeze"] for cell_id, row in found.iterrows()}
    expected = {"scratch", names[better]} if keep is None else expected | ({"all-1"} if keep == "all" else set())
    assert {names[cell_id] for cell_id in store.models(request.out)} == expected
    for cell_id in store.models(request.out):
        assert store.file_of(request.out, cell_id, "models") is not None, "its digest is that of the record"
    assert not [path for path in (tmp_path / "digits").rglob(".*") if path.name != ".lock"]
    before = digests(request.out)
    sweep.run(replace(request, keep_models=None), executor=ran)
    assert digests(request.out) == before


def test_weights_that_were_not_kept_are_made_again_for_who_asks_for_all(copy: Swept, ran: InProcess) -> None:
    expected = {name: copy.row(name) for name in (MOBILE, "scratch")}
    store.keep_models(copy.out, {expected[MOBILE]["cell_id"]})
    again = sweep.run(replace(copy.request, keep_models="all"), executor=ran)
    assert ran.labels == ["scratch"]
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert store.models(copy.out) == {row["cell_id"] for row in expected.values()}
    for name in expected["scratch"].keys() - set(TIMES):
        assert copy.row("scratch")[name] == expected["scratch"][name], name
    assert sweep.run(replace(copy.request, keep_models="all"), executor=ran).already == 2
    assert ran.labels == ["scratch"]


def test_a_cell_is_not_lost_when_its_weights_cannot_be_made_again(
    copy: Swept, ran: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        for position, _job in when_ready(jobs):
            yield position, JobFailure("failed", "the job was killed by SIGKILL")

    expected = copy.row("scratch")
    store.keep_models(copy.out, ())
    assert sweep.run(replace(copy.request, backbones="scratch", keep_models="all"), executor=broken).counts == {"ok": 1}
    assert copy.row("scratch") == expected
    assert "killed by SIGKILL; what was measured earlier stays" in capsys.readouterr().out


def test_asking_for_no_weights_deletes_those_that_are_there(copy: Swept, ran: InProcess) -> None:
    assert store.models(copy.out)
    sweep.run(replace(copy.request, keep_models="none"), executor=ran)
    assert not (copy.out / "models").exists()
    assert ran.labels == []
    assert store.read_run(copy.out).resolved["keep_models"] == "none"


def test_what_a_killed_job_left_half_written_is_gone(copy: Swept, ran: InProcess) -> None:
    draft = store.drafts(copy.out) / ".0123.npz"
    draft.write_bytes(b"half")
    sweep.run(copy.request, executor=ran)
    assert not draft.exists()


def test_more_backbones_are_added_to_what_is_there(copy: Swept, ran: InProcess) -> None:
    again = sweep.run(replace(copy.request, seeds=2, backbones="scratch"), executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert ran.labels == ["scratch"]
    assert sorted(copy.table["backbone"]) == [MOBILE, "scratch", "scratch"]


@pytest.mark.parametrize("other", ["dataset", "selection"])
def test_results_of_other_data_are_not_touched(copy: Swept, ran: InProcess, tmp_path: Path, other: str) -> None:
    request = replace(copy.request, limit=50)
    if other == "dataset":
        request = replace(copy.request, dataset=str(photos(tmp_path / "fruit")), limit=None)
    before = digests(copy.out)
    with pytest.raises(RequestError) as refused:
        sweep.run(request, executor=ran)
    message = str(refused.value)
    assert str(copy.out) in message
    assert "--out" in message
    assert ("selection" in message) == (other == "selection")
    assert ran.labels == []
    assert digests(copy.out) == before


@pytest.mark.parametrize(
    "change", [{"epochs": 2}, {"batch_size": 8}, {"resize": "crop"}, {"augment": "none"}, {"views": 2}]
)
def test_one_table_does_not_mix_recipes(copy: Swept, ran: InProcess, change: dict[str, Any]) -> None:
    before = digests(copy.out)
    with pytest.raises(RequestError) as refused:
        sweep.run(replace(copy.request, **change), executor=ran)
    (name,) = change
    assert f"--{name.replace('_', '-')}" in str(refused.value)
    assert ran.labels == []
    assert digests(copy.out) == before


def test_scores_of_another_protocol_are_not_mixed_in(copy: Swept, ran: InProcess) -> None:
    record = store.read_run(copy.out)
    store.write_run(
        copy.out, msgspec.structs.replace(record, protocol={**record.protocol, "version": PROTOCOL_VERSION - 1})
    )
    before = digests(copy.out)
    with pytest.raises(RequestError, match=f"protocol {PROTOCOL_VERSION - 1}.*--out.*--fresh"):
        sweep.run(copy.request, executor=ran)
    assert ran.labels == []
    assert digests(copy.out) == before


def test_a_failed_job_is_a_row_with_its_reason_and_is_tried_again(copy: Swept, ran: InProcess) -> None:
    def broken(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        for position, _job in when_ready(jobs):
            yield position, JobFailure("failed", "the job was killed by SIGKILL")

    cell_file(copy, "scratch").unlink()
    outcome = sweep.run(copy.request, executor=broken)
    assert outcome.counts == {"ok": 1, "failed": 1}
    assert not outcome.complete
    row = copy.row("scratch")
    assert (row["status"], row["reason"]) == ("failed", "the job was killed by SIGKILL")
    assert pd.isna(row["test_acc"])
    assert "killed by SIGKILL" in (copy.out / "leaderboard.html").read_text()
    assert sweep.run(copy.request, executor=ran).counts == {"ok": 2}
    assert copy.row("scratch")["status"] == "ok"


def test_an_interrupted_sweep_keeps_what_was_finished_and_goes_on_from_there(
    swept: Swept, ran: InProcess, tmp_path: Path
) -> None:
    def interrupted(
        jobs: Iterable[tuple[int, Job] | None], **options: Any
    ) -> Generator[tuple[int, Event | JobFailure]]:
        for position, event in ran(jobs, **options):
            yield position, event
            if isinstance(event, CellFinished):
                raise KeyboardInterrupt

    request = replace(swept.request, out=tmp_path / "digits")
    with pytest.raises(KeyboardInterrupt):
        sweep.run(request, executor=interrupted)
    assert store.read_table(tmp_path / "digits")["status"].tolist() == ["ok"]
    assert store.read_run(tmp_path / "digits").dataset.name == "digits"
    again = sweep.run(request, executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert ran.labels == [f"{MOBILE} (random weights)", "scratch"]
    assert (tmp_path / "digits/leaderboard.html").exists()


def photos(root: Path, grocery: Path | None = None) -> Path:
    """A small folder dataset: real photos of three kinds where they are at hand, else two classes of plain colours."""
    if grocery:
        for split, most in (("train", 20), ("val", 5), ("test", 20)):
            for name in ("Banana", "Carrots", "Lemon"):
                chosen = sorted((grocery / split / name).iterdir())[:most]
                (root / split / name).mkdir(parents=True)
                for path in chosen:
                    shutil.copy(path, root / split / name)
        return root
    for number in range(12):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * number, 0, 0)).save(path)
    return root


def test_the_next_size_is_decoded_while_a_job_computes(cache: Path, ran: InProcess, tmp_path: Path) -> None:
    def sides() -> set[int]:
        return {np.load(path, mmap_mode="r").shape[1] for path in (cache / "pixels").glob("[!.]*.npy")}

    def watched(jobs: Iterable[tuple[int, Job] | None], **options: Any) -> Generator[tuple[int, Event | JobFailure]]:
        for position, event in ran(jobs, **options):
            until = time.monotonic() + 20
            while position == 0 and 128 not in sides() and time.monotonic() < until:
                time.sleep(0.05)
            assert 128 in sides()
            yield position, event

    assert 128 not in sides()
    request = Request(
        dataset=str(photos(tmp_path / "colours")), backbones=f"{MOBILE},scratch", weights="none", freeze="all",
        epochs=1, mirrors=False, out=tmp_path / "out",
    )  # fmt: skip
    assert sweep.run(request, executor=watched).counts == {"ok": 2}
    assert store.read_table(tmp_path / "out")["image_size"].tolist() == [224, 128]


def test_a_size_that_no_job_needs_any_more_is_kept_to_the_limit_too(
    cache: Path, ran: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "cache"
    monkeypatch.setenv("BACKBENCH_CACHE", str(mine))
    monkeypatch.setenv("BACKBENCH_CACHE_LIMIT", "0")
    request = Request(
        dataset=str(photos(tmp_path / "colours")), backbones=f"{MOBILE},scratch", weights="none", freeze="all",
        epochs=1, mirrors=False, out=tmp_path / "out",
    )  # fmt: skip
    assert sweep.run(request, executor=ran).counts == {"ok": 2}
    left = [np.load(path, mmap_mode="r").shape[1] for path in (mine / "pixels").glob("[!.]*.npy")]
    assert left == [224], "the page shows images of the first size"


def test_weights_that_cannot_be_had_are_a_skipped_cell_and_exit_code_3(
    copy: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(backbone: Any, **_: Any) -> Weights:
        raise UnavailableError(f"no weights for {backbone.name}: every source is down; fetch them elsewhere")

    monkeypatch.setattr(weights_prefetch, "find_weights", unreachable)
    before = (copy.out / "logs").stat().st_mtime_ns
    asked = ["sweep", "--backbones", f"{MOBILE},scratch", "--freeze", "all", "--limit", "60", "--image-size", "32"]
    asked += ["--epochs", "1"]
    found = CliRunner().invoke(main, [*asked, "--out", str(copy.out)], catch_exceptions=False)
    assert found.exit_code == 3
    assert "1 skipped" in found.stderr
    assert "every source is down" in found.stdout
    assert (copy.out / "logs").stat().st_mtime_ns == before, "scratch was there already, and the sweep went on to it"
    skipped = copy.table[copy.table["status"] == "skipped"].to_dict("records")
    assert [(row["backbone"], row["weights"]) for row in skipped] == [(MOBILE, "imagenet")]
    assert skipped[0]["reason"].endswith("every source is down; fetch them elsewhere")
    assert len(copy.table) == 3
    assert "every source is down" in (copy.out / "leaderboard.html").read_text()
    # Nothing has changed: the same again, without a second row.
    found = CliRunner().invoke(main, [*asked, "--out", str(copy.out)], catch_exceptions=False)
    assert found.exit_code == 3
    assert len(copy.table) == 3


def test_who_runs_jobs_is_not_held_up_while_the_weights_of_the_next_come(
    copy: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    come = threading.Event()

    def slow(backbone: Any, **_: Any) -> Weights:
        assert come.wait(60)
        raise UnavailableError(f"no weights for {backbone.name}")

    def asking(jobs: Iterable[tuple[int, Job] | None], **_: Any) -> Generator[tuple[int, Event | JobFailure]]:
        asked = iter(jobs)
        assert [next(asked) for _ in range(3)] == [None, None, None]
        come.set()
        assert list(when_ready(asked)) == []
        yield from ()

    monkeypatch.setattr(weights_prefetch, "find_weights", slow)
    assert sweep.run(replace(copy.request, backbones=MOBILE, weights="imagenet"), executor=asking).counts == {
        "skipped": 1
    }


def test_what_was_measured_still_counts_when_its_weights_cannot_be_had_any_more(
    cache: Path, ran: InProcess, tmp_path: Path, shared_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shared_weights, tmp_path / "keras/models")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    request = Request(backbones=MOBILE, freeze="all", limit=20, image_size=32, mirrors=False, out=tmp_path / "out")
    assert sweep.run(request, executor=ran).counts == {"ok": 1}
    before = digests(tmp_path / "out")

    def unreachable(*_: Any, **__: Any) -> Weights:
        raise UnavailableError("every source is down")

    monkeypatch.setattr(weights_prefetch, "find_weights", unreachable)
    again = sweep.run(request, executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 1})
    assert digests(tmp_path / "out") == before


def test_nothing_at_hand_and_no_network_is_said_within_the_sweep(
    cache: Path, ran: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same through all of the real sources, of which the only one on the network refuses at once."""
    from backbench.backbones.weights import resolve
    from backbench.backbones.weights.download import HostUnreachableError

    def refuse(*_: Any, **__: Any) -> None:
        raise HostUnreachableError("storage.googleapis.com", "connection refused")

    monkeypatch.setattr(resolve, "download", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    request = Request(backbones="VGG16,Xception", limit=20, image_size=71, mirrors=False, out=tmp_path / "out")
    assert sweep.run(request, executor=ran).counts == {"skipped": 4}
    table = store.read_table(tmp_path / "out")
    assert table["status"].tolist() == ["skipped"] * 4
    assert sorted(zip(table["backbone"], table["freeze"], strict=True)) == [
        ("VGG16", "all"),
        ("VGG16", "all-1"),
        ("Xception", "all"),
        ("Xception", "all-1"),
    ]
    for row in table.to_dict("records"):
        assert row["backbone"] in row["reason"]
        assert "backbench fetch" in row["reason"], "what to do about it"
    assert (tmp_path / "out/leaderboard.html").exists()
    assert ran.labels == []


def test_pretrained_features_beat_random_ones_by_far_on_photos(
    cache: Path,
    ran: InProcess,
    tmp_path: Path,
    grocery: Path,
    shared_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "keras/models").mkdir(parents=True)
    for path in shared_weights.iterdir():
        shutil.copy(path, tmp_path / "keras/models")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    dataset = photos(tmp_path / "fruit", grocery)
    out = tmp_path / "out"
    request = Request(
        dataset=str(dataset), backbones=MOBILE, freeze="all", weights="imagenet,none", image_size=96, out=out
    )
    assert sweep.run(request, executor=ran).counts == {"ok": 2}
    assert ran.labels == [MOBILE, f"{MOBILE} (random weights)"]
    table = store.read_table(out).set_index("weights")
    assert table.loc["imagenet", "weights_source"] == "keras cache"
    assert table.loc["none", "weights_source"] == "random initialisation"
    assert table.loc["imagenet", "test_acc"] > 0.75
    assert table.loc["imagenet", "test_acc"] > table.loc["none", "test_acc"] + 0.15
    identities = {cell.row.weights: cell.identity for cell in store.read_cells(out)}
    file = tmp_path / "keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    assert identities["imagenet"]["weights_digest"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert identities["none"]["weights_digest"] is None
    assert json.loads((out / "run.json").read_text())["dataset"]["counts"] == {"train": 60, "val": 15, "test": 60}


def test_cells_that_broke_are_stored_and_the_others_of_the_job_go_on(copy: Swept, ran: InProcess) -> None:
    def one_breaks(jobs: Iterable[tuple[int, Job] | None], **options: Any) -> Generator[tuple[int, Event | JobFailure]]:
        for position, job in when_ready(jobs):
            assert job.cells is not None
            assert len(job.cells) == 2
            yield position, JobFailure("failed", "stopped by --timeout: it took longer than 1s", job.cells[:1])
            yield from ran([(position, job.owing(job.cells[1:]))], **options)

    outcome = sweep.run(replace(copy.request, backbones="scratch", seeds=3), executor=one_breaks)
    assert outcome.counts == {"ok": 2, "failed": 1}
    rows = copy.table.set_index("seed").loc[lambda table: table["backbone"] == "scratch"]
    assert rows["status"].to_dict() == {0: "ok", 1: "failed", 2: "ok"}
    assert rows.loc[1, "reason"] == "stopped by --timeout: it took longer than 1s"


@pytest.mark.parametrize("folder", ["predictions", "cells"])
def test_a_full_disk_ends_a_sweep_with_one_line_and_costs_nothing_that_was_stored(
    swept: Swept, ran: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    request = replace(swept.request, out=tmp_path / "digits")
    fsync = os.fsync

    def full(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        if name.parent.name == folder and list((tmp_path / "digits/cells").glob("[!.]*")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(name))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RequestError) as stopped:
        sweep.run(request, executor=ran)
    assert "No space left on device" in str(stopped.value)
    assert "the same command goes on from there" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    monkeypatch.setattr(os, "fsync", fsync)
    assert store.read_table(tmp_path / "digits")["status"].tolist() == ["ok"]
    again = sweep.run(request, executor=ran)
    assert (again.already, again.counts) == (1, {"ok": 2})
    assert integrity.look_at(tmp_path / "digits") == []


@pytest.mark.parametrize("name", ["predictions", "logs"])
def test_what_cannot_be_written_to_is_said_before_anything_is_measured(
    swept: Swept, ran: InProcess, tmp_path: Path, name: str
) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / name).write_text("not a folder")
    with pytest.raises(RequestError, match=rf"cannot write to .*{name} \(.* is not a folder\): choose another folder"):
        sweep.run(replace(swept.request, out=tmp_path / "digits"), executor=ran)
    assert ran.labels == []
    assert [path.name for path in (tmp_path / "digits").iterdir()] == [name]


@pytest.mark.parametrize(("folder", "named"), [("cells", "json"), ("predictions", "npz"), ("heads", "npz")])
def test_a_damaged_file_is_set_aside_and_its_cell_is_measured_again_to_the_same_values(
    copy: Swept, ran: InProcess, capsys: pytest.CaptureFixture[str], folder: str, named: str
) -> None:
    path = copy.out / folder / f"{copy.row(MOBILE)['cell_id']}.{named}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    before = copy.table
    outcome = sweep.run(copy.request, executor=ran)
    assert (outcome.already, outcome.counts) == (1, {"ok": 2})
    assert ran.labels == [f"{MOBILE} (random weights)"]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content
    assert f"it was set aside as {folder}/{path.name}.damaged" in capsys.readouterr().out
    pd.testing.assert_frame_equal(copy.table.drop(columns=TIMES), before.drop(columns=TIMES))
    assert integrity.look_at(copy.out) == []


def test_a_damaged_record_of_the_run_is_written_anew_by_the_same_command(
    copy: Swept, ran: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy.out / "run.json"
    before, cells = store.read_run(copy.out), store.read_cells(copy.out)
    damaged = path.read_bytes()[:-100]
    path.write_bytes(damaged)
    outcome = sweep.run(copy.request, executor=ran)
    assert (outcome.already, outcome.counts, ran.labels) == (2, {"ok": 2}, [])
    assert "run.json is damaged: kept as run.json.damaged and written anew" in capsys.readouterr().out
    assert (copy.out / "run.json.damaged").read_bytes() == damaged
    after = store.read_run(copy.out)
    for same in ("planned", "resolved", "dataset", "protocol"):
        assert getattr(after, same) == getattr(before, same)
    assert after.images is False, "nobody knows whether they were to be shown"
    assert "data:image" not in (copy.out / "leaderboard.html").read_text()
    assert store.read_cells(copy.out) == cells
    assert integrity.look_at(copy.out) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 16}, "recipe"),
        ({"augment": "none"}, "recipe"),
        ({"resize": "crop"}, "resize"),
        ({"limit": 50}, "dataset"),
    ],
)
def test_a_damaged_record_of_the_run_is_left_to_the_command_that_made_the_cells(
    copy: Swept, ran: InProcess, change: dict[str, Any], named: str
) -> None:
    (copy.out / "run.json").write_text("{")
    before = digests(copy.out)
    with pytest.raises(RequestError, match=rf"run.json is damaged.*\(another {named}\).*--out.*--fresh"):
        sweep.run(replace(copy.request, backbones="scratch", seeds=2, **change), executor=ran)
    assert digests(copy.out) == before
    assert ran.labels == []


def test_a_sweep_that_was_killed_before_it_wrote_table_and_page_writes_them(copy: Swept, ran: InProcess) -> None:
    expected = copy.table
    store.write_table(copy.out, expected.iloc[:1])
    (copy.out / "leaderboard.html").unlink()
    outcome = sweep.run(copy.request, executor=ran)
    assert (outcome.already, ran.labels) == (2, [])
    pd.testing.assert_frame_equal(copy.table, expected)
    assert integrity.look_at(copy.out) == []


def test_the_same_jobs_in_another_order_give_the_same_cells(copy: Swept, ran: InProcess, tmp_path: Path) -> None:
    turned = replace(copy.request, backbones=f"scratch,{MOBILE}", out=tmp_path / "turned")
    sweep.run(turned, executor=ran)
    assert ran.labels == ["scratch", f"{MOBILE} (random weights)"]
    found = store.read_table(tmp_path / "turned")
    pd.testing.assert_frame_equal(found.drop(columns=TIMES), copy.table.drop(columns=TIMES))
    for cell_id in found["cell_id"]:
        ours, theirs = (store.read_predictions(place, cell_id) for place in (tmp_path / "turned", copy.out))
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_cache_is_kept_to_its_size_but_for_what_is_in_use(
    copy: Swept, ran: InProcess, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "cache"
    shutil.copytree(cache, mine)
    (mine / "pixels/old.npy").write_bytes(b"x" * 1000)
    monkeypatch.setenv("BACKBENCH_CACHE", str(mine))
    monkeypatch.setenv("BACKBENCH_CACHE_LIMIT", "0")
    cell_file(copy, "scratch").unlink()
    assert sweep.run(copy.request, executor=ran).counts == {"ok": 2}
    assert not (mine / "pixels/old.npy").exists()
    assert len(list((mine / "pixels").glob("*.npy"))) == 1, "the decoded images were being read"
