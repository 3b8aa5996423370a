"""What limits the trust in a result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CaveatCode(StrEnum):
    """What the caveat is about; for programs, so that nobody has to read the text."""

    VAL_TINY = "val-tiny"
    VAL_SMALL = "val-small"
    VAL_UNDECIDED = "val-undecided"
    SCORE_OPTIMISTIC = "score-optimistic"
    TEST_SMALL = "test-small"
    INTERVAL_ALONE = "interval-alone"
    TEST_ALONE = "test-alone"
    TRAINED_ONCE = "trained-once"
    FEW_SEEDS = "few-seeds"
    NOT_CORRECTED = "not-corrected"
    CLASS_DOMINATES = "class-dominates"
    MAJORITY_NOT_BEATEN = "majority-not-beaten"
    CLASSES_SMALL = "classes-small"


class Severity(StrEnum):
    """A warning says that the answer itself may be chance, a note how to read one of its numbers."""

    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Caveat:
    """One limit: its code, its severity and its text, which is plain and holds untrusted names."""

    code: CaveatCode
    severity: Severity
    text: str
