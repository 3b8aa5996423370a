"""Jobs as tasks of a Ray cluster: each asks for its share of a node, tells its events, moves on if the node is lost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from backbench.core.dataset import Dataset
from backbench.core.errors import RequestError
from backbench.core.events import Event
from backbench.core.job import Job
from backbench.evaluation.workload import memory_of
from backbench.executors.local import Work, evaluate
from backbench.executors.ray.file_transfer import FileServer
from backbench.executors.ray.resources import TaskResources, demand
from backbench.executors.ray.session import connected, installed, nodes
from backbench.executors.ray.task import Task, last_line, listen, result
from backbench.executors.ray.work_stealing import Parts, longest_first, split
from backbench.executors.retry import OUT_OF_TIME, Attempt, JobFailure, owed

__all__ = ["installed", "run"]

# Seconds until the cluster is looked at again, which may have grown, or a job asked for again that was not ready.
PATIENCE, UNREADY = 5.0, 0.1

# Calls that the actor for files answers at a time.
READERS = 4


def run(
    jobs: Iterable[tuple[int, Job] | None],
    *,
    logs: Path,
    timeout: float | None = None,
    deadline: float | None = None,
    workers: int | None = None,
    address: str | None = None,
    total: float = math.inf,
    work: Work = evaluate,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[tuple[int, Event | JobFailure]]:
    """Run numbered jobs in order on a Ray cluster, as many at a time as it has room for, and at most `workers`.

    Yields (number, event) as events arrive. On its node a job runs as `local.run` runs it, with the same `timeout` and
    the same second attempts; a job whose node or worker is lost goes on elsewhere with the cells that it still owes.
    When there are no more jobs, workers take over cells of those that run, where they are worth it (`parts`); how many
    at a time depends on the work of all jobs, `total` in FLOPs.
    None in place of a job, `deadline`, `work` and `clock` mean what they mean there. Raises RequestError where there is
    no cluster, or nodes have other versions.
    """
    last = math.inf if deadline is None else deadline
    with connected(address) as ray, ExitStack() as stack:
        cluster = _Cluster(ray, workers=workers, timeout=timeout, work=work)
        stack.callback(cluster.close)
        waiting = iter(jobs)
        again: deque[tuple[int, Attempt]] = deque()
        parts = Parts()
        while clock() < last:
            unready = False
            while again or cluster.has_room():
                if again:
                    cluster.start(*again.popleft())
                elif ready := next(waiting, ()):
                    position, job = ready
                    parts.begin(position)
                    cluster.start(position, Attempt(job.owing(longest_first(job))))
                elif ready is None:
                    unready = True
                    break
                elif found := cluster.to_hand_over(total):
                    parts.begin(found[0])
                    cluster.start(*found)
                else:
                    break
            if not (cluster.running or unready):
                return
            patience = UNREADY if unready else PATIENCE
            for task in cluster.ready(max(0.0, min(patience, last - clock()))):
                told, following = listen(ray, task, logs)
                yield from ((task.position, event) for event in parts.tell(task.position, task.attempt, told))
                if task.ended:
                    cluster.end(task)
                if following and owed(following.job):
                    again.append((task.position, following))
                elif task.ended:
                    yield from ((task.position, event) for event in parts.end(task.position, task.attempt.job))
        stopped = [*(task.position for task in cluster.running), *(position for position, _ in again)]
        cluster.close()
        yield from ((position, OUT_OF_TIME) for position in dict.fromkeys(stopped))


class _Cluster:
    """The tasks that are under way, and what each of them asks for."""

    def __init__(self, ray: Any, *, workers: int | None, timeout: float | None, work: Work) -> None:
        from backbench.executors.ray import node as ray_node

        self._ray, self._workers, self._timeout, self._work = ray, workers, timeout, work
        self._versions = ray_node.versions()
        self._perform = ray.remote(num_returns="streaming", max_retries=0)(ray_node.perform)
        here = ray.get_runtime_context().get_node_id()
        self._shelf = (
            ray.remote(FileServer)
            .options(
                num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=READERS, scheduling_strategy=_on(here)
            )
            .remote()
        )
        self._started = 0
        self._datasets: dict[int, tuple[Dataset, Any]] = {}
        self._asked: TaskResources | None = None
        self._looked = self._nothing_until = 0.0
        self.running: list[Task] = []
        # Before anything is computed; a node that joins later is refused by its first task.
        asking = ray.remote(num_cpus=0, max_retries=1)(ray_node.compare)
        for asked in [asking.options(scheduling_strategy=_on(node)).remote(self._versions) for node in nodes(ray)]:
            try:
                result(ray, asked)
            except ray.exceptions.RayTaskError as error:
                raise RequestError(
                    f"a node of the Ray cluster cannot run this backbench ({last_line(error.cause)}):"
                    " install the same version on all of them"
                ) from None
            except ray.exceptions.RayError:  # a node that is about to be known as dead
                continue

    def has_room(self) -> bool:
        """Whether one more job may be on its way."""
        return len(self.running) < max(1, self._demand().room)

    def _demand(self) -> TaskResources:
        """What a job asks for now; the cluster is asked for its nodes once in a while."""
        if self._asked is None or time.monotonic() - self._looked > PATIENCE:
            try:
                self._asked = demand(list(nodes(self._ray).values()), self._workers)
            except ValueError as error:
                raise RequestError(f"the Ray cluster cannot run jobs: {error}") from None
            self._looked = time.monotonic()
        return self._asked

    def share(self, total: float) -> float:
        """Each worker's part of so much work; without end for a single one, with whom nobody shares."""
        room = self._demand().room
        return total / room if room > 1 else math.inf

    def start(self, position: int, attempt: Attempt) -> None:
        """Hand a job to the cluster, which starts it where what it asks for is free."""
        job, asked = attempt.job, self._demand()
        if id(job.spec.dataset) not in self._datasets:  # once for all of its jobs
            self._datasets[id(job.spec.dataset)] = job.spec.dataset, self._ray.put(job.spec.dataset)
        events = self._perform.options(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            memory=int(min(memory_of(job), asked.memory)),
            scheduling_strategy="SPREAD",
            name=f"backbench {position}",
        ).remote(
            position,
            job.with_spec(dataset=cast("Any", None)),
            self._datasets[id(job.spec.dataset)][1],
            shelf=self._shelf,
            expected=self._versions,
            timeout=self._timeout,
            number=self._started,
            work=self._work,
        )
        self.running.append(Task(self._started, position, attempt, events))
        self._started += 1

    def to_hand_over(self, total: float) -> tuple[int, Attempt] | None:
        """The longest cells that have not begun, for a worker that has nothing; looked for once in a while."""
        if time.monotonic() < self._nothing_until:
            return None
        found = split((task.attempt for task in self.running), share=self.share(total))
        if found is None:
            self._nothing_until = time.monotonic() + PATIENCE
            return None
        task = next(task for task in self.running if task.attempt is found[0])
        self._shelf.take_over.remote(task.number, owed(found[1].job))
        return task.position, found[1]

    def ready(self, patience: float) -> Iterator[Task]:
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

    def end(self, task: Task) -> None:
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
