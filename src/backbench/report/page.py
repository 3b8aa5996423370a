"""The page: what was measured and found, prepared as text for the template. Strings in, one string out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from backbench.analysis import Candidate, Recommendation, grouped, labels, numbers, pareto
from backbench.analysis.frames import tidy
from backbench.analysis.wording import frozen
from backbench.columns import COLUMNS
from backbench.report import background, notices, unfinished
from backbench.report.drawing import Picture
from backbench.report.footnotes import footnotes
from backbench.report.gallery import Gallery

MEANINGS = {column.name: column.meaning for column in COLUMNS}

# Longer words are broken where a line ends: on a phone there are about forty letters in a line.
UNBROKEN = 32

TERMS = (
    ("Gap", "Train accuracy minus test accuracy: how much better the network is on images it has already seen."),
    (
        "Freeze",
        "How much of the pretrained network is left untouched: with all only the last layer is trained, with all-1 the "
        "last stage as well, with none everything.",
    ),
    (
        "Selection score",
        "The probability given to the right class of an image of val (geometric mean, after one temperature is fitted; "
        "1 is perfect). It ranks the candidates, so that test remains an honest check.",
    ),
)


@dataclass(frozen=True)
class Heading:
    """One column of the page's table; `first` is the order of the first press on its heading."""

    name: str
    heading: str
    show: Callable[[float | None], str] = numbers.plain
    unit: str = ""
    first: str = "ascending"
    css: str = "number"

    @property
    def meaning(self) -> str:
        """What the column means, in the words of the table's declaration."""
        own = {"rank": "place by selection score", "label": "the candidate"}
        return own.get(self.name) or MEANINGS[self.name]


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
    Heading("latency_ms", "Latency", numbers.plain, "ms", css="number border"),
    Heading("params", "Parameters", numbers.magnitude),
    Heading("flops", "Compute", numbers.gflops, "GFLOPs"),
    Heading("throughput_ips", "Throughput", numbers.plain, "images/s", "descending"),
    Heading("peak_mem_mb", "Memory", numbers.plain, "MiB"),
    Heading("fit_seconds", "Training", numbers.duration),
    Heading("wall_seconds", "In all", numbers.duration),
    Heading("test_top5", "Top-5", numbers.percent, first="descending", css="number border"),
    Heading("test_macro_f1", "Macro-F1", numbers.percent, first="descending"),
    Heading("test_nll", "NLL", numbers.decimal),
    Heading("test_ece", "ECE", numbers.percent),
)


