"""Jobs that act on a cluster: real ones to whoever plans them, but nothing of a framework is imported to run them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbench.core.cells import Cell, planned_cells
from backbench.core.events import CellFinished, CellStarted, Progress, Summary
from backbench.core.job import Job


@dataclass(frozen=True)
class Acted(Job):
    """Each cell takes a quarter of a second, more with a larger batch; its row says in which cache it came to be."""

    def __getattribute__(self, name: str) -> Any:
        if name == "backend" and multiprocessing.parent_process() is not None:
            acting = types.ModuleType("backbench.evaluation.job")
            acting.run = act  # type: ignore[attr-defined]
            sys.modules["backbench.evaluation.job"] = acting
        return super().__getattribute__(name)


def act(job: Acted, emit: Any) -> None:
    emit(Progress("frozen pass", 0, 1))
    for cell in planned_cells(job.spec):
        if (job.cells is None or cell.cell_id in job.cells) and not job.resources.is_taken(cell.cell_id):
            emit(CellStarted(cell.cell_id))
            time.sleep(job.spec.batch_size / 128)
            draft = None
            if job.resources.drafts:
                job.resources.drafts.mkdir(parents=True, exist_ok=True)
                draft = job.resources.drafts / f".{cell.cell_id}.npz"
                draft.write_bytes(cell.cell_id.encode() * 1000)
            emit(CellFinished(Cell(cell.cell_id, "ok", "", {}, {"cache": str(job.resources.cache)}), model=draft))
    print("the job said this last", flush=True)
    emit(Summary(job.label, {}, {}))


@dataclass(frozen=True)
class Deadly(Job):
    """Whoever makes one inside a worker of Ray dies of it."""

    def __post_init__(self) -> None:
        if Path(sys.argv[0]).name == "default_worker.py":
            os.kill(os.getpid(), signal.SIGKILL)
