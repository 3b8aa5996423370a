"""Time that passes when a test says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ManualClock:
    """In place of `time.monotonic`."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