def render(
    table: pd.DataFrame,
    run: Mapping[str, Any],
    facts: Recommendation,
    figures: Sequence[Picture],
    gallery: Gallery | None = None,
) -> str:
    """The leaderboard as one HTML document that needs nothing else.

    `run` is the content of run.json, any key of which may be missing. Every name, id and reason is treated as untrusted
    text; of the figures only `inline`, which is our own drawing, is taken as markup.
    """
    gallery = gallery or Gallery()
    rows = grouped(table)
    rows["label"] = labels(rows)
    notes, marks = footnotes(rows)
    script = _asset("leaderboard.js")
    title = str(
        notices.section(run, "dataset").get("name") or (table["dataset"].iloc[0] if len(table) else "no dataset")
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("backbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["whole"] = _whole
    return environment.get_template("leaderboard.html").render(
        title=title,
        facts=_facts(table, run, len(rows)),
        answer=_answer(facts),
        notices=notices.notices(run, facts, gallery.copies.notice),
        terms=TERMS,
        scale=f"{100 * _floor(rows):.0f} to 100%",
        headings=(*LEADING, *MEASURED),
        rows=_rows(rows, marks),
        footnotes=notes,
        figures=figures,
        gallery=gallery,
        unfinished=unfinished.groups(table),
        health=background.health(run),
        command=run.get("command") or "",
        folds=background.folds(run),
        style=Markup(_asset("leaderboard.css") + _asset("gallery.css")),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _whole(text: str, most: int = UNBROKEN) -> Markup:
    """Text whose names and ranges are not broken at their hyphens and dashes; anything but the spans is escaped."""
    span = Markup('<span class="whole">{}</span>').format
    return Markup(" ").join(
        span(word) if set("-–") & set(word) and len(word) <= most else word for word in text.split(" ")
    )


def _asset(name: str) -> str:
    return files("backbench.report").joinpath("templates", name).read_text(encoding="utf-8")


def _facts(table: pd.DataFrame, run: Mapping[str, Any], candidates: int) -> list[str]:
    dataset = notices.section(run, "dataset")
    counts = notices.counts(run)
    facts = []
    classes = notices.number(dataset.get("classes"))
    if classes:
        facts.append(f"{numbers.count(classes)} classes")
    sizes = [
        f"{numbers.count(notices.number(counts[split]))} {split}"
        for split in ("train", "val", "test")
        if split in counts
    ]
    if sizes:
        facts.append(f"{', '.join(sizes)} images")
    tried = len(tidy(table)[["backbone", "weights", "image_size", "freeze"]].drop_duplicates())
    facts.append(f"{candidates} of {tried} candidates finished")
    finished = _moment(run.get("finished"))
    if finished:
        facts.append(finished)
    return facts


def _moment(text: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _answer(facts: Recommendation) -> dict[str, Any]:
    best, sentences = facts.best, facts.sentences
    if best is None:
        return {"title": "No answer", "subtitle": "", "figures": [], "lead": sentences[0], "evidence": sentences[1:]}
    subtitle = "the small hand-made CNN" if best.scratch else frozen(best.freeze)
    if not best.scratch:
        subtitle += ", pretrained" if best.pretrained else ", random weights"
    return {
        "title": best.backbone,
        "subtitle": subtitle[0].upper() + subtitle[1:],
        "figures": _key_figures(best),
        "lead": sentences[0],
        "evidence": [sentence for sentence in sentences[1:] if sentence not in facts.cautions],
    }


def _key_figures(best: Candidate) -> list[dict[str, str]]:
    test = (
        f"95% interval {numbers.interval(best.test_acc_lo, best.test_acc_hi)}" if best.test_acc_lo is not None else ""
    )
    if best.seeds > 1:
        test += f"; {best.seeds} seeds {numbers.interval(best.test_acc_min, best.test_acc_max)}"
    latency = numbers.MISSING if best.latency_ms is None else f"{numbers.plain(best.latency_ms)} ms"
    gap = numbers.MISSING if best.gap is None else f"{numbers.points(best.gap)} pts"
    trained = "" if best.train_acc is None else f"train {numbers.percent(best.train_acc)}"
    compute = "" if best.flops is None else f"{numbers.gflops(best.flops)} GFLOPs an image"
    return [
        {"name": "Test accuracy", "value": numbers.percent(best.test_acc), "note": test, "role": "test"},
        {"name": "Overfitting gap", "value": gap, "note": trained, "role": "train"},
        {"name": "Latency", "value": latency, "note": "one image, median", "role": "cost"},
        {"name": "Parameters", "value": numbers.magnitude(best.params), "note": compute, "role": "cost"},
    ]


def _rows(rows: pd.DataFrame, marks: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    front, floor = pareto(rows), _floor(rows)
    several_depths = rows.loc[rows["backbone"] != "scratch", "freeze"].nunique() > 1
    prepared = []
    for i, row in enumerate(rows.to_dict(orient="records")):
        badges = []
        if i == 0:
            badges.append({"name": "best", "role": "top", "meaning": "first by selection score"})
        if front[i]:
            meaning = "no other candidate has both a better selection score and a lower latency"
            badges.append({"name": "Pareto", "role": "front", "meaning": meaning})
        if row["weights"] == "none":
            badges.append({"name": "not pretrained", "role": "", "meaning": "started from random weights"})
        note = ["the small hand-made CNN"] if row["backbone"] == "scratch" else []
        if row["backbone"] != "scratch" and several_depths:
            note.append(frozen(row["freeze"]) + _share(row))
        if row["seeds"] > 1:
            range_of_test = numbers.interval(row["test_acc_min"], row["test_acc_max"])
            note.append(f"mean of {row['seeds']} seeds, test {range_of_test}")
        prepared.append(
            {
                "label": row["label"],
                "badges": badges,
                "notes": note,
                "marks": marks[i],
                "accuracy": _accuracy(row, floor),
                "cells": [
                    {
                        "text": column.show(row[column.name]),
                        "value": _sortable(row[column.name]),
                        "css": column.css.removeprefix("number").strip(),
                    }
                    for column in MEASURED
                ],
            }
        )
    return prepared


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


def _floor(rows: pd.DataFrame) -> float:
    """Left end of the drawn intervals: the tens below the lowest, so that the bars use the room they have."""
    low = rows["test_acc_lo"].fillna(rows["test_acc"]).min()
    return 0.0 if pd.isna(low) else min(0.9, int(low * 10) / 10)
