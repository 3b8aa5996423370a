"""Jobs on this machine, each in a process of its own: memory, crashes and framework state end with it."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from backbench.core.cells import Status
from backbench.core.errors import BackbenchError
from backbench.core.events import Event
from backbench.core.job import Job
from backbench.core.timing import Emit
from backbench.evaluation import warm_start
from backbench.executors.gpu_assignment import GpuAssignment, of_this_machine, take
from backbench.executors.retry import FITS, OUT_OF_TIME, Attempt, JobFailure, after, overrun

# What the process of a job does: it emits the job's events. It travels to the process, so it must be picklable.
Work = Callable[[Job, Emit], None]

# Lines of a job's log that a failed cell repeats.
LAST_LINES = 5


# What frameworks say when memory runs out, in the name or the text of an error.
OUT_OF_MEMORY = ("MemoryError", "ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory", "bad_alloc")

# Seconds that a process has to end by itself.
GRACE = 5.0

# Seconds after which a job that was not ready is asked for again.
PATIENCE = 0.1


@dataclass
class _Running:
    """A process at work for a job."""

    position: int
    attempt: Attempt
    process: Any
    log: Path
    share: GpuAssignment


def evaluate(job: Job, emit: Emit) -> None:
    """What jobs are for; the framework is imported here, in the job's own process."""
    from backbench.evaluation import job as jobs

    jobs.run(job, emit)


