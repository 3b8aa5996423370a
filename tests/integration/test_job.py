"""One real job at several freeze depths: what its rows say, and that no cell leaves a trace in another."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from msgspec import UNSET

from backbench.analysis import metrics
from backbench.backbones import graph, stages
from backbench.core import recipe
from backbench.core.backbone import Weights
from backbench.core.cells import Cell, planned_cells
from backbench.core.columns import measured
from backbench.core.events import CellFinished, Event, Message, Summary
from backbench.core.job import Job, Schedule, Screening
from backbench.core.request import Request
from backbench.data.augmentation import view
from backbench.evaluation import checkpoints, fine_tuning, inference_cost, shared_pass, transferability
from backbench.evaluation import job as jobs
from backbench.evaluation.eigenbasis import decompose
from backbench.evaluation.linear_probe import fit_path
from backbench.features.activation_store import ActivationStore
from backbench.features.engines import precision_check
from backbench.features.frozen_model import room_for
from backbench.sweep import plan

MOBILE = "MobileNet:alpha=0.25"
FILE = "mobilenet_2_5_224_tf_no_top.h5"
DEPTHS = ("all", "all-2", "all-1", "none")
TIMES = {"latency_ms", "throughput_ips", "peak_mem_mb", "fit_seconds", "wall_seconds"}

# Parameters by hand, without moving statistics: a block is a depthwise kernel, a batch norm, a pointwise kernel and a
# batch norm; the last stage has two of them. Of each norm's four values per channel two are trained.
BLOCKS = ((8, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), *((128, 128),) * 5, (128, 256), (256, 256))
SIZES = [9 * i + 2 * i + i * o + 2 * o for i, o in BLOCKS]
FIRST = 27 * 8 + 2 * 8  # the convolution before them
STATISTICS = 2 * 8 + sum(2 * i + 2 * o for i, o in BLOCKS)
HEAD = 256 * 10 + 10


@pytest.fixture(scope="module", autouse=True)
def _no_costs() -> Any:
    """What inference costs is measured elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference_cost, "speed", lambda *_, **__: inference_cost.Speed(1.0, 100.0))
        patch.setattr(inference_cost, "peak_memory", lambda *_, **__: 250.0)
        yield


