"""What Ray costs: the same jobs by the local executor and as Ray tasks, with one and with two workers.

    python benchmarks/ray_overhead.py --dataset digits --limit 150

Every worker has one core: locally by binding its jobs to it, with Ray by binding its node, so that both sides compute
with the same threads and two nodes are two machines as far as cores go. Each side has caches of its own, empty at
first. What starts a cluster is not counted and listed apart. Seconds, and those of each job with one local worker,
go to benchmarks/ray_overhead.json; benchmarks/simulate_cluster.py --check predicts them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backbench.budget.cost_model import Speeds, longest_first
from backbench.core import hardware
from backbench.core.events import Summary
from backbench.core.files import write_json
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.executors import local
from backbench.executors.gpu_assignment import GpuAssignment
from backbench.executors.ray import cluster as ray_cluster
from backbench.executors.retry import JobFailure
from backbench.sweep import plan

# As where backbench starts a cluster: with Ray's 15 whatever else runs on the machine comes first.
os.environ.setdefault("RAY_worker_niceness", "0")

BACKBONES = "MobileNet:alpha=0.25,MobileNetV2:alpha=0.35,MobileNet,scratch"


def _silent(_text: str, _done: int, _total: int) -> None:
    return None


def _jobs(request: Request, cache: Path) -> list[Job]:
    listing = plan.listing_for(request, progress=_silent)
    dataset, _ = plan.dataset_for(request, listing, cache=cache, progress=_silent)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    jobs = plan.jobs_for(request, dataset, resolved=resolved, cache=cache)
    return [plan.with_pixels(job, listing, progress=_silent) for job in longest_first(list(jobs), Speeds({}, 1e11))]


@contextmanager
def _bound(core: int) -> Iterator[None]:
    """This process, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _nodes(count: int, folder: Path, cores: list[int]) -> Iterator[str]:
    """A cluster of so many nodes of one core; its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for node in range(count):
        with _bound(cores[node]):
            environment = {"BACKBENCH_CACHE": str(folder / f"node-{node}")}
            cluster.add_node(num_cpus=1, object_store_memory=200 << 20, env_vars=environment)
    try:
        yield cluster.address
    finally:
        for node in [*cluster.worker_nodes, cluster.head_node]:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def _timed(run: Callable[..., Any], jobs: list[Job], **options: Any) -> tuple[float, list[float]]:
    """Seconds from when the first job is asked for to the end of each, in the order of their ends, and before that.

    Raises SystemExit for a job that broke.
    """
    asked: list[float] = []

    def ready() -> Iterator[tuple[int, Job]]:
        asked.append(time.perf_counter())
        yield from enumerate(jobs)

    ends, began = [], time.perf_counter()
    for _, event in run(ready(), **options):
        if isinstance(event, JobFailure):
            raise SystemExit(f"a job broke: {event.reason}")
        if isinstance(event, Summary):
            ends.append(time.perf_counter() - asked[0])
    return asked[0] - began, ends


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--limit", type=int, default=150, help="images per split")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--backbones", default=BACKBONES)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    request = Request(
        dataset=asked.dataset, backbones=asked.backbones, freeze="all,all-1", weights="none", limit=asked.limit,
        image_size=asked.image_size, epochs=1,
    )  # fmt: skip
    cores = hardware.core_numbers()[:2]
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs = _jobs(request, folder / "pixels")
        for workers in (1, 2):
            bound = [GpuAssignment(None, (core,)) for core in cores[:workers]]
            local.of_this_machine = lambda _, bound=bound: list(bound)  # type: ignore[attr-defined]
            own = [job.with_resources(cache=folder / f"local-{workers}") for job in jobs]
            for job in own:
                job.resources.cache.mkdir(exist_ok=True)
            _, ends = _timed(local.run, own, logs=folder / "logs")
            seconds[f"local, {workers}"] = ends[-1]
            if workers == 1:
                each = {job.label: end - start for job, start, end in zip(jobs, [0.0, *ends], ends, strict=False)}
            began = time.perf_counter()
            with _nodes(workers, folder / f"ray-{workers}", cores) as address:
                started = time.perf_counter() - began
                connected, ends = _timed(ray_cluster.run, jobs, logs=folder / "logs", address=address)
            seconds[f"ray, {workers}"] = ends[-1]
            seconds[f"ray, {workers}, starting a cluster"] = started
            seconds[f"ray, {workers}, connecting to it"] = connected
            print(json.dumps(seconds, indent=1), flush=True)
    result = {
        "what": f"{len(jobs)} jobs ({', '.join(job.label for job in jobs)}) on {len(jobs[0].spec.dataset.ids)} images"
        f" of {asked.dataset} at {asked.image_size} px, each on one core",
        "device": hardware.cpu(),
        "jobs": each,
        "seconds": seconds,
        "ray_over_local": {workers: seconds[f"ray, {workers}"] / seconds[f"local, {workers}"] for workers in (1, 2)},
    }
    write_json(asked.out, {name: _rounded(value) for name, value in result.items()})
    print(asked.out.read_text(encoding="utf-8"))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _rounded(each) for name, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
