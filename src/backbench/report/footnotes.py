"""What was noted of candidates that finished: each note once, and the numbers of its notes for every candidate."""

from __future__ import annotations

import pandas as pd


def footnotes(rows: pd.DataFrame) -> tuple[list[str], list[list[int]]]:
    """The notes in the order in which they come up, and for each row of `frames.grouped` the numbers of its own."""
    own = [[note for note in (part.strip() for part in reason.split(";")) if note] for reason in rows["reason"]]
    notes = list(dict.fromkeys(note for row in own for note in row))
    return notes, [sorted(notes.index(note) + 1 for note in row) for row in own]
