"""How long each phase of a job took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backbench.records import Event, Progress

Emit = Callable[[Event], None]


class Clock:
    """Seconds of each phase, and where the job is, told to whoever listens."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Time a block under a name; what it is given tells how much of the phase is done."""
        self.emit(Progress(name, 0, 1))
        began = time.perf_counter()
        try:
            yield lambda done, total: self.emit(Progress(name, done, total))
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.emit(Progress(name, 1, 1))

    def spent(self, *phases: str) -> float:
        """Seconds in these phases so far."""
        return sum(self.seconds.get(name, 0.0) for name in phases)
