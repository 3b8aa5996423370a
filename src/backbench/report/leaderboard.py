"""The table of candidates: its columns, its rows as text with their badges, and what it can be filtered by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from backbench.analysis import Recommendation, pareto
from backbench.analysis.prose.best_vs_rest import tied_means
from backbench.analysis.prose.phrases import TIED_BY_SET, frozen
from backbench.analysis.ranking import GROUP, depth_order, tidy
from backbench.core import formatting
from backbench.core.backbone import RANDOM_WEIGHTS
from backbench.core.columns import COLUMNS
from backbench.report.loader import ReportData

MEANINGS = {column.name: column.meaning for column in COLUMNS}


# The table's declaration speaks to who reads files; the page says it in the units that it shows.
OWN = {
    "rank": "place by selection score",
    "label": "the backbone and how deep it is frozen, all its seeds together",
    "test_acc": "share of the test images that it classifies correctly, with the 95% interval",
    "gap": "accuracy on train minus accuracy on test, in percentage points: the overfitting gap",
    "train_acc": "share of the training images that it classifies correctly, measured after training as on test",
    "val_acc": "share of the val images that it classifies correctly",
    "selection_score": "what ranks the candidates: the probability given to the right class on val, 1 is perfect",
    "latency_ms": "time that one image takes, the median of many",
    "fit_seconds": "time of its own training",
    "wall_seconds": "time of its training with its share of what the depths of its network had in common",
    "test_top5": "share of the test images whose class is among its first five; none with five classes or fewer",
    "test_nll": "mean negative log-likelihood on test: how much its answers are surprised by the truth, 0 is perfect",
    "test_ece": "expected calibration error on test: by how much its confidence misses its accuracy, over 15 bins",
}


@dataclass(frozen=True)
class Heading:
    """One column of the page's table.

    `first` is the order of the first press on its heading; columns that are not `shown` can be chosen.
    """

    name: str
    heading: str
    show: Callable[[float | None], str] = formatting.plain
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
    Heading("gap", "Gap", formatting.points, "points"),
    Heading("train_acc", "Train", formatting.percent, first="descending"),
    Heading("val_acc", "Val", formatting.percent, first="descending"),
    Heading("selection_score", "Selection score", formatting.decimal, first="descending"),
    Heading("latency_ms", "Latency", formatting.plain, "ms"),
    Heading("params", "Parameters", formatting.magnitude),
    Heading("flops", "Compute", formatting.gflops, "GFLOPs"),
    Heading("throughput_ips", "Throughput", formatting.plain, "images/s", "descending", shown=False),
    Heading("peak_mem_mb", "Memory", formatting.plain, "MiB", shown=False),
    Heading("fit_seconds", "Training", formatting.duration, shown=False),
    Heading("wall_seconds", "In all", formatting.duration, shown=False),
    Heading("test_top5", "Top-5", formatting.percent, first="descending", shown=False),
    Heading("test_macro_f1", "Macro-F1", formatting.percent, first="descending", shown=False),
    Heading("test_nll", "NLL", formatting.decimal, shown=False),
    Heading("test_ece", "ECE", formatting.percent, shown=False),
)


@dataclass(frozen=True)
class Badge:
    """A mark beside a name; `kind` is its look and what the table is filtered by, `meaning` what it says in words."""

    kind: str
    name: str
    meaning: str


BEST = Badge("top", "best", "first by selection score")


FRONT = Badge("front", "Pareto", "no other candidate has both a better selection score and a lower latency")


TIED = Badge("tied", "tied with best", TIED_BY_SET)


FAMILY = Badge("family", "best of its family", "the first of several networks of one family")


RANDOM = Badge("random", "not pretrained", f"started from {RANDOM_WEIGHTS}")


BADGES = (BEST, FRONT, TIED, FAMILY, RANDOM)


def badges(facts: Recommendation) -> tuple[Badge, ...]:
    """All badges, with what they mean on this page."""
    return tuple(replace(badge, meaning=tied_means(facts)) if badge is TIED else badge for badge in BADGES)


def rows(stored: ReportData, facts: Recommendation, marks: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The candidates as text, best first; `marks` are the numbers of their footnotes."""
    shown, floor = stored.rows, _floor(stored.rows)
    several_depths = shown.loc[shown["backbone"] != "scratch", "freeze"].nunique() > 1
    badges = _badges(stored, facts)
    asked = tidy(stored.table).groupby(list(GROUP), dropna=False).size().rename("asked")
    shown = shown.join(asked, on=list(GROUP))
    prepared = []
    for i, row in enumerate(shown.to_dict(orient="records")):
        note = ["the small hand-made CNN"] if row["backbone"] == "scratch" else []
        if row["backbone"] != "scratch" and several_depths:
            note.append(frozen(row["freeze"]) + _share(row))
        of = f" of {row['asked']}" if row["asked"] > row["seeds"] else ""
        if row["seeds"] > 1:
            range_of_test = formatting.interval(row["test_acc_min"], row["test_acc_max"])
            note.append(f"mean of {row['seeds']}{of} seeds, test {range_of_test}")
        elif of:
            note.append(f"1{of} seeds")
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
    worn = {badge.kind for row in prepared for badge in row["badges"]} - {BEST.kind}
    found = (
        ("family", "Family", [(name, name) for name in families]),
        ("freeze", "Freeze", [(name, name) for name in freezes]),
        ("badge", "Badge", [(badge.kind, badge.name) for badge in BADGES if badge.kind in worn]),
    )
    return [
        {"name": name, "label": label, "options": options}
        for name, label, options in found
        if len(options) > (name != "badge")
    ]


def scale(stored: ReportData) -> str:
    """From where to where the drawn intervals run."""
    return f"{100 * _floor(stored.rows):.0f} to 100%"


def _badges(stored: ReportData, facts: Recommendation) -> list[list[Badge]]:
    shown = stored.rows
    found, front = facts.ranking, pareto(shown)
    networks = shown.groupby("family")["backbone"].nunique()
    families = {family for family, amount in networks.items() if family and amount > 1}

    def worn(i: int) -> Iterator[Badge]:
        row = shown.iloc[i]
        if i == 0:
            yield BEST
        if front.iloc[i]:
            yield FRONT
        if facts.tied(found[i]):
            yield replace(TIED, meaning=tied_means(facts))
        if row["family"] in families:
            families.remove(row["family"])
            yield FAMILY
        if row["weights"] == "none":
            yield RANDOM

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
        "text": formatting.percent(row["test_acc"]),
        "interval": formatting.interval(row["test_acc_lo"], row["test_acc_hi"]) if drawn else "",
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


def footnotes(rows: pd.DataFrame) -> tuple[list[str], list[list[int]]]:
    """The notes in the order in which they come up, and for each row of `frames.grouped` the numbers of its own."""
    own = [[note for note in (part.strip() for part in reason.split(";")) if note] for reason in rows["reason"]]
    notes = list(dict.fromkeys(note for row in own for note in row))
    return notes, [sorted(notes.index(note) + 1 for note in row) for row in own]
