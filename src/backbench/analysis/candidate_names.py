"""From a name such as `Backbone@freeze`, as the leaderboard writes it, to the candidate or cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pandas as pd

from backbench.analysis.candidates import Candidate, candidates
from backbench.analysis.ranking import NONE_WEIGHTS, ranked, tidy
from backbench.core.cells import Status
from backbench.core.errors import RequestError
from backbench.core.formatting import for_terminal, listed

# Parts of a cell id that are shorter could be a word.
SHORTEST_ID = 4
SHOWN = 6

_SIZE = re.compile(r"[@ ]\s*(\d+) ?px$")
_SEED = re.compile(r"#(\d+)$")


@dataclass(frozen=True)
class _Name:
    """The parts of a name; None where it leaves one out."""

    backbone: str
    freeze: str | None = None
    weights: str | None = None
    image_size: int | None = None
    seed: int | None = None

    def fits(self, candidate: Any) -> bool:
        """Whether a candidate, or a row of the table, agrees with all parts of the name."""
        return (
            candidate.backbone.casefold() == self.backbone.casefold()
            and self.freeze in (None, candidate.freeze)
            and self.weights in (None, candidate.weights)
            and self.image_size in (None, candidate.image_size)
        )


def find(table: pd.DataFrame, name: str) -> Candidate:
    """The finished candidate that a name means, all its seeds together, or one of its cells.

    A name is `Backbone`, then as much of `@freeze`, `@none-weights`, `@96px` and `#seed` as tells it from the others;
    or the id of a cell, or the beginning of one. A name without weights means the pretrained ones where there are both.
    Raises RequestError for a name that is unknown, ambiguous, or of a cell that did not finish.
    """
    ranking = candidates(table)
    if not ranking:
        raise RequestError("no cell was finished, so there is nothing to name")
    parts = _parsed(name)
    fitting = [candidate for candidate in ranking if parts.fits(candidate)]
    pretrained = [candidate for candidate in fitting if candidate.weights != "none"]
    if len(fitting) > 1 and parts.weights is None and pretrained:
        fitting = pretrained
    if len(fitting) > 1:
        raise RequestError(f"'{name}' is ambiguous: it may be {_or([candidate.label for candidate in fitting])}")
    if fitting:
        return fitting[0] if parts.seed is None else _seed(table, fitting[0], parts.seed)
    cell = _cell(table, ranking, name.strip())
    if cell is None:
        raise _unknown(table, ranking, parts, name)
    return cell


def find_cell(table: pd.DataFrame, name: str | None = None) -> pd.Series:
    """The tidy row of one cell: of the candidate that a name means, or of the winner, the seed that is best on val.

    Raises RequestError as `find` does.
    """
    ranking = candidates(table)
    if name is None and not ranking:
        raise RequestError("no cell was finished, so there is no winner")
    candidate = ranking[0] if name is None else find(table, name)
    best_seed = next(cell_id for cell_id in ranked(table)["cell_id"] if cell_id in candidate.cell_ids)
    return tidy(table).set_index("cell_id", drop=False).loc[best_seed]


def full_name(row: pd.Series) -> str:
    """The name of a cell: `VGG16@all-1`, `VGG16@all@none-weights#2`, `scratch`."""
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
    values: dict[str, str] = {}
    for mark in map(str.casefold, marks):
        key = "weights" if mark.endswith("-weights") else "freeze"
        values[key] = mark.removesuffix("-weights")
    return _Name(backbone.strip(), values.get("freeze"), values.get("weights"), size, seed)


def _seed(table: pd.DataFrame, candidate: Candidate, seed: int) -> Candidate:
    rows = ranked(table)
    rows = rows[rows["cell_id"].isin(candidate.cell_ids)]
    of_seed = rows[rows["seed"] == seed]
    if of_seed.empty:
        seeds = listed([f"{number:.0f}" for number in sorted(rows["seed"])], SHOWN)
        raise RequestError(f"{candidate.label} has no seed {seed}: there is {seeds}")
    return _one_cell(of_seed, candidate)


def _cell(table: pd.DataFrame, ranking: Sequence[Candidate], name: str) -> Candidate | None:
    if len(name) < SHORTEST_ID:
        return None
    rows = ranked(table)
    rows = rows[rows["cell_id"].str.startswith(name)]
    if len(rows) > 1:
        raise RequestError(f"'{name}' is ambiguous: cells {_or(list(rows['cell_id']))} begin with it")
    if rows.empty:
        return None
    return _one_cell(rows, next(c for c in ranking if rows["cell_id"].iloc[0] in c.cell_ids))


def _one_cell(rows: pd.DataFrame, candidate: Candidate) -> Candidate:
    """One cell of a candidate as a candidate of its own."""
    if candidate.seeds == 1:
        return candidate
    (cell,) = candidates(rows)
    return replace(cell, label=f"{candidate.label}#{rows['seed'].iloc[0]:.0f}")


def _unknown(table: pd.DataFrame, ranking: Sequence[Candidate], parts: _Name, name: str) -> RequestError:
    rows = tidy(table)
    for row in rows[rows["status"] != Status.OK].itertuples():
        if parts.fits(row):
            reason = for_terminal((row.reason.strip().splitlines() or ["no reason was recorded"])[0])
            return RequestError(f"'{name}' did not finish ({row.status}): {reason}")
    labels = {candidate.label.casefold(): candidate.label for candidate in ranking}
    near = [labels[label] for label in get_close_matches(name.casefold(), labels, n=3, cutoff=0.5)]
    hint = f"did you mean {_or(near)}?" if near else f"there is {listed(list(labels.values()), SHOWN)}"
    return RequestError(f"unknown candidate '{name}': {hint}")


def _or(names: Sequence[str]) -> str:
    if len(names) > SHOWN + 1:
        names = [*names[:SHOWN], f"one of {len(names) - SHOWN} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
