"""Jobs as a sweep plans them, with no image decoded and nothing started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backbench import datasets, planning
from backbench.cells import plan
from backbench.records import Job, Request

RESOLVED = {"engine": "keras", "precision": "float32", "backend": "tensorflow", "keep_models": "best"}


def planned(**asked: Any) -> list[Job]:
    """The jobs of a request, on the embedded digits unless another dataset is asked for."""
    request = Request(**asked)
    dataset = datasets.assemble(planning.listing_for(request, progress=lambda *_: None), {})
    return list(planning.jobs_for(request, dataset, resolved=RESOLVED, cache=Path("nowhere")))


def cells_of(job: Job) -> tuple[str, ...]:
    """Ids of all cells of a job."""
    return tuple(cell.cell_id for cell in plan(job))
