"""Jobs on this machine, each in a process of its own: memory, crashes and framework state end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from backbench.errors import BackbenchError
from backbench.records import Event, Job, Summary

# Lines of a job's log that a failed cell repeats.
LAST_LINES = 5


@dataclass(frozen=True)
class Broken:
    """A job ended before its time: `skipped` when it cannot run here, `failed` otherwise."""

    status: str
    reason: str


def run(jobs: Iterable[tuple[int, Job]], *, logs: Path, workers: int = 1) -> Generator[tuple[int, Event | Broken]]:
    """Run numbered jobs in order, at most `workers` at a time; the next is asked for when there is room for it.

    Yields (number, event) as events arrive. The jobs' own output goes to `logs`, one file a job.
    """
    context = multiprocessing.get_context("spawn")
    waiting = iter(jobs)
    running: dict[Connection, tuple[int, Any, Path]] = {}
    heard: set[Connection] = set()  # of these the last word has come
    try:
        while True:
            while len(running) < workers and (ready := next(waiting, None)) is not None:
                position, job = ready
                log = logs / f"{position:03d}-{_plain(job.label)}.log"
                receiving, sending = context.Pipe(duplex=False)
                process = context.Process(target=_in_child, args=(job, sending, str(log)), daemon=False)
                with _without_main():
                    process.start()
                sending.close()
                running[receiving] = (position, process, log)
            if not running:
                return
            for ready_end in cast("list[Connection]", wait(list(running))):
                position, process, log = running[ready_end]
                try:
                    event = ready_end.recv()
                except (EOFError, OSError):  # the process ended, perhaps in the middle of a message
                    process.join()
                    ready_end.close()
                    del running[ready_end]
                    if ready_end not in heard:
                        yield position, Broken("failed", _obituary(process.exitcode, log))
                    heard.discard(ready_end)
                else:
                    if isinstance(event, Summary | Broken):
                        heard.add(ready_end)
                    yield position, event
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join(5)
            if process.is_alive():
                process.kill()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a spawned process from running the script that started the sweep once more: jobs need nothing of it."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(kept)


def _in_child(job: Job, sending: Connection, log: str) -> None:
    """The job's process: its output goes to the log, its events to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leaves no half-written files
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ["KERAS_BACKEND"] = job.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A GPU is shared with the process that measures memory, and with other workers.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        from backbench import job as jobs

        jobs.run(job, sending.send)
    except BackbenchError as error:
        sending.send(Broken("skipped", str(error)))
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {_first_line(error)} (logs/{Path(log).name} has the whole of it)"
        sending.send(Broken("failed", reason))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sending.close()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _obituary(exitcode: int, log: Path) -> str:
    """Why a process died, with the last lines of its log."""
    how = f"killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with code {exitcode}"
    if exitcode == -signal.SIGKILL:
        how += ", as the system does when memory runs out (fewer --workers or a smaller --image-size need less)"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return f"the job was {how}" + (f"; its last words: {' | '.join(lines[-LAST_LINES:])}" if lines else "")


def _plain(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label).strip("-")
