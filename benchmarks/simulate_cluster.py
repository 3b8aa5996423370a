"""How long a large sweep takes on a cluster that is not here: the cost model and the real order, played through.

    python benchmarks/simulate_cluster.py            # Food-101 and 14 million images over 1 to 256 GPUs
    python benchmarks/simulate_cluster.py --check    # against what benchmarks/ray_overhead.py measured on this machine

Jobs are those that a sweep would plan, their seconds those of the forecast, their order that of `--executor ray`:
longest first, each to the first worker that is free; workers without a job take over cells of other jobs by the
executor's own rule. Efficiency is the time of one GPU over that of all together. A node fetches the pixels of a size
when its first job of that size begins, over the one link of the sweep's machine. What is supposed of the machines
stands in ASSUMED and in the JSON.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backbench.budget.cost_model import DENSE, Rate, Speeds, expected_seconds, longest_first, usual
from backbench.core.cells import Cell, planned_cells
from backbench.core.dataset import Dataset
from backbench.core.events import CellFinished, CellStarted
from backbench.core.files import write_json
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.evaluation.workload import Workload, memory_of, workload_of
from backbench.executors.ray import work_stealing
from backbench.executors.retry import Attempt
from backbench.sweep import plan

HERE = Path(__file__).parent

ASSUMED = {
    "dense_flops": 3.2e13,  # a second of one GPU in dense convolutions; depthwise ones reach 3/8 of it
    "gpus_of_a_node": 8,
    "link_bytes": 1.25e9,  # a second out of the sweep's machine: 10 Gbit/s
    "probe_flops": 1e12,  # a second of a GPU's share of the cores, where the probe runs
}

COUNTS = {"Food-101": (68_175, 7_575, 25_250, 101), "14 million": (12_600_000, 700_000, 700_000, 1_000)}
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Counted(Dataset):
    """A dataset of which only the sizes are known."""

    def indices(self, split: str) -> Any:
        """So many positions."""
        return range(self.health[split])


@dataclass(frozen=True)
class Played:
    """A sweep that was played through: the seconds until its end, and the bytes moved out of the sweep's machine."""

    makespan: float
    moved: float


def one_after_the_other(seconds: Sequence[float], *, workers: int) -> float:
    """The end of jobs that are handed in order to the first worker that is free."""
    free = [0.0] * workers
    for lasts in seconds:
        heapq.heapreplace(free, free[0] + lasts)
    return max(free)


def jobs_of(counts: tuple[int, int, int, int]) -> list[Job]:
    """40 backbones at their own sizes, five depths, three seeds."""
    train, val, test, classes = counts
    health = {"train": train, "val": val, "test": test}
    empty, rows = np.zeros(0, np.int64), np.arange(train + val + test)
    names = tuple(map(str, range(classes)))
    data = Counted("simulated", "", names, (), empty, empty.astype(str), rows, "0" * 64, health)
    request = Request(backbones="all", freeze="all,all-1,all-2,all-3,all-4", seeds=3, keep_gb=2000.0)
    resolved = {"engine": "keras", "precision": "bfloat16", "backend": "jax"}
    return list(plan.jobs_for(request, data, resolved=resolved, cache=Path("nowhere")))


def pixels_bytes(jobs: Iterable[Job]) -> dict[int, float]:
    """Bytes of the decoded images by their size."""
    images = {
        job.spec.image_size: sum(len(job.spec.dataset.indices(split)) for split in ("train", "val", "test"))
        for job in jobs
    }
    return {size: 3.0 * size**2 * count for size, count in images.items()}


@dataclass
class Worker:
    """One of the cluster in the play: the job that it has, and the cells that it still does of it."""

    node: int
    attempt: Attempt | None = None


class Known:
    """What each job is, with its work as it was planned: the executor's rules ask for it again and again."""

    def __init__(self, jobs: Sequence[Job], speeds: Speeds) -> None:
        self.speeds = speeds
        self._all = {job.label: workload_of(job, {cell.cell_id for cell in planned_cells(job.spec)}) for job in jobs}
        self.total = sum(work.frozen + sum(work.training.values()) for work in self._all.values())

    def work(self, job: Job, cells: Collection[str]) -> Workload:
        """The work of some cells of a job."""
        whole = self._all[job.label]
        return replace(whole, training={cell: whole.training[cell] for cell in cells if cell in whole.training})

    def training(self, job: Job, cell: str) -> float:
        """Seconds of a cell."""
        return self.speeds.take("training", job, self._all[job.label].training.get(cell, 0.0)).likely

    def shared(self, job: Job) -> float:
        """Seconds until a worker begins with cells of a job."""
        work = self._all[job.label]
        amounts = {"frozen": work.frozen, "probe": work.probe, "overhead": 1.0}
        return sum(self.speeds.take(part, job, amount).likely for part, amount in amounts.items())


def running(everyone: Iterable[Worker]) -> Iterator[Attempt]:
    """What they are at."""
    return (worker.attempt for worker in everyone if worker.attempt)


