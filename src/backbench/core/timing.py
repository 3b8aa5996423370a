"""Durations: as people write them, and how long each phase of a job took."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backbench.core.events import Event, Phase, Progress

Emit = Callable[[Event], None]


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as `90s`, `30m` or `1.5h`. Raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", duration.strip())
    if not found or not float(found[1]):
        raise ValueError(f"'{duration}' is no duration")
    return float(found[1]) * UNITS[found[2]]


def in_words(seconds: float) -> str:
    """A duration as people write it, in the largest unit that leaves no fraction: 1800 is `30m`."""
    unit = next((name for name in "dhm" if seconds >= UNITS[name] and seconds % UNITS[name] == 0), "s")
    return f"{seconds / UNITS[unit]:g}{unit}"


class Clock:
    """Seconds of each phase, and where the job is, told to whoever listens."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.seconds: dict[Phase, float] = {}

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[Callable[[int, int], None]]:
        """Time a block as one phase; what it is given tells how much of the phase is done."""
        self.emit(Progress(phase, 0, 1))
        began = time.perf_counter()
        try:
            yield lambda done, total: self.emit(Progress(phase, done, total))
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
            self.emit(Progress(phase, 1, 1))

    def spent(self, *phases: Phase) -> float:
        """Seconds in these phases so far."""
        return sum(self.seconds.get(phase, 0.0) for phase in phases)
