"""Jobs as a sweep plans them, with no image decoded and nothing started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backbench import data
from backbench.core.cells import planned_cells
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.sweep import plan

RESOLVED = {"engine": "keras", "precision": "float32", "backend": "tensorflow", "keep_models": "best"}


def planned(**asked: Any) -> list[Job]:
    """The jobs of a request, on the embedded digits unless another dataset is asked for."""
    request = Request(**asked)
    dataset = data.assemble(plan.listing_for(request, progress=lambda *_: None), {})
    return list(plan.jobs_for(request, dataset, resolved=RESOLVED, cache=Path("nowhere")))


def cells_of(job: Job) -> tuple[str, ...]:
    """Ids of all cells of a job."""
    return tuple(cell.cell_id for cell in planned_cells(job.spec))
