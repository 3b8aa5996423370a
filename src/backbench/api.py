"""A results folder in Python: the table, the best cell, comparisons, the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from backbench import sweep
from backbench.analysis import Candidate, Comparison, Recommendation, ranked, recommend
from backbench.analysis.candidate_names import find_cell
from backbench.analysis.candidates import candidates
from backbench.analysis.comparison import compare, pair
from backbench.core import formatting
from backbench.core.errors import RequestError
from backbench.core.request import Request
from backbench.report import build, loader
from backbench.results import store
from backbench.results.export import export

# What a notebook shows of each candidate: heading, and how it is written.
SHOWN: tuple[tuple[str, Callable[[Candidate], str]], ...] = (
    ("candidate", lambda one: one.label),
    ("test", lambda one: formatting.percent(one.test_acc)),
    ("95% interval", lambda one: formatting.interval(one.test_acc_lo, one.test_acc_hi)),
    ("seeds", lambda one: formatting.count(one.seeds)),
    ("gap, points", lambda one: formatting.points(one.gap)),
    ("train", lambda one: formatting.percent(one.train_acc)),
    ("val", lambda one: formatting.percent(one.val_acc)),
    ("parameters", lambda one: formatting.magnitude(one.params)),
    ("ms", lambda one: formatting.plain(one.latency_ms)),
)
MOST_SHOWN = 20


@dataclass(frozen=True, repr=False)
class Results:
    """What a sweep left in a folder. At the end of a notebook cell it shows the answer and the leaderboard."""

    directory: Path

    @property
    def table(self) -> pd.DataFrame:
        """One row per cell, in the order of the leaderboard, those that did not finish last."""
        cells = store.read_table(self.directory)
        places = {cell_id: place for place, cell_id in enumerate(ranked(cells)["cell_id"])}
        order = cells["cell_id"].map(places).sort_values(kind="stable", na_position="last")
        return cells.loc[order.index].reset_index(drop=True)

    @property
    def best(self) -> pd.Series:
        """The cell that `export` takes: of the leaderboard's winner the seed that is best on val.

        Raises RequestError when no cell was finished.
        """
        return find_cell(store.read_table(self.directory))

    def compare(self, first: str, second: str) -> Comparison:
        """Whether one candidate beats another on test, with the evidence; it prints as text.

        Names are `Backbone@freeze`, with `@none-weights`, `@96px` or `#seed` where that is needed, or the id of a cell.
        Raises RequestError for a name that is unknown, ambiguous or the same twice, and for cells without predictions.
        """
        cells = loader.table(self.directory)
        ours, theirs = pair(cells, first, second)
        answers = loader.answers(self.directory, (*ours.cell_ids, *theirs.cell_ids))
        dataset = cells["dataset"].fillna("").iloc[0]
        return compare(ours, theirs, answers, dataset=dataset, among=len(candidates(cells)))

    def export(self, path: str | Path, name: str | None = None, *, force: bool = False) -> Path:
        """Write a cell as one Keras model; the path of the file.

        It is the one called `name`, `Backbone@freeze`, or of the leaderboard's winner the seed that is best on val.
        Raises RequestError for a name without a cell, weights that were not kept, and a file that is there.
        """
        export(self.directory, Path(path), name, force=force)
        return Path(path)

    def report(self) -> Path:
        """Rebuild the leaderboard; the path of the page."""
        return build.write_report(self.directory)

    def _answer(self) -> Recommendation:
        """The recommendation as far as the table tells it, and for its interval the predictions of the best one."""
        cells = loader.table(self.directory)
        of_best = [cell for one in candidates(cells)[:1] for cell in one.cell_ids]
        return recommend(cells, loader.answers(self.directory, of_best))

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        try:
            facts = self._answer()
        except RequestError as error:
            return str(error)
        return f"{self.directory}: {facts.candidates} finished. {facts.sentences[0]}"

    def _repr_html_(self) -> str:
        try:
            facts = self._answer()
        except RequestError as error:
            return f"<p>{escape(str(error))}</p>"
        answer = f"<p><strong>{escape(facts.sentences[0])}</strong></p>"
        if not facts.ranking:
            return answer
        headings = _row("th", [heading for heading, _ in SHOWN])
        rows = "".join(_row("td", [show(one) for _, show in SHOWN]) for one in facts.ranking[:MOST_SHOWN])
        left = len(facts.ranking) - MOST_SHOWN
        more = f"<p>and {left} more, in <code>.table</code></p>" if left > 0 else ""
        return f"{answer}<table><thead>{headings}</thead><tbody>{rows}</tbody></table>{more}"


def _row(kind: str, texts: list[str]) -> str:
    """One row of a table, the name on the left as notebooks would not have it."""
    first, *others = texts
    named = f'<{kind} style="text-align:left">{escape(first)}</{kind}>'
    return f"<tr>{named}{''.join(f'<{kind}>{escape(text)}</{kind}>' for text in others)}</tr>"


def run_sweep(dataset: str = "digits", **options: Any) -> Results:
    """Run or resume a sweep; the options are those of `backbench sweep`, with underscores.

    Raises RequestError for an option that does not exist, and for whatever the command would refuse.
    """
    known = [option.name for option in fields(Request) if option.name != "dataset"]
    for name in options:
        if name not in known:
            raise RequestError(f"unknown option '{name}': the options are {', '.join(known)}")
    if isinstance(options.get("out"), str):
        options["out"] = Path(options["out"])
    return Results(sweep.run(Request(dataset=str(dataset), **options)).directory)


def load(directory: str | Path) -> Results:
    """The results in a folder. Raises RequestError when it holds none."""
    store.read_run(Path(directory))
    return Results(Path(directory))
