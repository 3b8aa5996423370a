"""How long a large sweep takes on a cluster that is not here: the cost model and the real order, played through.

    python benchmarks/simulate_cluster.py            # Food-101 and 14 million images over 1 to 256 GPUs
    python benchmarks/simulate_cluster.py --check    # against what benchmarks/ray_overhead.py measured on this machine

Jobs are those that a sweep would plan, their seconds those of the forecast, their order that of `--executor ray`:
longest first, each to the first worker that is free; cells handed over by its rule. "Shards too" is not built: there
the frozen passes are cut to fit as well, and made once for all cells of a network. Efficiency is the time of one GPU
over that of all together. A node fetches the pixels of a size when its first job of that size begins, over the one link
of the sweep's machine. What is supposed of the machines stands in ASSUMED and in the JSON that is written.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backbench import planning
from backbench.cache import write_json
from backbench.cells import plan
from backbench.executors.attempts import Attempt
from backbench.executors.parts import split
from backbench.forecast import Speeds, expected_seconds, longest_first
from backbench.records import Cell, Dataset, Finished, Job, Request, Started
from backbench.workload import Work, memory_of, work_of

HERE = Path(__file__).parent

ASSUMED = {
    "product_flops": 4e13,  # a second of one GPU, in a large product at the precision of the sweep
    "gpus_of_a_node": 8,
    "link_bytes": 1.25e9,  # a second out of the sweep's machine: 10 Gbit/s
    "node_link_bytes": 1.25e9,
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
class Task:
    """Work for one worker: seconds of computing, the size of the images that it reads, and the moment it may begin."""

    seconds: float
    size: int
    after: float = 0.0


@dataclass(frozen=True)
class Played:
    """A sweep that was played through: the end, the share of the workers' time that was work, and the bytes moved."""

    makespan: float
    efficiency: float
    moved: float
    ends: tuple[float, ...]


def play(
    tasks: Sequence[Task],
    *,
    workers: int,
    of_a_node: int,
    pixels: Mapping[int, float],
    link: float,
    there: bool = False,
) -> Played:
    """Hand tasks in order to the first worker that is free. `pixels` has the bytes of each size, 0 where all have it.

    With `there` the first node is the sweep's own machine, to which nothing moves.
    """
    free = [(0.0, worker) for worker in range(workers)]
    arrived: dict[tuple[int, int], float] = {}
    busy, moved, link_free = 0.0, 0.0, 0.0
    ends = []
    for task in tasks:
        at, worker = heapq.heappop(free)
        node, begin = worker // of_a_node, max(at, task.after)
        if (node, task.size) not in arrived:
            amount = 0.0 if there and node == 0 else pixels.get(task.size, 0.0)
            link_free = max(link_free, begin) + amount / link if amount else link_free
            arrived[node, task.size] = link_free if amount else begin
            moved += amount
        begin = max(begin, arrived[node, task.size])
        heapq.heappush(free, (begin + task.seconds, worker))
        ends.append(begin + task.seconds)
        busy += task.seconds
    makespan = max(ends)
    return Played(makespan, busy / (workers * makespan), moved, tuple(ends))


def jobs_of(counts: tuple[int, int, int, int]) -> list[Job]:
    """40 backbones at their own sizes, five depths, three seeds."""
    train, val, test, classes = counts
    health = {"train": train, "val": val, "test": test}
    empty = np.zeros(0, np.int64)
    names = tuple(map(str, range(classes)))
    data = Counted("simulated", "", names, (), empty, empty.astype(str), empty, "0" * 64, health)
    request = Request(backbones="all", freeze="all,all-1,all-2,all-3,all-4", seeds=3, keep_gb=2000.0)
    resolved = {"engine": "keras", "precision": "bfloat16", "backend": "jax"}
    return list(planning.jobs_for(request, data, resolved=resolved, cache=Path("nowhere")))


def pixels_bytes(jobs: Iterable[Job]) -> dict[int, float]:
    """Bytes of the decoded images by their size."""
    images = {
        job.image_size: sum(len(job.dataset.indices(split)) for split in ("train", "val", "test")) for job in jobs
    }
    return {size: 3.0 * size**2 * count for size, count in images.items()}


@dataclass
class Worker:
    """One of the cluster in the play: the job that it has, and the cells that it still does of it."""

    node: int
    attempt: Attempt | None = None


