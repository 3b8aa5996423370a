"""Jobs as tasks of a Ray cluster: each asks for its share of a node, tells its events, moves on if the node is lost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from backbench.errors import BackbenchError, RequestError
from backbench.executors.attempts import FITS, OUT_OF_TIME, Attempt, Broken, after, after_loss, owed
from backbench.executors.demand import Demand, demand
from backbench.executors.parts import Parts, split
from backbench.executors.ray_session import connected, installed, nodes
from backbench.executors.shipping import Piece, Shelf, put_down
from backbench.records import Dataset, Event, Finished, Job, Started
from backbench.workload import memory_of

__all__ = ["installed", "run"]

# Seconds until the cluster is looked at again, which may have grown, or a job asked for again that was not ready.
PATIENCE, UNREADY = 5.0, 0.1

# Calls that the actor for files answers at a time.
READERS = 4


@dataclass
class _Task:
    """A job on its way through the cluster. `events` is Ray's generator, of a reference for each event."""

    position: int
    attempt: Attempt
    events: Any
    ended: bool = False


def run(
    jobs: Iterable[tuple[int, Job] | None],
    *,
    logs: Path,
    timeout: float | None = None,
    deadline: float | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> Generator[tuple[int, Event | Broken]]:
    """Run numbered jobs in order on a Ray cluster, as many at a time as it has room for, and at most `workers`.

    Yields (number, event) as events arrive. On its node a job runs as `local.run` runs it, with the same `timeout` and
    the same second attempts; a job whose node or worker is lost goes on elsewhere with the cells that it still owes.
    When there are no more jobs, workers take over cells of those that run, where they are worth it (`parts`).
    None in place of a job, and `deadline`, mean what they mean there. Raises RequestError where there is no cluster, or
    nodes have other versions.
    """
    last = math.inf if deadline is None else deadline
    with connected(address) as ray, ExitStack() as stack:
        cluster = _Cluster(ray, workers=workers, timeout=timeout)
        stack.callback(cluster.close)
        waiting = iter(jobs)
        again: deque[tuple[int, Attempt]] = deque()
        parts = Parts()
        while time.monotonic() < last:
            unready = False
            while again or cluster.has_room():
                if again:
                    cluster.start(*again.popleft())
                elif ready := next(waiting, ()):
                    parts.begin(ready[0])
                    cluster.start(ready[0], Attempt(ready[1]))
                elif ready is None:
                    unready = True
                    break
                elif found := cluster.to_hand_over():
                    parts.begin(found[0])
                    cluster.start(*found)
                else:
                    break
            if not (cluster.running or unready):
                return
            patience = UNREADY if unready else PATIENCE
            for task in cluster.ready(max(0.0, min(patience, last - time.monotonic()))):
                told, following = _listen(ray, task, logs)
                yield from ((task.position, event) for event in parts.tell(task.position, task.attempt, told))
                if task.ended:
                    cluster.end(task)
                if following:
                    again.append((task.position, following))
                elif task.ended:
                    yield from ((task.position, event) for event in parts.end(task.position))
        stopped = [*(task.position for task in cluster.running), *(position for position, _ in again)]
        cluster.close()
        yield from ((position, OUT_OF_TIME) for position in dict.fromkeys(stopped))


class _Cluster:
    """The tasks that are under way, and what each of them asks for."""

    def __init__(self, ray: Any, *, workers: int | None, timeout: float | None) -> None:
        from backbench.executors import ray_node

        self._ray, self._workers, self._timeout = ray, workers, timeout
        self._versions = ray_node.versions()
        self._perform = ray.remote(num_returns="streaming", max_retries=0)(ray_node.perform)
        here = ray.get_runtime_context().get_node_id()
        self._shelf = (
            ray.remote(Shelf)
            .options(
                num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=READERS, scheduling_strategy=_on(here)
            )
            .remote()
        )
        self._datasets: dict[int, tuple[Dataset, Any]] = {}
        self._asked: Demand | None = None
        self._looked = self._nothing_until = 0.0
        self.running: list[_Task] = []
        # Before anything is computed; a node that joins later is refused by its first task.
        asking = ray.remote(num_cpus=0, max_retries=1)(ray_node.compare)
        for asked in [asking.options(scheduling_strategy=_on(node)).remote(self._versions) for node in nodes(ray)]:
            try:
                _result(ray, asked)
            except ray.exceptions.RayTaskError as error:
                raise RequestError(
                    f"a node of the Ray cluster cannot run this backbench ({_last_line(error.cause)}):"
                    " install the same version on all of them"
                ) from None
            except ray.exceptions.RayError:  # a node that is about to be known as dead
                continue

    def has_room(self) -> bool:
        """Whether one more job may be on its way."""
        return len(self.running) < max(1, self._demand().room)

    def _demand(self) -> Demand:
        """What a job asks for now; the cluster is asked for its nodes once in a while."""
        if self._asked is None or time.monotonic() - self._looked > PATIENCE:
            try:
                self._asked = demand(list(nodes(self._ray).values()), self._workers)
            except ValueError as error:
                raise RequestError(f"the Ray cluster cannot run jobs: {error}") from None
            self._looked = time.monotonic()
        return self._asked

    def start(self, position: int, attempt: Attempt) -> None:
        """Hand a job to the cluster, which starts it where what it asks for is free."""
        job, asked = attempt.job, self._demand()
        if id(job.dataset) not in self._datasets:  # once for all of its jobs
            self._datasets[id(job.dataset)] = job.dataset, self._ray.put(job.dataset)
        events = self._perform.options(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            memory=int(min(memory_of(job), asked.memory)),
            scheduling_strategy="SPREAD",
            name=f"backbench {position}",
        ).remote(
            position,
            replace(job, dataset=cast("Any", None)),
            self._datasets[id(job.dataset)][1],
            shelf=self._shelf,
            expected=self._versions,
            timeout=self._timeout,
        )
        self.running.append(_Task(position, attempt, events))

    def to_hand_over(self) -> tuple[int, Attempt] | None:
        """Cells of the job that has most left to do, for a worker that has nothing; looked for once in a while."""
        if time.monotonic() < self._nothing_until:
            return None
        found = split(task.attempt for task in self.running)
        if found is None:
            self._nothing_until = time.monotonic() + PATIENCE
            return None
        return next(task.position for task in self.running if task.attempt is found[0]), found[1]

    def ready(self, patience: float) -> Iterator[_Task]:
        """Tasks with something to tell, each once; none after so many seconds without news."""
        if not self.running:
            time.sleep(patience)
            return
        waiting = [task.events for task in self.running]
        told, _ = self._ray.wait(waiting, num_returns=1, timeout=patience, fetch_local=False)
        by_events = {id(task.events): task for task in self.running}
        for events in told:
            task = by_events[id(events)]
            self.running.remove(task)  # to the end, so that a talkative one does not keep the others waiting
            self.running.append(task)
            yield task

    def end(self, task: _Task) -> None:
        """Forget a task, which ends if it has not done so."""
        self.running.remove(task)
        with suppress(Exception):  # it is over
            self._ray.cancel(task.events, force=True)

    def close(self) -> None:
        """End whatever runs; what jobs were writing is not yet in its place."""
        for task in list(self.running):
            self.end(task)
        with suppress(Exception):
            self._ray.kill(self._shelf)


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _result(ray: Any, reference: Any) -> Any:
    """What a task gave; what it raised for people is raised as if it had happened here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BackbenchError):
            raise error.cause from None
        raise


def _listen(ray: Any, task: _Task, logs: Path) -> tuple[Sequence[Event | Broken], Attempt | None]:
    """What a task has to tell, and the next attempt at its job where that comes to an end before its time."""
    attempt = task.attempt
    try:
        said: Event | Broken | Piece = _result(ray, next(task.events))
    except StopIteration:
        task.ended = True
        return ([], None) if attempt.over else after(attempt, Broken("failed", "its task ended without a word"))
    except ray.exceptions.RayTaskError as error:
        task.ended = True
        return after(attempt, Broken("failed", f"its task failed with {_last_line(error.cause)}"))
    except ray.exceptions.RayError as error:
        task.ended = True
        return ([], None) if attempt.over else after_loss(attempt, _lost(ray, error))
    if isinstance(said, Piece):
        if (folder := attempt.job.drafts if said.kind == "model" else logs) is not None:
            put_down(said, folder)
        return [], None
    if isinstance(said, Broken):
        if attempt.trial_for:
            task.ended = True
            return after(attempt, said)
        attempt.settle(said)
        return [said], None
    if isinstance(said, Started) and said.cell_id not in owed(attempt.job):  # somebody else has it
        task.ended = attempt.over = True
        return [], None
    if isinstance(said, Finished) and said.model and attempt.job.drafts:
        said = replace(said, model=attempt.job.drafts / said.model.name)
    told = list(attempt.hear(said))
    if attempt.fits(said):
        task.ended = True
        return after(attempt, FITS)
    return told, None


def _last_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"


def _lost(ray: Any, error: Exception) -> Broken:
    """How a task ended that could not say so itself."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return Broken("failed", "Ray ended it because its node ran out of memory", memory=True)
    if isinstance(error, ray.exceptions.NodeDiedError):
        return Broken("failed", "the node that it ran on died")
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return Broken("failed", "the worker that it ran in died")
    return Broken("failed", f"the cluster lost it ({type(error).__name__})")