@pytest.fixture(scope="module")
def pretrained(shared_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """64 digits a split at 32 pixels, the genuine weights, one epoch of two batches on two views of each image."""
    request = Request(backbones=MOBILE, limit=64, image_size=32, epochs=1, augment="light", views=2)
    cache = tmp_path_factory.mktemp("cache")

    def quiet(_name: str, _done: int, _total: int) -> None: ...

    listing = plan.listing_for(request, progress=quiet)
    dataset, _ = plan.dataset_for(request, listing, cache=cache, progress=quiet)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (job,) = plan.jobs_for(request, dataset, resolved=resolved, cache=cache)
    path = shared_weights / FILE
    weights = Weights(path, "h5", hashlib.sha256(path.read_bytes()).hexdigest(), "keras cache")
    return plan.with_pixels(job.with_spec(weights=weights), listing, progress=quiet)


def run(job: Job) -> list[Event]:
    said: list[Event] = []
    jobs.run(job, said.append)
    return said


def built(job: Job) -> keras.Model:
    spec = job.spec
    return graph.build(spec.backbone, image_size=32, weights=spec.weights, cache=job.resources.cache)


def features_model(job: Job) -> keras.Model:
    spec = job.spec
    return graph.features_model(spec.backbone, image_size=32, weights=spec.weights, cache=job.resources.cache)


def cells(said: list[Event]) -> dict[str, Cell]:
    return {event.cell.row.freeze: event.cell for event in said if isinstance(event, CellFinished)}


def predictions(said: list[Event], freeze: str) -> dict[str, Any]:
    (found,) = (e for e in said if isinstance(e, CellFinished) and e.cell.row.freeze == freeze)
    return dict(found.predictions)


def same_numbers(first: Cell, second: Cell) -> None:
    assert first.cell_id == second.cell_id
    ours, theirs = first.row.to_columns(), second.row.to_columns()
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - TIMES:
        assert ours[name] == theirs[name], name
    assert first.trace == second.trace


@pytest.fixture(scope="module")
def ran(pretrained: Job, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return run(pretrained.with_spec(freeze=DEPTHS).with_resources(drafts=tmp_path_factory.mktemp("results") / "models"))


def test_no_cell_was_trained_for_longer_than_it_took(ran: list[Event]) -> None:
    for cell in cells(ran).values():
        assert 0 < cell.row.fit_seconds <= cell.row.wall_seconds


def test_there_is_one_cell_for_each_depth_and_all_are_ok(ran: list[Event], pretrained: Job) -> None:
    found = cells(ran)
    assert list(found) == list(DEPTHS)
    assert {cell.status for cell in found.values()} == {"ok"}
    planned = planned_cells(pretrained.with_spec(freeze=DEPTHS).spec)
    assert [cell.cell_id for cell in found.values()] == [cell.cell_id for cell in planned]
    assert isinstance(ran[-1], Summary)
    phases = {
        "building",
        "engine",
        "frozen pass",
        "augmented views",
        "probe",
        "scores",
        "fine-tuning",
        "starting",
        "evaluation",
        "timing",
        "memory",
    }
    assert ran[-1].seconds.keys() == phases


def test_rows_say_how_much_is_frozen_and_how_much_is_trained(ran: list[Event]) -> None:
    rows = {freeze: cell.row.to_columns() for freeze, cell in cells(ran).items()}
    assert [row["freeze_depth"] for row in rows.values()] == [5, 3, 4, 0]
    assert [row["stages"] for row in rows.values()] == [5, 5, 5, 5]
    whole = FIRST + sum(SIZES) + STATISTICS
    assert whole == 218_544  # as Keras counts it
    last = sum(SIZES[-2:]) + 2 * (128 + 256 + 256 + 256)
    two = last + sum(SIZES[-8:-2]) + 2 * (64 + 11 * 128)
    expected = [100.0, 100 - 100 * two / whole, 100 - 100 * last / whole, 0.0]
    assert [row["frozen_params_pct"] for row in rows.values()] == pytest.approx(expected)
    assert rows["all"]["trainable_params"] == HEAD
    assert rows["all-1"]["trainable_params"] == sum(SIZES[-2:]) + HEAD
    assert rows["all-2"]["trainable_params"] == sum(SIZES[-8:]) + HEAD
    assert rows["none"]["trainable_params"] == FIRST + sum(SIZES) + HEAD
    for row in rows.values():
        assert row["params"] == whole + HEAD
        assert row["flops"] == rows["all"]["flops"] > 1e6


@pytest.mark.parametrize("freeze", DEPTHS)
def test_the_row_says_what_the_predictions_say(ran: list[Event], freeze: str) -> None:
    row, stored = cells(ran)[freeze].row.to_columns(), predictions(ran, freeze)
    for split in ("val", "test"):
        probabilities, labels = stored[f"{split}_probs"], stored[f"{split}_labels"]
        assert probabilities.shape == (64, 10)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert row[f"{split}_acc"] == metrics.accuracy(probabilities, labels)
        assert row[f"{split}_nll"] == metrics.nll(probabilities, labels)
    # The score is of what the network says before its temperature, and does not ask how sure that is.
    score = metrics.selection_score(stored["val_probs"], stored["val_labels"])
    assert row["selection_score"] == pytest.approx(score, rel=1e-5)
    # The temperature has been applied: on val there is nothing left for another one to gain.
    assert 0.1 < row["temperature"] < 10
    assert metrics.temperature(stored["val_probs"], stored["val_labels"]) == pytest.approx(1, abs=1e-3)
    assert row["gap"] == row["train_acc"] - row["test_acc"]
    assert row["train_acc"] > 0.3, "far above one in ten"


def test_a_fine_tuned_cell_keeps_its_curves_and_scores_as_its_last_epoch_did(ran: list[Event]) -> None:
    for freeze, inputs in (("all-2", "stored activations"), ("all-1", "stored activations"), ("none", "pixels")):
        cell = cells(ran)[freeze]
        training = cell.trace["training"]
        rates = [trial["rate"] for trial in training["trials"]]
        assert rates == list(recipe.LEARNING_RATES[: len(rates)])
        last = [trial["curve"][-1] for trial in training["trials"]]
        assert last[training["chosen"]]["score"] == max(end["score"] for end in last) == cell.row.selection_score
        path = cells(ran)["all"].trace["probe"]["path"]
        goal = max(step["val_acc"] for step in path)
        goal -= math.sqrt(goal * (1 - goal) / 64)
        assert [end["val_acc"] < goal for end in last[:-1]] == [True] * (len(rates) - 1)
        assert last[-1]["val_acc"] >= goal or len(rates) == len(recipe.LEARNING_RATES)
        assert cell.trace["inputs"] == inputs


def test_fine_tuning_starts_at_the_probe(ran: list[Event]) -> None:
    """Kept activations are rounded to float16: that much the start may differ from the step of the path."""
    found = cells(ran)
    probe = found["all"].trace["probe"]
    for freeze in ("all-2", "all-1", "none"):
        trace = found[freeze].trace
        (step,) = (step for step in probe["path"] if step["strength"] == trace["start_strength"])
        start = trace["training"]["start"]
        assert start["val_nll"] == pytest.approx(step["val_nll"], rel=5e-3)
        assert start["score"] == pytest.approx(step["score"], rel=5e-3)
        assert trace["probe_score"] == found["all"].row.selection_score
        best = max(step["score"] for step in probe["path"])
        said = "training did not beat the frozen probe on val" in found[freeze].reason
        assert said == (found[freeze].row.selection_score <= best)


def test_the_probe_is_fitted_on_every_view(ran: list[Event], pretrained: Job) -> None:
    data = pretrained.spec.dataset
    model = features_model(pretrained)
    train, images = data.indices("train"), pretrained.resources.images()[data.rows]
    clean = model.predict_on_batch(images)
    moved = model.predict_on_batch(view(images[train], train, np.ones_like(train), flips=data.flips))
    paths = {}
    for views, features in (("one", clean), ("both", np.concatenate([clean, moved]))):
        rows = np.concatenate([train, np.arange(len(clean), len(features))])
        labels = np.concatenate([data.labels, data.labels[train]])[: len(features)]
        path = fit_path(features, labels, train=rows, val=data.indices("val"), classes=len(data.class_names))
        paths[views] = [step.val_nll for step in path.steps]
    found = [step["val_nll"] for step in cells(ran)["all"].trace["probe"]["path"]]
    np.testing.assert_allclose(found, paths["both"], rtol=2e-3)
    fewest = min(len(found), len(paths["one"]))  # a path ends behind its best
    assert not np.allclose(found[:fewest], paths["one"][:fewest], rtol=2e-2), "the second view tells it something"


def test_the_fully_frozen_cell_has_scores_of_the_train_images_as_they_are(ran: list[Event], pretrained: Job) -> None:
    data, found = pretrained.spec.dataset, cells(ran)
    model = features_model(pretrained)
    train = data.indices("train")
    features = model.predict_on_batch(pretrained.resources.images()[data.rows])
    features[np.setdiff1d(np.arange(len(features)), train)] = np.nan  # val and test have no say
    split = decompose(features, train)
    expected = transferability.score(split, features, data.labels, rows=train, classes=len(data.class_names))
    stored = found["all"].trace["transferability"]
    assert stored == pytest.approx(vars(expected), rel=1e-3)
    columns = {name: getattr(found["all"].row, name) for name in ("ridge_loo_acc", "knn_loo_acc", "logme", "h_score")}
    assert columns == {name: stored[name] for name in columns}
    assert 0.2 < columns["ridge_loo_acc"] < 1
    for freeze in ("all-2", "all-1", "none"):
        assert not columns.keys() & found[freeze].row.to_columns().keys()
        assert "transferability" not in found[freeze].trace
    assert {cell.row.imagenet_top1 for cell in found.values()} == {0.506}  # Howard et al. 2017, table 6


def test_training_everything_is_announced_with_an_estimate(ran: list[Event]) -> None:
    (note,) = (event for event in ran if isinstance(event, Message))
    assert note.text.startswith(f"{MOBILE} @ none: training all of it takes about ")
    position = ran.index(note)
    assert [e.cell.row.freeze for e in ran[:position] if isinstance(e, CellFinished)] == ["all", "all-2", "all-1"]


def drafts(said: list[Event]) -> dict[str, Path | None]:
    return {event.cell.row.freeze: event.model for event in said if isinstance(event, CellFinished)}


def test_what_was_trained_is_left_for_the_sweep_and_gives_the_predictions_once_more(
    ran: list[Event], pretrained: Job
) -> None:
    """A probe needs no more than its head; all-1 is the last stage, all of it; none is the whole network."""
    left = drafts(ran)
    assert left["all"] is None
    sizes = {"all-2": 8, "all-1": 2, "none": len(SIZES)}  # the blocks that were trained
    rows = pretrained.spec.dataset.rows[pretrained.spec.dataset.indices("test")]
    for freeze, blocks in sizes.items():
        draft = left[freeze]
        assert draft is not None
        assert draft.name == f".{cells(ran)[freeze].cell_id}.npz"
        base = built(pretrained)
        head = checkpoints.load(draft, base)
        assert head is not None
        body = graph.frozen_part(base, pretrained.spec.backbone)
        features = body.predict_on_batch(pretrained.resources.images()[rows])
        # What was kept for training was rounded to float16: a few probabilities feel it, most do not.
        said = metrics.tempered(head(features), measured(cells(ran)[freeze].row.temperature))
        difference = np.abs(said - predictions(ran, freeze)["test_probs"])
        assert np.median(difference) < 2e-4, freeze
        assert difference.max() < 2e-2, freeze
        with np.load(draft) as stored:
            numbers = sum(array.size for array in stored.values())
        norms = sum(2 * i + 2 * o for i, o in BLOCKS[-blocks:])
        assert numbers == sum(SIZES[-blocks:]) + norms + (FIRST + 2 * 8) * (freeze == "none") + HEAD


def test_a_disk_without_room_for_weights_costs_no_cell(
    ran: list[Event], pretrained: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    said = run(pretrained.with_spec(freeze=("all-1",)).with_resources(drafts=tmp_path))
    assert drafts(said) == {"all-1": None}
    same_numbers(cells(said)["all-1"], cells(ran)["all-1"])
    (note,) = (event.text for event in said if isinstance(event, Message))
    assert note == (f"{MOBILE} @ all-1: its trained weights could not be kept for export (No space left on device)")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def after_failure(pretrained: Job) -> list[Event]:
    """The same depth after another, which diverges."""
    trained = fine_tuning.train
    absurd = iter([True, False])

    def train(*args: Any, plan: fine_tuning.TrainingPlan, **options: Any) -> fine_tuning.Trained:
        rates = (1e38, 1e38) if next(absurd) else plan.learning_rates
        return trained(*args, plan=replace(plan, learning_rates=rates), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "train", train)
        return run(pretrained.with_spec(freeze=("all-2", "all-1", "all")))


def test_a_cell_whose_training_diverges_is_failed_and_the_others_are_ok(after_failure: list[Event]) -> None:
    found = cells(after_failure)
    statuses = {freeze: cell.status for freeze, cell in found.items()}
    assert statuses == {"all-2": "failed", "all-1": "ok", "all": "ok"}
    failed = found["all-2"]
    assert failed.reason.startswith("DivergedError: the loss was not finite")
    assert [(trial["curve"], trial["ended"]) for trial in failed.trace["diverged"]] == [([], "diverged")] * 2
    assert "diverged" in failed.reason
    assert (failed.row.status, failed.row.freeze_depth) == ("failed", 3)
    assert failed.row.test_acc is UNSET
    assert predictions(after_failure, "all-2") == {}
    assert isinstance(after_failure[-1], Summary)


def test_a_cell_gives_the_same_numbers_whatever_was_measured_before_it(
    ran: list[Event], after_failure: list[Event]
) -> None:
    """Every cell trains the same network in place: it must be put back as it was, by one that fails as well.

    There all-1 comes after all-2 was trained, here after all-2 diverged.
    """
    for freeze in ("all-1", "all"):
        same_numbers(cells(after_failure)[freeze], cells(ran)[freeze])
        for name, values in predictions(ran, freeze).items():
            np.testing.assert_array_equal(predictions(after_failure, freeze)[name], values)
    assert cells(ran)["all-2"].row.val_nll != cells(ran)["all-1"].row.val_nll


def test_seeds_share_what_a_depth_has_compiled_and_come_to_the_same_as_alone(
    pretrained: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(keras.Model, "compile", _counting(keras.Model.compile, compiled))
    job = pretrained.with_spec(freeze=("all-1", "none"), seeds=2, augment="none")
    both = [event.cell for event in run(job) if isinstance(event, CellFinished)]
    assert [(cell.row.freeze, cell.row.seed) for cell in both] == [
        ("all-1", 0), ("all-1", 1), ("none", 0), ("none", 1)
    ]  # fmt: skip
    assert len(compiled) == 2
    for second in (both[1], both[3]):
        (alone,) = cells(run(job.owing((second.cell_id,)))).values()
        same_numbers(second, alone)
    assert both[0].trace["training"] != both[1].trace["training"]


def _counting(done: Any, calls: list[Any]) -> Any:
    def counted(*given: Any, **options: Any) -> Any:
        calls.append(given[0])
        return done(*given, **options)

    return counted


def test_cells_that_change_hands_are_those_of_one_worker(ran: list[Event], pretrained: Job, tmp_path: Path) -> None:
    job = pretrained.with_spec(freeze=DEPTHS)
    first, *_, last = planned_cells(job.spec)
    handed_over = (last.cell_id, first.cell_id)
    taken = tmp_path / "taken"
    taken.write_text(" ".join(handed_over), encoding="ascii")
    left, other = run(job.with_resources(taken=taken)), run(job.owing(handed_over))
    assert list(cells(left)) == list(DEPTHS[1:-1]), "what others have taken over is left out"
    assert list(cells(other)) == [DEPTHS[-1], DEPTHS[0]], "in the order asked for"
    for said in (left, other):
        for freeze, cell in cells(said).items():
            same_numbers(cell, cells(ran)[freeze])
            for name, values in predictions(said, freeze).items():
                np.testing.assert_array_equal(values, predictions(ran, freeze)[name], err_msg=f"{freeze} {name}")


def test_only_what_is_wanted_and_possible_is_measured(
    ran: list[Event], pretrained: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was trained")

    monkeypatch.setattr(fine_tuning, "train", forbidden)
    job = pretrained.with_spec(freeze=("all-1", "all-7", "all", "none"))
    wanted = tuple(cell.cell_id for cell in planned_cells(job.spec) if cell.freeze in ("all-7", "all"))
    assert len(wanted) == 2
    said = run(job.owing(wanted))
    assert list(cells(said)) == ["all"]
    same_numbers(cells(said)["all"], cells(ran)["all"])


def test_without_room_activations_are_computed_anew_and_give_the_same_but_for_rounding(
    ran: list[Event], pretrained: Job
) -> None:
    said = run(pretrained.with_spec(freeze=("all-1",)).with_resources(keep_bytes=0))
    cell, kept = cells(said)["all-1"], cells(ran)["all-1"]
    assert cell.cell_id == kept.cell_id, "where activations are kept is no part of a cell"
    assert "computed anew for every batch" in cell.reason
    assert "computed anew" not in kept.reason
    assert cell.trace["inputs"] == "recomputed activations"
    for split in ("val", "test"):
        found, expected = (predictions(each, "all-1")[f"{split}_probs"] for each in (said, ran))
        np.testing.assert_allclose(found, expected, atol=0.02)
        assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) >= 63 / 64
    assert cell.row.selection_score == pytest.approx(kept.row.selection_score, rel=0.01)


@pytest.fixture(scope="module")
def boundaries(pretrained: Job) -> dict[int, stages.Boundary]:
    """By the number of frozen stages, the deepest first."""
    base = built(pretrained.with_spec(weights=None))
    found = stages.boundaries(base, [16, 8, 4])
    assert [boundary.tensors[0].shape[1:] for boundary in found] == [(2, 2, 128), (4, 4, 64), (8, 8, 32)]
    return dict(zip((4, 3, 2), found, strict=True))


def stores(
    job: Job, boundaries: dict[int, stages.Boundary], *, keep_bytes: int, free: int = 10**12
) -> dict[int, ActivationStore]:
    resources = job.with_resources(keep_bytes=keep_bytes).resources
    return room_for(job.spec, resources, boundaries, wanted=boundaries, free=free)


DEEP, MIDDLE, SHALLOW = (2 * 192 * values for values in (2 * 2 * 128, 4 * 4 * 64, 8 * 8 * 32))


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (0, []),
        (DEEP - 1, []),
        (DEEP, [4]),
        (DEEP + MIDDLE - 1, [4]),
        (DEEP + MIDDLE, [4, 3]),
        (DEEP + MIDDLE + SHALLOW, [4, 3, 2]),
    ],
)
def test_what_is_kept_is_what_fits_deepest_first(
    pretrained: Job, boundaries: dict[int, stages.Boundary], room: int, kept: list[int]
) -> None:
    found = stores(pretrained.with_spec(augment=None), boundaries, keep_bytes=room)
    assert list(found) == kept
    assert {(each.items, each.views) for each in found.values()} <= {(192, 1)}


def test_views_of_train_images_need_room_as_well(pretrained: Job, boundaries: dict[int, stages.Boundary]) -> None:
    needed = DEEP // 192 * (192 + 64 + 64)  # 64 train images, three views: themselves and two more
    job = pretrained.with_spec(augment="light", views=3)
    assert list(stores(job, boundaries, keep_bytes=needed)) == [4]
    assert list(stores(job, boundaries, keep_bytes=needed - 1)) == []
    unused = job.with_spec(augment=None)
    assert stores(unused, boundaries, keep_bytes=DEEP)[4].views == 1, "without augmentation there is one view"


def test_what_is_kept_leaves_room_on_the_disk(pretrained: Job, boundaries: dict[int, stages.Boundary]) -> None:
    job = pretrained.with_spec(augment=None)
    for free, kept in ((DEEP, []), (2 * DEEP, [4])):
        assert list(stores(job, boundaries, keep_bytes=10**12, free=free)) == kept


def test_nothing_is_left_on_the_disk_but_features(ran: list[Event], pretrained: Job) -> None:
    left = {path.parent.name for path in pretrained.resources.cache.rglob("*") if path.is_file()}
    assert "activations" not in left
    assert "features" in left


@pytest.fixture(scope="module")
def by_openvino(pretrained: Job) -> dict[str, list[Event]]:
    """The same job without augmentation, by engine."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    job = pretrained.with_spec(augment=None, freeze=("all", "all-1"))
    return {engine: run(job.with_spec(engine=engine)) for engine in ("keras", "openvino")}


def test_a_trial_is_a_whole_schedule_of_fewer_epochs_at_the_first_rate(pretrained: Job) -> None:
    job = pretrained.with_spec(freeze=("all-1",), epochs=3, augment="none")
    short = cells(run(job.with_spec(epochs=2)))["all-1"]
    said = run(job.with_effort(Schedule(epochs=2)))
    tried = cells(said)["all-1"]
    (cell,) = planned_cells(job.spec)
    assert (tried.status, tried.cell_id) == ("pruned", cell.cell_id)
    assert (tried.trace["trial"]["epochs"], tried.trace["trial"]["images"]) == (2, None)
    items = tried.trace["trial"]["items"]
    assert len(items) == len(job.spec.dataset.indices("val"))
    curve = short.trace["training"]["trials"][0]["curve"]
    assert np.exp(np.mean(items)) == pytest.approx(curve[-1]["score"], abs=1e-4)
    assert tried.row.selection_score is UNSET
    (summary,) = (event for event in said if isinstance(event, Summary))
    assert 0 < summary.seconds["starting"] < summary.seconds["fine-tuning"]
    assert not {"timing", "memory", "evaluation"} & set(summary.seconds)


def test_screening_says_of_each_image_of_train_whether_ridge_regression_has_it_right(pretrained: Job) -> None:
    listing = plan.listing_for(Request(limit=64), progress=lambda *_: None)
    few, theirs = plan.screened(pretrained.with_spec(freeze=("all",), views=1, augment="none"), listing, images=50)
    few = plan.with_pixels(few, theirs, progress=lambda *_: None)
    (cell,) = planned_cells(few.spec)
    assert cell.cell_id == planned_cells(pretrained.with_spec(freeze=("all",), views=1, augment="none").spec)[0].cell_id
    shares = np.bincount(pretrained.spec.dataset.labels[pretrained.spec.dataset.indices("train")]) * 50 / 64
    assert np.abs(np.bincount(few.spec.dataset.labels) - shares).max() < 1
    tried = cells(run(few.with_effort(Screening(50))))["all"]
    items = np.array(tried.trace["trial"]["items"])
    assert len(items) == 50
    assert set(items) <= {0.0, 1.0}
    # By brute force, with each image left out in turn, at the best of the penalties.
    from sklearn.linear_model import Ridge

    *_, path = sorted((pretrained.resources.cache / "features").glob("*.npy"), key=lambda found: found.stat().st_mtime)
    features = np.load(path)
    assert features.shape == (50, 256)
    X = (features - features.mean(axis=0)) / np.where(features.std(axis=0) > 0, features.std(axis=0), 1)
    Y = np.eye(10)[few.spec.dataset.labels]
    best = 0.0
    for penalty in recipe.RIDGE_PENALTIES:
        right = [
            Ridge(alpha=penalty * 50).fit(np.delete(X, i, 0), np.delete(Y, i, 0)).predict(X[i : i + 1]).argmax()
            == few.spec.dataset.labels[i]
            for i in range(50)
        ]
        best = max(best, float(np.mean(right)))
    assert items.mean() == pytest.approx(best)


def test_openvino_in_float32_gives_the_cells_that_keras_gives(by_openvino: dict[str, list[Event]]) -> None:
    ours, theirs = cells(by_openvino["openvino"]), cells(by_openvino["keras"])
    for freeze in ("all", "all-1"):
        assert (ours[freeze].row.engine, theirs[freeze].row.engine) == ("openvino", "keras")
        assert ours[freeze].cell_id != theirs[freeze].cell_id
        assert ours[freeze].reason == theirs[freeze].reason
        found, expected = (predictions(by_openvino[name], freeze)["test_probs"] for name in ("openvino", "keras"))
        # float32 sums in another order move single activations across a rounding border of float16
        assert np.abs(found - expected).max() < (1e-3 if freeze == "all" else 2e-2)
        assert np.median(np.abs(found - expected)) < 1e-4
    assert ours["all"].trace["engine"]["checks"]["difference_from_keras"] <= 2**-11


@pytest.mark.parametrize("wanted", [("all",), ("all-2",), ("all-1", "all-2")])
def test_a_cell_has_the_same_numbers_whichever_others_are_still_missing(
    pretrained: Job, all_by_openvino: list[Event], wanted: tuple[str, ...]
) -> None:
    """A sweep that was cut off goes on with some of a job's cells, and a budget asks for them one after the other."""
    job = pretrained.with_spec(augment=None, freeze=("all", "all-1", "all-2"), engine="openvino", precision="bfloat16")
    some = job.owing(tuple(cell.cell_id for cell in planned_cells(job.spec) if cell.freeze in wanted))
    with graph.computing_in("float32"):
        found = cells(run(some))
    assert tuple(found) == wanted
    for freeze in wanted:
        same_numbers(found[freeze], cells(all_by_openvino)[freeze])


@pytest.fixture(scope="module")
def all_by_openvino(pretrained: Job) -> list[Event]:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    job = pretrained.with_spec(augment=None, freeze=("all", "all-1", "all-2"), engine="openvino", precision="bfloat16")
    with graph.computing_in("float32"):
        return run(job)


def test_an_engine_that_is_unfit_is_named_in_the_cell(pretrained: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from backbench.features.engines import openvino_engine
    from backbench.features.engines.base import EngineUnusableError

    def unfit(*_: Any, **__: Any) -> Any:
        raise EngineUnusableError("bfloat16 changes too much")

    monkeypatch.setattr(openvino_engine, "fitted", unfit)
    job = pretrained.with_spec(augment=None, freeze=("all", "all-1"), engine="openvino", precision="bfloat16")
    with graph.computing_in("float32"):  # Keras as the tests after this one expect it
        found = cells(run(job))
    said = "bfloat16 changes too much: keras in float32 ran the frozen part"
    assert found["all"].reason == said
    assert f"{said}, and training was in float32" in found["all-1"].reason
    for freeze in ("all", "all-1"):
        assert (found[freeze].row.engine, found[freeze].row.precision) == ("keras", "float32")
    assert found["all"].identity["engine"] == "openvino", "what was asked for is what identifies a cell"


def test_what_is_too_coarse_in_bfloat16_is_trained_in_float32_as_if_that_had_been_asked_for(
    pretrained: Job, ran: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision_check, "NOISE", 0.0)
    with graph.computing_in("float32"):
        rounded = run(pretrained.with_spec(freeze=DEPTHS, precision="bfloat16"))
    for freeze in DEPTHS:
        np.testing.assert_array_equal(
            predictions(rounded, freeze)["test_probs"], predictions(ran, freeze)["test_probs"]
        )
        assert cells(rounded)[freeze].row.precision == "float32"
        assert "bfloat16 is too coarse" in cells(rounded)[freeze].reason
    assert cells(rounded)["none"].reason.split(": ")[1].startswith("training was in float32")


def test_what_stands_the_check_is_trained_in_bfloat16(
    pretrained: Job, ran: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision_check, "NOISE", np.inf)
    with graph.computing_in("float32"):
        rounded = run(pretrained.with_spec(freeze=("all-1", "none"), precision="bfloat16"))
    for freeze in ("all-1", "none"):
        found, exact = (predictions(said, freeze)["test_probs"] for said in (rounded, ran))
        assert 1e-3 < np.abs(found - exact).mean() < 0.05, "ten probabilities, one tenth each in the mean"
        assert cells(rounded)[freeze].row.precision == "bfloat16"
        assert "float32" not in cells(rounded)[freeze].reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_a_failure_with_its_reason(
    pretrained: Job, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    frozen_pass = shared_pass.frozen_pass
    damaged = {"split": "test"}

    def with_holes(*given: Any, **options: Any) -> Any:
        features, passed = frozen_pass(*given, **options)
        features = np.array(features)
        features[pretrained.spec.dataset.indices(damaged["split"])[3], 5] = value
        return features, passed

    monkeypatch.setattr(shared_pass, "frozen_pass", with_holes)
    job = pretrained.with_spec(freeze=("all",), augment="none")
    (cell,) = cells(run(job)).values()
    assert (cell.status, cell.row.status) == ("failed", "failed")
    assert cell.reason == "FloatingPointError: the predictions hold NaN or infinite values"
    assert cell.row.test_acc is UNSET
    damaged["split"] = "train"
    with pytest.raises(ValueError, match="the features hold NaN or infinite values"):
        run(job)


@pytest.mark.parametrize("taken_over", [False, True])
def test_activations_that_are_too_large_cost_no_cell_that_does_not_need_them(
    pretrained: Job, ran: list[Event], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken_over: bool
) -> None:
    frozen_pass = shared_pass.frozen_pass

    def too_large(*given: Any, kept: Any, **options: Any) -> Any:
        if kept:
            raise FloatingPointError("activations hold values too large to be kept as float16")
        return frozen_pass(*given, kept=kept, **options)

    monkeypatch.setattr(shared_pass, "frozen_pass", too_large)
    job = pretrained.with_spec(freeze=("all-1", "all"))
    broken, _ = planned_cells(job.spec)
    taken = tmp_path / "taken"
    taken.write_text(broken.cell_id if taken_over else "", encoding="ascii")
    found = cells(run(job.with_resources(taken=taken)))
    assert {freeze: cell.status for freeze, cell in found.items()} == (
        {"all": "ok"} if taken_over else {"all-1": "failed", "all": "ok"}
    )
    same_numbers(found["all"], cells(ran)["all"])
    if not taken_over:
        assert found["all-1"].reason == ("FloatingPointError: activations hold values too large to be kept as float16")