def run(
    jobs: Iterable[tuple[int, Job] | None],
    *,
    logs: Path,
    workers: int | None = None,
    timeout: float | None = None,
    deadline: float | None = None,
    work: Work = evaluate,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[tuple[int, Event | JobFailure]]:
    """Run numbered jobs in order, at most `workers` at a time; the next is asked for when there is room for it.

    By default there is one worker, and on a machine with several GPUs one for each of them (`shares`).

    None in place of a job says that it is not ready yet: those that run are listened to, and it is asked for again.

    Yields (number, event) as events arrive. The jobs' own output goes to `logs`, one file a process. `timeout` is the
    most seconds for each cell, and for what the cells of a job share. A job that runs out of memory is started again
    with a smaller inference batch; where a single cell is at fault, the others go on in a new process. At `deadline`, a
    moment of `clock`, what runs is stopped and pruned, and no job is asked for any more. `work` is done in the process
    of a job.
    """
    waiting = iter(jobs)
    running: dict[Connection, _Running] = {}
    again: deque[tuple[int, Attempt]] = deque()
    free = of_this_machine(workers)
    last = math.inf if deadline is None else deadline
    try:
        while True:
            unready = False
            while free and clock() < last:
                if again:
                    position, attempt = again.popleft()
                elif ready := next(waiting, ()):
                    position, attempt = ready[0], Attempt(ready[1])
                else:
                    unready = ready is None
                    break
                share = free.pop(0)
                receiving, process, log = _start(position, attempt, logs, share, work)
                running[receiving] = _Running(position, attempt, process, log, share)
            if not (running or again or unready):
                return
            patience = min([last - clock(), *(_left(one, timeout) for one in running.values())])
            patience = max(0.0, min(patience, PATIENCE) if unready else patience)
            ends: dict[Connection, JobFailure] = {}
            for place in cast("list[Connection]", wait(list(running), None if patience == math.inf else patience)):
                while place not in ends and place.poll():  # to the end: what is late may have been done in time
                    told, end = _listen(place, running[place])
                    yield from ((running[place].position, event) for event in told)
                    if end:
                        ends[place] = end
            over = clock() >= last
            for place, one in running.items():
                if over:
                    ends.setdefault(place, OUT_OF_TIME)
                elif timeout is not None and place not in ends and _left(one, timeout) <= 0:
                    ends[place] = overrun(one.attempt, timeout)
            _stop([running[place].process for place in ends])
            for place, end in ends.items():
                one = running.pop(place)
                place.close()
                free.append(one.share)
                broken, following = ([], None) if one.attempt.over else after(one.attempt, end)
                yield from ((one.position, each) for each in broken)
                if following:
                    again.append((one.position, following))
            if over:
                yield from ((position, OUT_OF_TIME) for position, _ in again)
                return
    finally:
        _stop([one.process for one in running.values()])


def _start(
    position: int, attempt: Attempt, logs: Path, share: GpuAssignment, work: Work
) -> tuple[Connection, Any, Path]:
    context = warm_start.context(attempt.job.backend)
    again = f".{attempt.number}" if attempt.number > 1 else ""
    log = logs / f"{position:03d}-{_plain(attempt.job.label)}{again}.log"
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(
        target=_in_child, args=(attempt.job, work, sending, str(log), share, dict(os.environ)), daemon=False
    )
    with _without_main():
        process.start()
    sending.close()
    return receiving, process, log


def _left(one: _Running, timeout: float | None) -> float:
    """Seconds until a process will have taken too long."""
    if timeout is None or one.attempt.over:
        return math.inf
    return one.attempt.since + timeout - time.monotonic()


def _listen(place: Connection, one: _Running) -> tuple[list[Event], JobFailure | None]:
    """What a process has to tell; and how it ended, if it did."""
    try:
        event = place.recv()
    except (EOFError, OSError):  # the process ended, perhaps in the middle of a message
        one.process.join(GRACE)
        if one.process.is_alive():  # it has nothing more to say, and hangs as it leaves
            one.process.kill()
            one.process.join()
        return [], _obituary(one.process.exitcode, one.attempt, one.log)
    if isinstance(event, JobFailure):
        one.process.join(GRACE)
        return [], event
    told = list(one.attempt.hear(event))
    return told, FITS if one.attempt.fits(event) else None


def _stop(processes: list[Any], *, clock: Callable[[], float] = time.monotonic) -> None:
    """End processes within seconds; what they were writing is not yet in its place."""
    for process in processes:
        process.terminate()
    until = clock() + GRACE
    for process in processes:
        process.join(max(0.0, until - clock()))
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep the process of a job from running the script that started the sweep once more: jobs need nothing of it."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(kept)


def _in_child(
    job: Job, work: Work, sending: Connection, log: str, share: GpuAssignment, variables: dict[str, str]
) -> None:
    """The job's process: its output goes to the log, its events to the parent, whose environment it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leaves no half-written files
    try:
        Path(log).unlink(missing_ok=True)  # what an earlier run said is not this one's last word
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        with Path(log).open("w", encoding="utf-8") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.environ.clear()  # a fork has that of the process that it comes from
        os.environ.update(variables)
        take(share)
        os.environ["KERAS_BACKEND"] = job.backend
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # A GPU is shared with the process that measures memory, and with other workers.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        work(job, sending.send)
    except BackbenchError as error:
        sending.send(JobFailure(Status.SKIPPED, str(error)))
    except Exception as error:
        said = f"{type(error).__name__}: {_first_line(error)}"
        reason = f"{said} (logs/{Path(log).name} has the whole of it)"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full ({said}): free some, or set BACKBENCH_CACHE to a folder with more room"
        memory = any(sign in f"{said} {error}" for sign in OUT_OF_MEMORY)
        memory = memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        sending.send(JobFailure(Status.FAILED, reason, memory=memory))
        with suppress(OSError):  # the log is on the disk that may be full
            traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        sending.close()


def _end_with_parent() -> None:
    """A sweep that is killed leaves no job behind that would go on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _obituary(exitcode: int, attempt: Attempt, log: Path) -> JobFailure:
    """Why a process died and in which phase, with the last lines of its log."""
    how = f"killed by {_signal(-exitcode)}" if exitcode < 0 else f"ended with code {exitcode}"
    how = f"stopped by {_signal(signal.SIGTERM)}" if exitcode == 128 + signal.SIGTERM else how
    how += f" in the phase '{attempt.phase}'" if attempt.phase else ""
    if exitcode == -signal.SIGKILL:
        how += ", as the system does when memory runs out (fewer --workers or a smaller --image-size need less)"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    words = f"; its last words: {' | '.join(lines[-LAST_LINES:])}" if lines else ""
    said = any(sign in words for sign in OUT_OF_MEMORY)
    presumed = exitcode == -signal.SIGKILL and not said
    return JobFailure(Status.FAILED, f"the job was {how}{words}", memory=said or presumed, presumed=presumed)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # those of real time have no names
        return f"signal {number}"


def _plain(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label).strip("-")