def play_jobs(
    jobs: Sequence[Job], known: Known, *, workers: int, pixels: Mapping[int, float], hand_over: bool
) -> Played:
    """Jobs longest first; with `hand_over` whoever has none takes over cells, by the rule that the executor has."""
    waiting = list(reversed(longest_first(jobs, known.speeds)))
    everyone = [Worker(number // int(ASSUMED["gpus_of_a_node"])) for number in range(workers)]
    idle = list(reversed(everyone))
    events = list[tuple[float, int, Worker]]()
    arrived: dict[tuple[int, int], float] = {}
    moved = link_free = now = 0.0
    begun = 0
    while True:
        while idle and (waiting or hand_over):
            if waiting:
                job = waiting.pop()
                job = job.owing(tuple(cell.cell_id for cell in planned_cells(job.spec) if not cell.impossible))
                attempt = Attempt(job.owing(work_stealing.longest_first(job)))
            elif taken_over := work_stealing.split(running(everyone), share=known.total / workers, work_of=known.work):
                attempt = taken_over[1]
            else:
                break
            worker = idle.pop()
            worker.attempt = attempt
            place = worker.node, attempt.job.spec.image_size
            if place not in arrived:
                amount = (
                    0.0 if worker.node == 0 else pixels[attempt.job.spec.image_size]
                )  # it is the sweep's own machine
                link_free = max(link_free, now) + amount / ASSUMED["link_bytes"] if amount else link_free
                arrived[place] = link_free if amount else now
                moved += amount
            start = max(now, arrived[place])
            heapq.heappush(events, (start + known.shared(attempt.job), begun := begun + 1, worker))
        if not events:
            return Played(now, moved)
        now, _, worker = heapq.heappop(events)
        attempt = worker.attempt
        assert attempt is not None
        if attempt.cell:
            list(attempt.hear(CellFinished(Cell(attempt.cell, "ok", "", {}, {}))))
        if not attempt.job.cells:
            worker.attempt = None
            idle.append(worker)
            continue
        cell = attempt.job.cells[0]
        list(attempt.hear(CellStarted(cell)))
        heapq.heappush(events, (now + known.training(attempt.job, cell), begun := begun + 1, worker))


def simulated(name: str) -> dict[str, Any]:
    """Makespan, efficiency and bytes of one dataset over all numbers of GPUs."""
    jobs = jobs_of(COUNTS[name])
    probe = Rate(1 / ASSUMED["probe_flops"], usual("probe", jobs[0]))
    speeds = Speeds({"probe": {"": probe}}, product=ASSUMED["dense_flops"] / DENSE)
    pixels = pixels_bytes(jobs)
    found: dict[str, Any] = {
        "images": sum(COUNTS[name][:3]),
        "cells": sum(not cell.impossible for job in jobs for cell in planned_cells(job.spec)),
        "gpu_hours": sum(expected_seconds(job, speeds).likely for job in jobs) / 3600,
        "longest_job_hours": max(expected_seconds(job, speeds).likely for job in jobs) / 3600,
        "longest_cell_hours": max(
            (speeds.take("training", job, flops).likely, job.label)
            for job in jobs
            for flops in workload_of(job, {cell.cell_id for cell in planned_cells(job.spec)}).training.values()
        ),
        "pixels_gb_of_all_sizes": sum(pixels.values()) / 1e9,
        "largest_memory_gb": max(memory_of(job) for job in jobs) / 1e9,
        "over": {},
    }
    hours, label = found["longest_cell_hours"]
    found["longest_cell_hours"], found["longest_cell_of"] = hours / 3600, label
    known = Known(jobs, speeds)
    alone = sum(expected_seconds(job, speeds).likely for job in jobs)
    for gpus in GPUS:
        played = {
            way: play_jobs(jobs, known, workers=gpus, pixels=pixels, hand_over=hand_over)
            for way, hand_over in {"whole jobs": False, "cells handed over": True}.items()
        }
        found["over"][str(gpus)] = {
            way: {
                "hours": one.makespan / 3600,
                "speed_up": alone / one.makespan,
                "efficiency": alone / one.makespan / gpus,
                "moved_tb": one.moved / 1e12,
            }
            for way, one in played.items()
        }
        print(name, gpus, {way: f"{100 * one['efficiency']:.0f}%" for way, one in found["over"][str(gpus)].items()})
    return found


def checked(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What is predicted for one and two workers of this machine, from the jobs as one local worker took them."""
    jobs = sorted(measured["jobs"].values(), reverse=True)
    found = {}
    for workers in (1, 2):
        predicted = one_after_the_other(jobs, workers=workers)
        real = measured["seconds"][f"ray, {workers}"]
        found[str(workers)] = {"predicted": predicted, "measured": real, "off": predicted / real - 1}
    return found


def main() -> None:
    """Play through, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    result = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    if asked.check:
        result["check"] = checked(json.loads((HERE / "ray_overhead.json").read_text(encoding="utf-8")))
        print(json.dumps(result["check"], indent=1))
    else:
        result["assumed"] = ASSUMED
        result["datasets"] = {name: simulated(name) for name in COUNTS}
        print(json.dumps(result["datasets"], indent=1))
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