def play_jobs(
    jobs: Sequence[Job],
    speeds: Speeds,
    *,
    workers: int,
    of_a_node: int,
    pixels: Mapping[int, float],
    link: float,
    there: bool,
    hand_over: bool,
) -> Played:
    """Jobs longest first; with `hand_over` whoever has none takes over cells, by the rule that the executor has."""
    works = {job.label: work_of(job, {cell.cell_id for cell in plan(job)}) for job in jobs}

    def quickly(job: Job, cells: Collection[str]) -> Work:
        whole = works[job.label]
        return replace(whole, training={cell: flops for cell, flops in whole.training.items() if cell in cells})

    def shared(job: Job) -> float:
        parts = (("frozen", works[job.label].frozen), ("probe", works[job.label].probe), ("overhead", 1.0))
        return sum(speeds.take(part, job, amount).likely for part, amount in parts)

    waiting = [
        replace(job, wanted=tuple(cell.cell_id for cell in plan(job) if not cell.impossible))
        for job in longest_first(jobs, speeds)
    ]
    waiting.reverse()
    everyone = [Worker(number // of_a_node) for number in range(workers)]
    idle, events = list(reversed(everyone)), list[tuple[float, int, Worker]]()
    arrived: dict[tuple[int, int], float] = {}
    busy = moved = link_free = now = 0.0
    while True:
        while idle and (waiting or hand_over):
            running = [worker.attempt for worker in everyone if worker.attempt]
            if waiting:
                attempt = Attempt(waiting.pop())
            elif found := split(running, work_of=quickly):
                attempt = found[1]
            else:
                break
            worker = idle.pop()
            worker.attempt = attempt
            place = worker.node, attempt.job.image_size
            if place not in arrived:
                amount = 0.0 if there and worker.node == 0 else pixels.get(attempt.job.image_size, 0.0)
                link_free = max(link_free, now) + amount / link if amount else link_free
                arrived[place] = link_free if amount else now
                moved += amount
            busy += (lasts := shared(attempt.job))
            heapq.heappush(events, (max(now, arrived[place]) + lasts, len(events) + id(worker), worker))
        if not events:
            return Played(now, busy / (workers * now), moved, ())
        now, _, worker = heapq.heappop(events)
        attempt = worker.attempt
        assert attempt is not None
        if attempt.cell:
            list(attempt.hear(Finished(Cell(attempt.cell, "ok", "", {}, {}))))
        if not attempt.job.wanted:
            worker.attempt = None
            idle.append(worker)
            continue
        list(attempt.hear(Started(attempt.job.wanted[0])))
        flops = works[attempt.job.label].training.get(attempt.job.wanted[0], 0.0)
        busy += (lasts := speeds.take("training", attempt.job, flops).likely)
        heapq.heappush(events, (now + lasts, len(events) + id(worker), worker))


def split_up(
    jobs: Sequence[Job], speeds: Speeds, workers: int
) -> tuple[list[Task], list[tuple[float, int, list[float]]]]:
    """What could be: the frozen pass of each job in shards of at most a quarter of a worker's share, cells apart.

    Returns the shards and, for each job in their order, the number of its shards, and the seconds of its cells.
    """
    parts = []
    for job in longest_first(jobs, speeds):
        work = work_of(job, {cell.cell_id for cell in plan(job)})
        frozen = speeds.take("frozen", job, work.frozen).likely
        shared = speeds.take("probe", job, work.probe).likely + speeds.take("overhead", job, 1.0).likely
        cells = [speeds.take("training", job, flops).likely for flops in work.training.values()]
        parts.append((job, frozen, shared, cells))
    share = sum(frozen + shared + sum(cells) for _, frozen, shared, cells in parts) / workers
    shards, rest = [], []
    for job, frozen, shared, cells in parts:
        count = max(1, math.ceil(frozen / (share / 4)))
        start = speeds.take("overhead", job, 1.0).likely / 4  # building the network, once a shard
        shards += [Task(frozen / count + start, job.image_size)] * count
        rest.append((shared, count, cells))
    return shards, rest


def play_split(jobs: Sequence[Job], speeds: Speeds, *, workers: int, **machines: Any) -> Played:
    """Shards first, then the cells of each job as soon as its shards have been joined, the longest cells first."""
    shards, rest = split_up(jobs, speeds, workers)
    first = play(shards, workers=workers, **machines)
    order = longest_first(jobs, speeds)
    cells, done = [], 0
    for job, (shared, count, seconds) in zip(order, rest, strict=True):
        joined = max(first.ends[done : done + count])
        done += count
        cells += [Task(one + shared / max(1, len(seconds)), job.image_size, joined) for one in seconds]
    cells.sort(key=lambda task: -task.seconds)
    return play([*shards, *cells], workers=workers, **machines)


def simulated(name: str) -> dict[str, Any]:
    """Makespan, efficiency and bytes of one dataset over all numbers of GPUs."""
    jobs = jobs_of(COUNTS[name])
    speeds = Speeds({"probe": {"": 1 / ASSUMED["probe_flops"]}}, product=ASSUMED["product_flops"])
    pixels = pixels_bytes(jobs)
    found: dict[str, Any] = {
        "images": sum(COUNTS[name][:3]),
        "cells": sum(not cell.impossible for job in jobs for cell in plan(job)),
        "gpu_hours": sum(expected_seconds(job, speeds).likely for job in jobs) / 3600,
        "longest_job_hours": max(expected_seconds(job, speeds).likely for job in jobs) / 3600,
        "longest_cell_hours": max(
            (speeds.take("training", job, flops).likely, job.label)
            for job in jobs
            for flops in work_of(job, {cell.cell_id for cell in plan(job)}).training.values()
        ),
        "pixels_gb_of_all_sizes": sum(pixels.values()) / 1e9,
        "largest_memory_gb": max(memory_of(job) for job in jobs) / 1e9,
        "over": {},
    }
    hours, label = found["longest_cell_hours"]
    found["longest_cell_hours"], found["longest_cell_of"] = hours / 3600, label
    alone = sum(expected_seconds(job, speeds).likely for job in jobs)
    for gpus in GPUS:
        machines = {
            "of_a_node": int(ASSUMED["gpus_of_a_node"]), "pixels": pixels, "link": ASSUMED["link_bytes"], "there": True,
        }  # fmt: skip
        played = {
            "whole jobs": play_jobs(jobs, speeds, workers=gpus, hand_over=False, **machines),
            "cells handed over": play_jobs(jobs, speeds, workers=gpus, hand_over=True, **machines),
            "shards too": play_split(jobs, speeds, workers=gpus, **machines),
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
    return found


def checked(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What is predicted for one and two workers of this machine, from the jobs as one local worker took them."""
    jobs = sorted(measured["jobs"].values(), reverse=True)
    found = {}
    for workers in (1, 2):
        tasks = [Task(seconds, 0) for seconds in jobs]
        predicted = play(tasks, workers=workers, of_a_node=1, pixels={}, link=1.0).makespan
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
