"""What jobs do in place of measuring: they play a script, and no framework is imported for it.

The classes are pickled on their way to the processes of jobs, which find them here.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from backbench.core.cells import Cell, Status
from backbench.core.events import CellFinished, CellStarted, Phase, Progress, Summary
from backbench.core.job import Job
from backbench.core.timing import Emit
from backbench.executors.retry import owed

LAST_WORD = "the job prints this last"


@dataclass(frozen=True)
class Script:
    """All cells of a job, one after another; `ends` has for ids of cells what they come to, if not well.

    `at_once` and `shared` have the same for a job before its first event and in its frozen pass, by the first cell that
    it owes. The row of a cell says by which process it was measured, in which cache and with how many images at a time.
    Each cell takes some `seconds`.
    """

    ends: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    at_once: Mapping[str, str] = field(default_factory=dict)
    phase: Phase = Phase.EVALUATION
    seconds: float = 0.0

    def __call__(self, job: Job, emit: Emit) -> None:
        cells = owed(job)
        meet(self.at_once.get(cells[0], ""), job, emit)
        emit(Progress(Phase.FROZEN_PASS, 0, 1))
        meet(self.shared.get(cells[0], ""), job, emit)
        for cell in cells:
            if job.resources.is_taken(cell):
                continue
            emit(CellStarted(cell))
            emit(Progress(self.phase, 0, 1))
            meet(self.ends.get(cell, ""), job, emit)
            time.sleep(self.seconds)
            row = {"cache": job.resources.cache.name, "pid": os.getpid(), "images": job.resources.inference_batch}
            emit(CellFinished(Cell(cell, Status.OK, "", {}, row), model=_draft(job, cell)))
        print(LAST_WORD, flush=True)
        emit(Summary(job.label, {}, {}))


def meet(end: str, job: Job, emit: Emit) -> None:
    """Come to an end: the name of a signal, or one of those below; empty is none."""
    if end:
        print(f"{job.label} meets: {end}", flush=True)
    if end.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, end))
    elif end == "the worker is killed":  # the parent of this process
        parent = multiprocessing.parent_process()  # who asked for it, and not the server that it was forked from
        assert parent is not None
        assert parent.pid is not None
        os.kill(parent.pid, signal.SIGKILL)
        time.sleep(600)
    elif end == "killed while speaking":  # as when memory runs out half way through handing over a cell
        os.write(_pipe(emit).fileno(), struct.pack("!i", 1000) + b"half a message")
        os.kill(os.getpid(), signal.SIGKILL)
    elif end == "hangs as it leaves":
        _pipe(emit).close()
        time.sleep(600)
    elif end == "leaves without a word":
        os._exit(0)
    elif end == "leaves with a code":
        os._exit(7)
    elif end == "sleeps":
        time.sleep(600)
    elif end == "needs memory" and job.resources.inference_batch > 8:
        raise MemoryError("no room for so many images")
    elif end == "full disk":
        raise OSError(errno.ENOSPC, "No space left on device", "features.npy")
    elif end.startswith("killed once: ") and not (before := Path(end.removeprefix("killed once: "))).exists():
        before.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _pipe(emit: Emit) -> Connection:
    """Events go through a pipe: `emit` is its method."""
    return cast("Connection", emit.__self__)  # type: ignore[attr-defined]


def _draft(job: Job, cell: str) -> Path | None:
    """The trained weights that the job leaves, where they are wanted."""
    if job.resources.drafts is None:
        return None
    job.resources.drafts.mkdir(parents=True, exist_ok=True)
    draft = job.resources.drafts / f".{cell}.npz"
    draft.write_bytes(cell.encode() * 1000)
    return draft
