"""The stages of every backbone as a table, so that listing and planning need no framework."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from backbench.records import Stage

# Written by `python -m backbench.backbones.stages`; a test holds it against the graphs.
PATH = Path(__file__).with_name("stages.json")


@cache
def _table() -> dict[str, tuple[Stage, ...]]:
    content = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: tuple(
            Stage(
                row["name"], row["stride"], tuple(tuple(shape) for shape in row["shapes"]), row["params"], row["flops"]
            )
            for row in rows
        )
        for name, rows in content.items()
    }


def stages_of(name: str) -> tuple[Stage, ...]:
    """The stages of a backbone from input to output, at its native size. Raises KeyError for one that is unknown."""
    return _table()[name]
