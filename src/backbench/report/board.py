"""The table of candidates: its columns, its rows as text with their badges, and what it can be filtered by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from backbench.analysis import Candidate, Recommendation, numbers, pareto
from backbench.analysis.candidates import candidates
from backbench.analysis.frames import depth_order
from backbench.analysis.wording import frozen
from backbench.columns import COLUMNS
from backbench.report.stored import Stored

MEANINGS = {column.name: column.meaning for column in COLUMNS}
OWN = {"rank": "place by selection score", "label": "the candidate"}


@dataclass(frozen=True)
class Heading:
    """One column of the page's table.

    `first` is the order of the first press on its heading; columns that are not `shown` can be chosen.
    """

    name: str
    heading: str
    show: Callable[[float | None], str] = numbers.plain
    unit: str = ""
    first: str = "ascending"
    css: str = "number"
    shown: bool = True

    @property
    def meaning(self) -> str:
        """What the column means, in the words of the table's declaration."""
        return OWN.get(self.name) or MEANINGS[self.name]


LEADING = (
    Heading("rank", "#"),
    Heading("label", "Candidate", css="text"),
    Heading("test_acc", "Test accuracy", first="descending", css="text"),
)
MEASURED = (
    Heading("gap", "Gap", numbers.points, "points"),
    Heading("train_acc", "Train", numbers.percent, first="descending"),
    Heading("val_acc", "Val", numbers.percent, first="descending"),
    Heading("selection_score", "Selection score", numbers.decimal, first="descending"),
    Heading("latency_ms", "Latency", numbers.plain, "ms"),
    Heading("params", "Parameters", numbers.magnitude),
    Heading("flops", "Compute", numbers.gflops, "GFLOPs"),
    Heading("throughput_ips", "Throughput", numbers.plain, "images/s", "descending", shown=False),
    Heading("peak_mem_mb", "Memory", numbers.plain, "MiB", shown=False),
    Heading("fit_seconds", "Training", numbers.duration, shown=False),
    Heading("wall_seconds", "In all", numbers.duration, shown=False),
    Heading("test_top5", "Top-5", numbers.percent, first="descending", shown=False),
    Heading("test_macro_f1", "Macro-F1", numbers.percent, first="descending", shown=False),
    Heading("test_nll", "NLL", numbers.decimal, shown=False),
    Heading("test_ece", "ECE", numbers.percent, shown=False),
)


@dataclass(frozen=True)
class Badge:
    """A mark beside a name; `kind` is its look and what the table is filtered by, `meaning` what it says in words."""

    kind: str
    name: str
    meaning: str


BEST = Badge("top", "best", "first by selection score")
FRONT = Badge("front", "Pareto", "no other candidate has both a better selection score and a lower latency")
TIED = Badge("tied", "tied with best", "on test it cannot be told from the first")
FAMILY = Badge("family", "best of its family", "the first of several networks of one family")
RANDOM = Badge("random", "not pretrained", "started from random weights")
BADGES = (BEST, FRONT, TIED, FAMILY, RANDOM)


def rows(stored: Stored, facts: Recommendation, marks: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The candidates as text, best first; `marks` are the numbers of their footnotes."""
    shown, floor = stored.rows, _floor(stored.rows)
    several_depths = shown.loc[shown["backbone"] != "scratch", "freeze"].nunique() > 1
    badges = _badges(stored, facts)
    prepared = []
    for i, row in enumerate(shown.to_dict(orient="records")):
        note = ["the small hand-made CNN"] if row["backbone"] == "scratch" else []
        if row["backbone"] != "scratch" and several_depths:
            note.append(frozen(row["freeze"]) + _share(row))
        if row["seeds"] > 1:
            range_of_test = numbers.interval(row["test_acc_min"], row["test_acc_max"])
            note.append(f"mean of {row['seeds']} seeds, test {range_of_test}")
        prepared.append(
            {
                **{name: row[name] for name in ("label", "backbone", "family", "freeze")},
                "badges": badges[i],
                "notes": note,
                "marks": marks[i],
                "accuracy": _accuracy(row, floor),
                "cells": [
                    {"text": column.show(row[column.name]), "value": _sortable(row[column.name])} for column in MEASURED
                ],
            }
        )
    return prepared


def filters(prepared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the table can be filtered by: each has its options, a value and a name; none that would not divide it."""
    families = sorted({row["family"] for row in prepared} - {""})
    freezes = sorted({row["freeze"] for row in prepared} - {""}, key=depth_order)
    worn = {badge for row in prepared for badge in row["badges"]} - {BEST}
    found = (
        ("family", "Family", [(name, name) for name in families]),
        ("freeze", "Freeze", [(name, name) for name in freezes]),
        ("badge", "Badge", [(badge.kind, badge.name) for badge in BADGES if badge in worn]),
    )
    return [
        {"name": name, "label": label, "options": options}
        for name, label, options in found
        if len(options) > (name != "badge")
    ]


def scale(stored: Stored) -> str:
    """From where to where the drawn intervals run."""
    return f"{100 * _floor(stored.rows):.0f} to 100%"


def _badges(stored: Stored, facts: Recommendation) -> list[list[Badge]]:
    shown = stored.rows
    front = pareto(shown)
    networks = shown.groupby("family")["backbone"].nunique()
    families = {family for family, amount in networks.items() if family and amount > 1}

    def ruled_out(other: Candidate) -> bool:
        """Where the first may be the best on test and this one may not."""
        members = {member.cell_id for member in facts.possibly_best}
        return found[0].cell_id in members and other.cell_id not in members

    def worn(i: int) -> Iterator[Badge]:
        row, other = shown.iloc[i], found[i]
        if i == 0:
            yield BEST
        if front.iloc[i]:
            yield FRONT
        if i > 0 and other.test_acc is not None and facts.verdict_on(other) == "tied" and not ruled_out(other):
            yield TIED
        if row["family"] in families:
            families.remove(row["family"])
            yield FAMILY
        if row["weights"] == "none":
            yield RANDOM

    found = candidates(stored.table)
    return [list(worn(i)) for i in range(len(shown))]


def _share(row: Mapping[str, Any]) -> str:
    """What freezing all but some stages means in parameters, which no two architectures agree on."""
    share = row["frozen_params_pct"]
    return f", {share:.0f}% of its parameters" if 0 < share < 100 else ""


def _accuracy(row: Mapping[str, Any], floor: float) -> dict[str, Any]:
    drawn = all(pd.notna(row[name]) for name in ("test_acc", "test_acc_lo", "test_acc_hi"))

    def place(share: float) -> str:
        return f"{100 * (share - floor) / (1 - floor):.1f}"

    return {
        "value": _sortable(row["test_acc"]),
        "text": numbers.percent(row["test_acc"]),
        "interval": numbers.interval(row["test_acc_lo"], row["test_acc_hi"]) if drawn else "",
        "drawn": drawn,
        **(
            {"lo": place(row["test_acc_lo"]), "hi": place(row["test_acc_hi"]), "at": place(row["test_acc"])}
            if drawn
            else {}
        ),
    }


def _sortable(value: float) -> str:
    return "" if pd.isna(value) else repr(float(value))


def _floor(shown: pd.DataFrame) -> float:
    """Left end of the drawn intervals: the tens below the lowest, so that the bars use the room they have."""
    low = shown["test_acc_lo"].fillna(shown["test_acc"]).min()
    return 0.0 if pd.isna(low) else min(0.9, int(low * 10) / 10)
