"""What a sweep will take, before it starts: jobs, cells, seconds and bytes, and how sure that is. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from backbench.backbones import locate, parse_backbones
from backbench.core.backbone import SCRATCH
from backbench.core.cells import Cell, PlannedCell, Series, Status, but_weights, planned_cells
from backbench.core.columns import measured
from backbench.core.events import COST_PHASES, Phase
from backbench.core.job import Job
from backbench.evaluation.workload import Workload, workload_of
from backbench.results import store
from backbench.results.run_record import JobRecord

# By how much an estimate may be off, either way: measured with this network, with others, or guessed.
OWN, OTHERS, GUESS = 1.4, 2.5, 4.0

# Guessed share of a large matrix product's speed that networks reach, and depthwise ones, and that the probe reaches.
# On two CPUs VGG16 had 1.0 and 2.1, Xception 0.8 and 1.4, MobileNet and MobileNetV2 0.3 to 0.9, small ones 0.15.
DENSE, DEPTHWISE, PROBE = 1.2, 0.45, 0.4

DEPTHWISE_FAMILIES = (SCRATCH, "mobilenet", "efficientnet", "efficientnetv2", "nasnet", "convnext")

# Guessed seconds of building and measuring a network.
OVERHEAD = 12.0

# How much quicker OpenVINO in bfloat16 runs the frozen part than Keras in float32 (benchmarks/engines.json).
QUICKER = 2.2

# Phases of a job (run.json) behind each part of the work.
PHASES = {
    "frozen": (Phase.FROZEN_PASS, Phase.AUGMENTED_VIEWS),
    "probe": (Phase.PROBE,),
    "overhead": (Phase.BUILDING, Phase.ENGINE, *COST_PHASES, Phase.SCORES),
}


@dataclass(frozen=True)
class Seconds:
    """An estimate with how far it may be off: from `likely` / factor to `likely` x factor, summed over the parts."""

    likely: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.likely + other.likely, self.least + other.least, self.most + other.most)


@dataclass(frozen=True)
class Rate:
    """Seconds that each FLOP of a part took, or each job, and those that are `usual` for such a network."""

    seconds: float
    usual: float


@dataclass(frozen=True)
class Speeds:
    """What was measured of the parts of work, by network, and what is guessed of others.

    `measured` has part -> label of the job -> rate; `product` is the FLOPs a second of a matrix product, which is asked
    for only where nothing was measured.
    """

    measured: Mapping[str, Mapping[str, Rate]]
    product: float

    def take(self, part: str, job: Job, amount: float) -> Seconds:
        """Seconds of so many FLOPs of a part, or of so many jobs."""
        if not amount:
            return Seconds()
        known = self.measured.get(part, {})
        if job.label in known:
            rate, factor = known[job.label].seconds, OWN
        elif known:
            rate, factor = typical(known.values()) * usual(part, job), OTHERS
        else:
            rate, factor = usual(part, job) / (1 if part == "overhead" else self.product), GUESS
        return Seconds(amount * rate, amount * rate / factor, amount * rate * factor)


def usual(part: str, job: Job) -> float:
    """Guessed seconds of a job's overhead or, on a machine with a product of one FLOP a second, of a part's FLOP."""
    if part.startswith("overhead"):
        return OVERHEAD
    if part == "probe":
        return 1 / PROBE
    deep = job.spec.backbone.family in DEPTHWISE_FAMILIES
    once = 1 / (DEPTHWISE if deep else DENSE)
    return once / (
        QUICKER if part == "frozen" and (job.spec.engine, job.spec.precision) == ("openvino", "bfloat16") else 1
    )


def typical(rates: Iterable[Rate]) -> float:
    """How much longer than usual these took, in the median: the machine, where networks are not all of one kind."""
    return median(rate.seconds / rate.usual for rate in rates)


@dataclass(frozen=True)
class Expected:
    """One job: which of its cells are to be measured and which are there, its work, time and downloads (bytes)."""

    job: Job
    missing: tuple[PlannedCell, ...]
    there: int
    impossible: int
    work: Workload
    seconds: Seconds
    by_cell: Mapping[str, Seconds]
    download: int


def longest_first(jobs: Sequence[Job], speeds: Speeds, there: Collection[str] = ()) -> list[Job]:
    """Jobs in the order in which many workers finish soonest: what takes longest must not be the last to start."""
    return sorted(jobs, key=lambda job: expected_seconds(job, speeds, there).likely, reverse=True)


def expected_seconds(job: Job, speeds: Speeds, there: Collection[str] = ()) -> Seconds:
    """How long the cells of a job will take that are not `there` (digests of identities but for the weights)."""
    return _expected(job, there, speeds).seconds


def known(directory: Path, template: Job) -> tuple[Speeds, set[str]]:
    """Speeds from what was measured in a results folder, and which cells it has, but for their weights."""
    there = (directory / "run.json").exists()
    jobs = (store.read_run(directory).jobs or ()) if there else ()
    cells = [cell for cell in store.read_cells(directory) if cell.status == Status.OK] if there else []
    measured = _measured(cells, jobs, template)
    speeds = Speeds(measured, product=0.0 if all(measured.values()) else _product())
    return speeds, {but_weights(cell.identity) for cell in cells}


def _expected(job: Job, there: Collection[str], speeds: Speeds) -> Expected:
    plans = planned_cells(job.spec)
    possible = [cell for cell in plans if not cell.impossible]
    missing = tuple(cell for cell in possible if but_weights(cell.identity) not in there)
    work = workload_of(job, {cell.cell_id for cell in missing})
    by_cell = {cell_id: speeds.take("training", job, flops) for cell_id, flops in work.training.items()}
    shared = [speeds.take(part, job, amount) for part, amount in (("frozen", work.frozen), ("probe", work.probe))]
    parts = [*shared, speeds.take("overhead", job, bool(missing)), *by_cell.values()]
    wanted = job.spec.backbone if missing and job.spec.pretrained else None
    here = wanted is None or locate(wanted, job.resources.cache).startswith("here")
    return Expected(
        job,
        missing,
        len(possible) - len(missing),
        len(plans) - len(possible),
        work,
        sum(parts, Seconds()),
        by_cell,
        0 if wanted is None or here else 4 * wanted.params,
    )


def _measured(cells: Sequence[Cell], jobs: Sequence[JobRecord], template: Job) -> dict[str, dict[str, Rate]]:
    """Rates by part and label; all cells of a folder share the dataset and the recipe."""
    found: dict[str, dict[str, Rate]] = {part: {} for part in ("training", *PHASES)}
    series: dict[Series, list[Cell]] = {}
    for cell in cells:
        series.setdefault(cell.key.series, []).append(cell)
    for (name, weights, size), members in series.items():
        job = _like(template, name, weights == "imagenet", size, members)
        ids = {cell.key: cell.cell_id for cell in planned_cells(job.spec)}
        spent_on = {ids[member.key]: measured(member.row.fit_seconds) for member in members}
        work = workload_of(job, set(spent_on))
        trained = [spent_on[cell_id] / flops for cell_id, flops in work.training.items()]
        if trained:
            found["training"][job.label] = Rate(median(trained), usual("training", job))
        amounts = {"frozen": work.frozen, "probe": work.probe, "overhead": 1.0}
        last = [record.seconds for record in jobs if record.label == job.label][-1:]
        for part, phases in PHASES.items():
            for seconds in last:
                spent = sum(seconds.get(phase, 0.0) for phase in phases)
                if spent and amounts[part]:
                    found[part][job.label] = Rate(spent / amounts[part], usual(part, job))
    return found


def _like(template: Job, name: str, pretrained: bool, size: int, members: Sequence[Cell]) -> Job:
    """The job that measured these cells."""
    (backbone,) = parse_backbones(name)
    recipe = [member.identity["recipe"] for member in members if "epochs" in member.identity["recipe"]]
    return template.with_spec(
        backbone=backbone,
        pretrained=pretrained,
        image_size=size,
        freeze=tuple(dict.fromkeys(member.row.freeze for member in members)),
        seeds=1 + max(member.row.seed for member in members),
        epochs=int(recipe[0]["epochs"]) if recipe else template.spec.epochs,
    )


def _product(side: int = 1024) -> float:
    """FLOPs a second of a float32 matrix product on this CPU, the best of three."""
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - began)
    return 2 * side**3 / min(spent)
