"""One job on one node of a Ray cluster: what it needs is brought here, it runs as on any machine, its events go out."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import ray

from backbench.backbones import place_of, weights_here
from backbench.core import hardware
from backbench.core.cache import cache_root, evict, forget_leftovers, hold, letting_go, limit_bytes, provide_home
from backbench.core.cells import Status
from backbench.core.dataset import Dataset
from backbench.core.errors import BackbenchError, RequestError
from backbench.core.events import CellFinished, Event, Progress
from backbench.core.files import whole_file
from backbench.core.job import Job
from backbench.core.version import __version__
from backbench.executors import local
from backbench.executors.ray.file_transfer import FileChunk, fetch, pieces
from backbench.executors.retry import JobFailure

# What computes the numbers: nodes whose versions differ would not fill one table.
PACKAGES = ("ray", "keras", "tensorflow", "jax", "torch", "openvino", "numpy", "scipy")

# Seconds between two reports of one phase: each is a message through the cluster.
QUIET = 0.25

# Seconds between two questions which cells others have taken over.
HEARD = 1.0

# Seconds after which an answer to that is not waited for: the actor may be busy with files.
PATIENCE = 10.0


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What has to be the same on all nodes: backbench with a digest of its source, Python, and `PACKAGES`."""
    package = Path(__file__).parents[2]
    source = sha256()
    for path in sorted(package.rglob("*.py")):
        source.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    found = {"backbench": __version__, "its source": source.hexdigest()[:12]}
    found["Python"] = platform.python_version()
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def compare(expected: Mapping[str, str]) -> None:
    """Raise RequestError where this node's versions are not those of the sweep's machine."""
    here = versions()
    for name, version in expected.items():
        if here.get(name) != version:
            raise RequestError(
                f"the node {socket.gethostname()} has {name} {here.get(name)} and the sweep's machine {version}:"
                " numbers of one table come from one version, so install the same on all nodes"
            )


def perform(
    position: int,
    job: Job,
    dataset: Dataset,
    *,
    shelf: Any,
    expected: Mapping[str, str],
    timeout: float | None,
    number: int = 0,
    work: local.Work = local.evaluate,
) -> Iterator[Event | JobFailure | FileChunk]:
    """Run a job in a process of its own on this node; a generator task, whose events the sweep's machine hears.

    `job` comes without its dataset, which all jobs share. Trained weights precede their cell, piece by piece, and the
    logs come last. Of cells that others take over from the task of this `number` the job hears before it begins with
    them. Raises RequestError on a node with other versions.
    """
    compare(expected)
    # A limit of Ray's own, which shares out the cores beside several GPUs; elsewhere a job has the node to itself.
    if os.environ.get("OMP_NUM_THREADS") == str(_assigned_cpus()) and not hardware.gpus():
        del os.environ["OMP_NUM_THREADS"]
    provide_home()
    cache = cache_root()
    forget_leftovers(cache)
    (cache / "jobs").mkdir(parents=True, exist_ok=True)
    with letting_go(), tempfile.TemporaryDirectory(prefix=".", dir=cache / "jobs") as place, ExitStack() as stack:
        logs, drafts = Path(place, "logs"), Path(place, "drafts") if job.resources.drafts else None
        try:
            job = job.with_spec(dataset=dataset).with_resources(drafts=drafts)
            job = _brought_here(job, shelf=shelf, cache=cache)
        except BackbenchError as error:
            yield JobFailure(Status.SKIPPED, str(error))
            return
        except OSError as error:
            why = f"{error.filename or cache}: {error.strerror or error}"
            yield JobFailure(
                Status.FAILED, f"the node {socket.gethostname()} could not keep what the job reads ({why})"
            )
            return
        taken = Path(place, "taken")
        job = job.with_resources(taken=taken)
        stack.enter_context(_hearing(taken, shelf, number))
        last: tuple[str, float] = ("", 0.0)
        for _, event in local.run([(position, job)], logs=logs, workers=1, timeout=timeout, work=work):
            os.utime(place)  # or it would be taken for something left behind after a day
            if isinstance(event, Progress) and 0 < event.done < event.total:
                if event.phase == last[0] and time.monotonic() - last[1] < QUIET:
                    continue
                last = event.phase, time.monotonic()
            if isinstance(event, CellFinished) and event.model:
                yield from pieces(event.model, "model")
                event.model.unlink()
            yield event
        for log in sorted(logs.glob("*.log")):
            yield from pieces(log, "log")
    evict(cache, limit_bytes())


@contextmanager
def _hearing(path: Path, shelf: Any, number: int) -> Iterator[None]:
    """Write down, while a job runs, which of its cells others have taken over."""
    done = threading.Event()

    def listen() -> None:
        known: list[str] = []
        while not done.wait(HEARD):
            with suppress(ray.exceptions.RayError, OSError):  # the job is then ended when it begins with such a cell
                if (taken := ray.get(shelf.taken.remote(number), timeout=PATIENCE)) != known:
                    with whole_file(path) as temporary:
                        temporary.write_text(" ".join(taken), encoding="ascii")
                    known = taken

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        done.set()
        listener.join()


def _brought_here(job: Job, *, shelf: Any, cache: Path) -> Job:
    """The job with pixels and weights on this node, from its own cache or from the sweep's machine."""
    theirs = job.resources.cache
    job = job.with_resources(cache=cache)
    if job.resources.pixels:
        target = cache / "pixels" / job.resources.pixels.path.name
        _fetch(target, job.resources.pixels.path, shelf)
        hold(target)
        job = job.with_resources(pixels=replace(job.resources.pixels, path=target))
    if job.spec.weights and job.spec.weights.path:
        found = weights_here(job.spec.backbone, cache, job.spec.weights.digest)
        if found is None:
            found = ray.get(shelf.weights.remote(job.spec.backbone, job.spec.weights, theirs))
            target = place_of(job.spec.backbone, found, cache)
            for path in (found.path, found.path.with_suffix(".json")):
                with suppress(FileNotFoundError):  # only a converted file has a note beside it
                    _fetch(target.with_suffix(path.suffix), path, shelf)
            found = replace(found, path=target)
        job = job.with_spec(weights=replace(found, source=job.spec.weights.source))
    return job


def _fetch(target: Path, path: Path, shelf: Any) -> None:
    """Have a file of the sweep's machine on this one. Raises OSError and UnavailableError from either."""
    try:
        fetch(target, sha256=ray.get(shelf.digest.remote(path)), blocks=_blocks(path, shelf))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _blocks(path: Path, shelf: Any) -> Iterator[bytes]:
    offset, coming = 0, shelf.read.remote(path, 0)
    while block := ray.get(coming):
        offset += len(block)
        coming = shelf.read.remote(path, offset)  # on its way while this one is written
        yield block


def _assigned_cpus() -> int:
    context: Any = ray.get_runtime_context()
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
