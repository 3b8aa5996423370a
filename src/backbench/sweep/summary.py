"""What a sweep did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backbench.core.cells import Status


@dataclass
class SweepSummary:
    """Where the results of a sweep are and how many cells came to which end, `already` of them in an earlier one."""

    directory: Path
    already: int = 0
    counts: dict[Status, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every requested cell is ok, or pruned by a budget."""
        return not (self.counts.get(Status.FAILED) or self.counts.get(Status.SKIPPED))

    def count(self, status: Status, cells: int) -> None:
        """So many cells more came to an end."""
        if cells:
            self.counts[status] = self.counts.get(status, 0) + cells
