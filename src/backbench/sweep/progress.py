"""One progress bar for a whole sweep; nothing but finished lines where nobody watches."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from statistics import fmean
from types import TracebackType
from typing import Any

from tqdm import tqdm

from backbench.core.cells import Cell, Status
from backbench.core.columns import measured
from backbench.core.events import Phase
from backbench.core.formatting import printable

# Share of a job's work per phase, for the time that is left; only the bar depends on it.
SHARES = {
    Phase.BUILDING: 0.05,
    Phase.FROZEN_PASS: 0.6,
    Phase.AUGMENTED_VIEWS: 0.1,
    Phase.PROBE: 0.15,
    Phase.FINE_TUNING: 0.7,
    Phase.TRAINING: 0.7,
    Phase.EVALUATION: 0.05,
    Phase.TIMING: 0.1,
    Phase.MEMORY: 0.05,
}


class Bar:
    """Counts jobs, with the current backbone and phase in front; a context manager."""

    def __init__(self, jobs: int, *, visible: bool | None = None) -> None:
        visible = sys.stderr.isatty() if visible is None else visible
        self._bar = tqdm(
            total=float(jobs),
            disable=not visible,
            file=sys.stderr,
            leave=False,
            smoothing=0.0,
            bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]",
            dynamic_ncols=True,
        )
        self._finished = 0
        self._inside: dict[int, dict[Phase, float]] = {}
        self._spent: Callable[[], float] | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def follow(self, spent: Callable[[], float]) -> None:
        """Show what is spent of a budget, as a share, and not jobs: nobody knows how many there will be."""
        self._spent = spent

    def say(self, text: str) -> None:
        """What is going on outside of any job."""
        self._bar.set_description_str(text)

    def step(self, text: str, done: int, total: int) -> None:
        """How far something outside of any job is."""
        self.say(f"{text} {done:,}/{total:,}" if total else text)

    def phase(self, job: int, label: str, phase: Phase, done: int, total: int) -> None:
        """How far one job is in one phase."""
        reached = self._inside.setdefault(job, {})
        reached[phase] = SHARES.get(phase, 0.0) * done / max(1, total)
        self._move()
        self.say(f"{label}: {phase} {done:,}/{total:,}" if total > 1 else f"{label}: {phase}")

    def end(self, job: int) -> None:
        """A job is over, whatever became of it."""
        self._inside.pop(job, None)
        self._finished += 1
        self._move()

    def line(self, text: str) -> None:
        """A line that stays."""
        self._bar.write(printable(text), file=sys.stdout)
        sys.stdout.flush()

    def _move(self) -> None:
        inside = sum(min(0.99, sum(phases.values())) for phases in self._inside.values())
        reached = self._bar.total * min(1.0, self._spent()) if self._spent else self._finished + inside
        self._bar.n = max(self._bar.n, reached)
        self._bar.refresh()


def tried_as(trial: Mapping[str, Any]) -> str:
    """What a trial came to: of screening the share of train that is right, of training the selection score."""
    mean = fmean(trial["items"])
    if trial["images"]:
        return f"screened, {mean:.1%} of {len(trial['items']):,} images of train right when left out"
    epochs = "1 epoch" if trial["epochs"] == 1 else f"{trial['epochs']} epochs"
    return f"tried for {epochs}, score {math.exp(mean):.3f}"


def in_a_line(cell: Cell) -> str:
    """What became of a cell."""
    row, name = cell.row, cell.key.label()
    if trial := cell.trace.get("trial"):
        return f"{name}: {tried_as(trial)}"
    if cell.status != Status.OK:
        return f"{name}: {cell.status}: {cell.reason}"
    return (
        f"{name}: test {measured(row.test_acc):.1%} [{measured(row.test_acc_lo):.1%}, {measured(row.test_acc_hi):.1%}],"
        f" train {measured(row.train_acc):.1%}, val {measured(row.val_acc):.1%}, {measured(row.wall_seconds):.0f} s"
    )
