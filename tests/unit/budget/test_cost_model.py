"""What a sweep will take: the work by hand, the seconds from what was measured, and nothing started or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.planned_jobs import RESOLVED, cells_of, planned

from backbench.backbones.registry import BY_NAME
from backbench.budget.cost_model import DENSE, DEPTHWISE, GUESS, OTHERS, OWN, Expected
from backbench.cli.main import main
from backbench.core import recipe
from backbench.core.cells import Cell, empty_row, planned_cells
from backbench.core.events import CellFinished
from backbench.core.request import Request
from backbench.evaluation import workload
from backbench.evaluation.workload import workload_of
from backbench.results import store
from backbench.results.run_record import parse
from backbench.sweep import pipeline
from backbench.sweep.dry_run import Forecast, forecast
from backbench.sweep.dry_run_text import as_text

TRAIN, VAL, TEST = 1259, 179, 359


def test_the_work_of_a_frozen_backbone_is_a_pass_and_a_probe() -> None:
    (job,) = planned(backbones="VGG16", freeze="all")
    work = workload_of(job, cells_of(job))
    # 30,693,629,952 FLOPs at 224 px, the sum of the five stages; the images have 96.
    assert sum(stage.flops for stage in BY_NAME["VGG16"].stages) == 30_693_261_312
    assert work.frozen == pytest.approx((TRAIN + VAL + TEST) * 30_693_261_312 * (96 / 224) ** 2)
    assert work.training == {}
    assert work.features == 1797 * 512 * 4
    assert work.kept == 0
    assert workload_of(job, ()).frozen == 0


def test_training_the_last_stage_is_three_passes_of_it_in_every_epoch() -> None:
    (job,) = planned(backbones="VGG16", freeze="all-1", epochs=7)
    (cell,) = planned_cells(job.spec)
    last = 2_774_532_096 * (96 / 224) ** 2
    work = workload_of(job, cells_of(job))
    assert work.training == pytest.approx({cell.cell_id: last * (7 * (3 * TRAIN + VAL) + 1797)})
    # The fourth stage ends at a stride of 8 with 512 channels, kept as float16.
    assert work.kept == 1797 * 12 * 12 * 512 * 2


def test_boundaries_without_room_are_computed_anew() -> None:
    (job,) = planned(backbones="VGG16", freeze="all-1", epochs=7, keep_gb=0.1)
    work = workload_of(job, cells_of(job))
    assert work.kept == 0
    (kept,) = workload_of(planned(backbones="VGG16", freeze="all-1", epochs=7)[0], cells_of(job)).training.values()
    (anew,) = work.training.values()
    before = sum(stage.flops for stage in BY_NAME["VGG16"].stages[:4]) * (96 / 224) ** 2
    assert anew - kept == pytest.approx(before * (7 * (TRAIN + VAL) + 1797))


def test_augmented_views_pass_as_well() -> None:
    plain, augmented = (workload_of(job, cells_of(job)) for job in (*planned(backbones="VGG16", freeze="all"),
                        *planned(backbones="VGG16", freeze="all", augment="light", views=3)))  # fmt: skip
    assert augmented.frozen / plain.frozen == pytest.approx((1797 + 2 * TRAIN) / 1797)


def test_random_weights_pass_once_a_seed_and_have_one_trial() -> None:
    (job,) = planned(backbones="VGG16", freeze="all,all-1", weights="none", seeds=2, epochs=7)
    work = workload_of(job, cells_of(job))
    assert work.frozen == pytest.approx(2 * 1797 * 30_693_261_312 * (96 / 224) ** 2)
    last = 2_774_532_096 * (96 / 224) ** 2
    assert list(work.training.values()) == pytest.approx([last * (7 * (3 * TRAIN + VAL) + 1797)] * 2)


def test_the_scratch_network_is_counted_as_the_graph_is() -> None:
    # What `cost` counts in the graph at 96 px with ten classes (docs/reference: the row `scratch` of a digits sweep).
    assert workload.scratch_flops(96, 10) == 74_028_032
    (job,) = planned(backbones="scratch", epochs=2)
    assert list(workload_of(job, cells_of(job)).training.values()) == [74_028_032 * (2 * (3 * TRAIN + VAL) + 1797)]


def test_every_learning_rate_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = planned(backbones="VGG16", freeze="none", epochs=2)
    flops = []
    for rates in (1, 2, 5):
        monkeypatch.setattr(recipe, "LEARNING_RATES", (1e-3,) * rates)
        flops += workload_of(job, cells_of(job)).training.values()
    assert flops[2] - flops[1] == pytest.approx(3 * (flops[1] - flops[0]))


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return tmp_path


@pytest.fixture
def measured(here: Path) -> Path:
    """MobileNetV2, fully frozen and with its last stage trained once: 4 s a pass, 1 s a probe, 5 s around it, 10 s."""
    (job,) = planned(backbones="MobileNetV2", freeze="all,all-1")
    directory = here / "results"
    record = {"request": {}, "resolved": RESOLVED, "dataset": {"fingerprint": job.spec.dataset.fingerprint}}
    seconds = {"building": 2.0, "frozen pass": 4.0, "probe": 1.0, "timing": 3.0, "fine-tuning": 10.0, "evaluation": 1.0}
    store.write_run(directory, parse(record | {"jobs": [{"label": job.label, "seconds": seconds, "environment": {}}]}))
    for cell, spent in zip(planned_cells(job.spec), (1.0, 10.0), strict=True):
        identity = dict(cell.identity) | {"weights_digest": "d" * 64}
        row = empty_row(job.spec, cell).replace(status="ok", fit_seconds=spent)
        store.write_cell(directory, CellFinished(Cell(f"cell{spent:.0f}", "ok", "", identity, row)))
    return directory


def asked(directory: Path, **options: Any) -> Forecast:
    return forecast(Request(engine="keras", precision="float32", **options), directory)


def test_without_an_earlier_run_the_speed_is_a_guess(here: Path) -> None:
    found = asked(here / "none", backbones="VGG16,scratch", freeze="all,all-9")
    vgg, scratch = found.jobs
    assert ([cell.freeze for cell in vgg.missing], vgg.there, vgg.impossible) == (["all"], 0, 1)
    assert [cell.freeze for cell in scratch.missing] == ["none"]
    assert vgg.download == 4 * 14_714_688
    assert scratch.download == 0
    for expected in found.jobs:
        assert expected.seconds.likely > 0
        assert expected.seconds.most / expected.seconds.likely == pytest.approx(GUESS)
        assert expected.seconds.likely / expected.seconds.least == pytest.approx(GUESS)
    text = as_text(found)
    assert "2 jobs with 2 cells to measure, 0 are there already, 1 cannot be measured" in text
    assert "59 MB of weights to download" in text
    assert "a guess, from the speed of a matrix product" in text


def test_what_was_measured_is_there_and_tells_the_seconds_of_the_rest(measured: Path) -> None:
    (job,) = asked(measured, backbones="MobileNetV2", freeze="all,all-1", seeds=3).jobs
    assert ([(cell.freeze, cell.seed) for cell in job.missing], job.there) == ([("all-1", 1), ("all-1", 2)], 2)
    assert [seconds.likely for seconds in job.by_cell.values()] == pytest.approx([10, 10])
    # Twice ten to train, and once more the pass, the probe and the five around them.
    assert job.seconds.likely == pytest.approx(30)
    assert job.seconds.most == pytest.approx(30 * OWN)
    assert "measured in results with the same networks" in as_text(
        Forecast(Path("results"), job.job.spec.dataset, "", 1, (job,), frozenset({"MobileNetV2"}), None)
    )


def test_other_networks_are_taken_to_be_as_quick_for_their_work_and_kind(measured: Path) -> None:
    found = asked(measured, backbones="MobileNetV2,VGG16", freeze="all")
    mobile, vgg = found.jobs
    assert (mobile.missing, mobile.there, mobile.seconds.likely) == ((), 1, 0)
    ratio = sum(s.flops for s in BY_NAME["VGG16"].stages) / sum(s.flops for s in BY_NAME["MobileNetV2"].stages)
    assert vgg.work.frozen / 1797 == pytest.approx(30_693_261_312 * (96 / 224) ** 2)
    rest = vgg.seconds.likely - 4 * ratio * DEPTHWISE / DENSE - 5
    assert 0 < rest < 1, "the probe of fewer features"
    assert vgg.seconds.most == pytest.approx(vgg.seconds.likely * OTHERS)
    assert "0 of 1 networks were measured" in as_text(found)


def test_starting_over_measures_everything_once_more(measured: Path) -> None:
    (job,) = asked(measured, backbones="MobileNetV2", freeze="all,all-1", fresh=True).jobs
    assert ([cell.freeze for cell in job.missing], job.there) == (["all", "all-1"], 0)
    assert job.seconds.likely == pytest.approx(20)


def total(jobs: tuple[Expected, ...]) -> int:
    return sum(len(job.missing) for job in jobs)


def test_every_depth_and_seed_of_all_forty_is_counted(here: Path) -> None:
    found = asked(here / "none", backbones="all", freeze="every", seeds=2)
    depths = [len(BY_NAME[job.job.label].stages) for job in found.jobs]
    assert len(depths) == 40
    assert total(found.jobs) == sum(1 + 2 * depth for depth in depths)
    assert len(as_text(found).splitlines()) == 40 + 9


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_command_prints_and_starts_and_writes_nothing(
    measured: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.executors.local, "run", None)
    before = files(here)
    words = ("--engine", "keras", "--precision", "float32", "--out", str(measured), "--plan")
    found = invoke("sweep", "--backbones", "MobileNetV2,scratch", *words)
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0] == "digits: 1,259 train, 179 val, 359 test images, 10 classes; keras in float32, tensorflow"
    assert [line.split()[0] for line in lines[2:5]] == ["job", "MobileNetV2", "scratch"]
    assert lines[3].split()[1:6] == ["96", "px", "0", "2", "-"]
    assert lines[-1] == "nothing was started or written"
    assert files(here) == before


def test_what_the_sweep_would_refuse_is_refused(measured: Path) -> None:
    found = invoke("sweep", "--plan", "--engine", "keras", "--precision", "bfloat16", "--out", str(measured))
    assert found.exit_code == 2
    assert "--precision float32" in found.stderr
