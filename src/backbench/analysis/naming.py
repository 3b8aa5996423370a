"""Which candidate is meant? From `Backbone@freeze`, as the leaderboard writes it, to the candidate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pandas as pd

from backbench.analysis import numbers
from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.frames import NONE_WEIGHTS, ranked, tidy
from backbench.analysis.wording import listed
from backbench.core.cells import Status
from backbench.core.errors import RequestError

# Parts of a cell id that are shorter could be a word.
SHORTEST_ID = 4
SHOWN = 6

_SIZE = re.compile(r"[@ ]\s*(\d+) ?px$")
_SEED = re.compile(r"#(\d+)$")


@dataclass(frozen=True)
class _Name:
    """What a name says; None where it says nothing."""

    backbone: str
    freeze: str | None = None
    weights: str | None = None
    image_size: int | None = None
    seed: int | None = None

    def fits(self, one: Any) -> bool:
        """Whether a candidate, or a row of the table, is different in nothing that the name says."""
        return (
            one.backbone.casefold() == self.backbone.casefold()
            and self.freeze in (None, one.freeze)
            and self.weights in (None, one.weights)
            and self.image_size in (None, one.image_size)
        )


def find(table: pd.DataFrame, name: str) -> Candidate:
    """The finished candidate that a name means, all its seeds together, or one of its cells.

    A name is `Backbone`, then as much of `@freeze`, `@none-weights`, `@96px` and `#seed` as tells it from the others;
    or the id of a cell, or the beginning of one. Of pretrained and random weights, the pretrained
    ones are meant where nothing is said.
    Raises RequestError for what is unknown, ambiguous or did not finish.
    """
    found = candidates(table)
    if not found:
        raise RequestError("no cell was finished, so there is nothing to name")
    asked = _parsed(name)
    fitting = [one for one in found if asked.fits(one)]
    pretrained = [one for one in fitting if one.weights != "none"]
    if len(fitting) > 1 and asked.weights is None and pretrained:
        fitting = pretrained
    if len(fitting) > 1:
        raise RequestError(f"'{name}' is ambiguous: it may be {_or([one.label for one in fitting])}")
    if fitting:
        return fitting[0] if asked.seed is None else _seed(table, fitting[0], asked.seed)
    cell = _cell(table, found, name.strip())
    if cell is None:
        raise _unknown(table, found, asked, name)
    return cell


def find_cell(table: pd.DataFrame, name: str | None = None) -> pd.Series:
    """The tidy row of one cell: of the candidate that a name means, or of the winner, the seed that is best on val.

    Raises RequestError as `find` does.
    """
    found = candidates(table)
    if name is None and not found:
        raise RequestError("no cell was finished, so there is no winner")
    meant = found[0] if name is None else find(table, name)
    chosen = next(cell_id for cell_id in ranked(table)["cell_id"] if cell_id in meant.cell_ids)
    return tidy(table).set_index("cell_id", drop=False).loc[chosen]


def full_name(row: pd.Series) -> str:
    """What a cell is called: `VGG16@all-1`, `VGG16@all@none-weights#2`, `scratch`."""
    name = str(row["backbone"])
    if name != "scratch":
        name += f"@{row['freeze']}" + (NONE_WEIGHTS if row["weights"] == "none" else "")
    return name + (f"#{row['seed']:.0f}" if row["seed"] > 0 else "")


def _parsed(name: str) -> _Name:
    rest, seed, size = name.strip(), None, None
    if match := _SEED.search(rest):
        rest, seed = rest[: match.start()], int(match[1])
    if match := _SIZE.search(rest):
        rest, size = rest[: match.start()], int(match[1])
    backbone, *marks = rest.split("@")
    said: dict[str, str] = {}
    for mark in map(str.casefold, marks):
        key = "weights" if mark.endswith("-weights") else "freeze"
        said[key] = mark.removesuffix("-weights")
    return _Name(backbone.strip(), said.get("freeze"), said.get("weights"), size, seed)


def _seed(table: pd.DataFrame, candidate: Candidate, seed: int) -> Candidate:
    rows = ranked(table)
    rows = rows[rows["cell_id"].isin(candidate.cell_ids)]
    chosen = rows[rows["seed"] == seed]
    if chosen.empty:
        seeds = listed([f"{one:.0f}" for one in sorted(rows["seed"])], SHOWN)
        raise RequestError(f"{candidate.label} has no seed {seed}: there is {seeds}")
    return _one_cell(chosen, candidate)


def _cell(table: pd.DataFrame, found: Sequence[Candidate], name: str) -> Candidate | None:
    if len(name) < SHORTEST_ID:
        return None
    rows = ranked(table)
    rows = rows[rows["cell_id"].str.startswith(name)]
    if len(rows) > 1:
        raise RequestError(f"'{name}' is ambiguous: cells {_or(list(rows['cell_id']))} begin with it")
    if rows.empty:
        return None
    return _one_cell(rows, next(one for one in found if rows["cell_id"].iloc[0] in one.cell_ids))


def _one_cell(rows: pd.DataFrame, candidate: Candidate) -> Candidate:
    """One cell of a candidate as a candidate of its own."""
    if candidate.seeds == 1:
        return candidate
    (alone,) = candidates(rows)
    return replace(alone, label=f"{candidate.label}#{rows['seed'].iloc[0]:.0f}")


def _unknown(table: pd.DataFrame, found: Sequence[Candidate], asked: _Name, name: str) -> RequestError:
    rows = tidy(table)
    for row in rows[rows["status"] != Status.OK].itertuples():
        if asked.fits(row):
            reason = numbers.for_terminal((row.reason.strip().splitlines() or ["no reason was recorded"])[0])
            return RequestError(f"'{name}' did not finish ({row.status}): {reason}")
    known = {one.label.casefold(): one.label for one in found}
    near = [known[label] for label in get_close_matches(name.casefold(), known, n=3, cutoff=0.5)]
    hint = f"did you mean {_or(near)}?" if near else f"there is {listed([one.label for one in found], SHOWN)}"
    return RequestError(f"unknown candidate '{name}': {hint}")


def _or(names: Sequence[str]) -> str:
    if len(names) > SHOWN + 1:
        names = [*names[:SHOWN], f"one of {len(names) - SHOWN} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
