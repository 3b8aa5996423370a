"""What jobs will take, corrected by what they took, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.planned_jobs import planned

from backbench.budget.cost_model import DENSE, DEPTHWISE, OVERHEAD, Rate, Speeds
from backbench.budget.online_cost_model import STARTING, OnlineCostModel
from backbench.core.cells import planned_cells
from backbench.core.job import Job, Schedule, Screening
from backbench.core.request import Request
from backbench.evaluation.workload import workload_of
from backbench.results.run_record import ForecastRecord
from backbench.sweep import plan

NOTHING: dict[str, dict[str, Rate]] = {"training": {}, "frozen": {}, "probe": {}, "overhead": {}}


def job(backbone: str = "MobileNetV2", **asked: Any) -> Job:
    (made,) = planned(backbones=backbone, freeze="all,all-1", **asked)
    return made


def ids(made: Job, *freezes: str) -> list[str]:
    return [cell.cell_id for cell in planned_cells(made.spec) if cell.freeze in freezes]


def learnt(prices: OnlineCostModel, made: Job, *freezes: str, wall: float, **phases: float) -> None:
    seconds = {name.replace("_", "-" if name == "fine_tuning" else " "): value for name, value in phases.items()}
    prices.learn(made, ids(made, *freezes), said=10.0, phases=seconds, wall=wall)


def test_a_job_that_ran_is_expected_to_take_what_it_took() -> None:
    prices, made = OnlineCostModel(Speeds(NOTHING, product=1e11)), job()
    learnt(prices, made, "all", wall=30.0, frozen_pass=12.0, probe=3.0)
    assert prices.expected(made, ids(made, "all")) == pytest.approx(30.0)


def test_a_trial_tells_what_the_whole_cell_will_take() -> None:
    prices, made = OnlineCostModel(Speeds(NOTHING, product=1e11)), job(epochs=9)
    tried = made.with_effort(Schedule(epochs=1))
    learnt(prices, tried, "all-1", wall=30.0, frozen_pass=10.0, probe=2.0, fine_tuning=8.0, starting=5.0)
    assert prices.expected(tried, ids(made, "all-1")) == pytest.approx(30.0)
    # Of the trial's eight seconds three grow with its work; the whole has nine epochs and says at its end what all
    # images are.
    (whole,), (one,) = (workload_of(each, ids(made, "all-1")).training.values() for each in (made, tried))
    assert prices.expected(made, ids(made, "all-1")) == pytest.approx(10 + 2 + OVERHEAD + 5 + 3 * whole / one)


def test_what_never_ran_is_expected_to_be_as_quick_for_its_work_and_kind_as_what_did() -> None:
    prices, made, other = OnlineCostModel(Speeds(NOTHING, product=1e11)), job(), job("VGG16")
    learnt(prices, made, "all", wall=22.0, frozen_pass=10.0, probe=2.0)
    works = [workload_of(each, ids(each, "all")) for each in (made, other)]
    passed = 10 * works[1].frozen / works[0].frozen * DEPTHWISE / DENSE
    probed = 2 * works[1].probe / works[0].probe
    assert prices.expected(other, ids(other, "all")) == pytest.approx(10 + passed + probed)


def test_of_several_that_ran_the_typical_one_tells_and_how_it_is_trained_as_well() -> None:
    prices, other = OnlineCostModel(Speeds(NOTHING, product=1e11)), job("VGG16", epochs=9)
    for backbone, times in (("MobileNetV2", 1.0), ("Xception", 2.0), ("MobileNet", 8.0)):
        made = job(backbone, epochs=9)
        work = workload_of(made, ids(made, "all", "all-1"))
        (flops,) = work.training.values()
        share = DENSE if backbone == "Xception" else DEPTHWISE
        passed, steps = times * work.frozen / share / 1e11, times * flops / share / 1e11
        spent = {"frozen_pass": passed, "fine_tuning": steps + 2.0, "starting": 2.0}
        learnt(prices, made, "all", "all-1", wall=passed + steps + 2.0, **spent)
    work = workload_of(other, ids(other, "all", "all-1"))
    (flops,) = work.training.values()
    probe = prices.speeds.take("probe", other, work.probe).likely
    twice = 2.0 * (work.frozen + flops) / DENSE / 1e11
    assert prices.expected(other, ids(other, "all", "all-1")) == pytest.approx(twice + probe + 2.0)


def test_with_nothing_to_go_by_a_trained_cell_has_a_start_and_its_work_at_a_guessed_speed() -> None:
    prices, made = OnlineCostModel(Speeds(NOTHING, product=1e11)), job()
    alone = prices.expected(made, ids(made, "all"))
    both = prices.expected(made, ids(made, "all", "all-1"))
    (flops,) = workload_of(made, ids(made, "all-1")).training.values()
    assert both - alone == pytest.approx(STARTING + flops / (DEPTHWISE * 1e11))


def test_the_error_is_that_of_the_sum_and_of_the_typical_job() -> None:
    prices, made = OnlineCostModel(Speeds(NOTHING, product=1e11)), job()
    assert prices.error() == ForecastRecord(jobs=0, said=0.0, taken=0.0, median_factor=1.0)
    for wall in (5.0, 10.0, 40.0):  # each was said to take ten
        learnt(prices, made, "all", wall=wall, frozen_pass=4.0)
    assert prices.error() == ForecastRecord(jobs=3, said=30.0, taken=55.0, median_factor=2.0)


def test_a_screening_is_its_images_and_its_start() -> None:
    prices, made = OnlineCostModel(Speeds(NOTHING, product=1e11)), job()
    listing = plan.listing_for(Request(), progress=lambda *_: None)
    before = prices.expected(made, ids(made, "all"))
    few, _ = plan.screened(made.with_effort(Screening(100)), listing, images=100)
    learnt(prices, few, "all", wall=9.0, frozen_pass=2.0, scores=1.0)
    assert prices.expected(few, ids(few, "all")) == pytest.approx(9.0)
    # Nor does it cost more before the dataset has been cut down to them, which is when it is decided upon.
    assert prices.expected(made.with_effort(Screening(100)), ids(made, "all")) == pytest.approx(9.0)
    # By Keras in float32 and without latency or memory: it says nothing of a whole job.
    assert prices.expected(made, ids(made, "all")) == before
