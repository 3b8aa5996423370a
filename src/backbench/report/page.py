"""The page: what was measured and found, prepared as text for the template. Strings in, one string out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from backbench.analysis import Candidate, Recommendation
from backbench.analysis.prose.phrases import frozen
from backbench.analysis.ranking import GROUP, tidy
from backbench.core import formatting
from backbench.core.backbone import RANDOM_WEIGHTS
from backbench.core.cells import Status
from backbench.core.dataset import SPLITS
from backbench.report import appendix, incomplete, leaderboard, transferability, warnings
from backbench.report.error_gallery import Gallery
from backbench.report.leaderboard import footnotes
from backbench.report.loader import ReportData
from backbench.report.plots import vega
from backbench.report.plots.style import DrawnPlot
from backbench.results.run_record import RunRecord

STYLES = ("page.css", "board.css", "plots.css", "gallery.css", "print.css")
SCRIPTS = ("board.js", "highlight.js", "plots.js", "page.js")

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


def render(
    stored: ReportData,
    facts: Recommendation,
    plots: Sequence[DrawnPlot],
    gallery: Gallery | None = None,
    *,
    exports: str = "",
) -> str:
    """The leaderboard as one HTML document that needs nothing else; `exports` says what can be exported.

    Any key of run.json may be missing. Every name, id and reason is treated as untrusted text; of the plots only
    `inline`, which is our own drawing, is taken as markup.
    """
    gallery = gallery or Gallery()
    table, run = stored.table, stored.run
    notes, marks = footnotes(stored.rows)
    rows = leaderboard.rows(stored, facts, marks)
    title = run.dataset.name or (str(table["dataset"].iloc[0]) if len(table) else "no dataset")
    scripts = ["\n".join(map(_asset, SCRIPTS)), *([vega.script()] if plots else [])]
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
        policy=_policy(scripts),
        facts=_facts(table, run),
        answer=_answer(facts),
        notices=warnings.notices(run, facts, gallery.copies.notice),
        terms=TERMS,
        badges=leaderboard.badges(facts),
        exports=exports,
        scale=leaderboard.scale(stored),
        headings=(*leaderboard.LEADING, *leaderboard.MEASURED),
        filters=leaderboard.filters(rows),
        rows=rows,
        footnotes=notes,
        foresight=transferability.section(table),
        gallery=gallery,
        plots=plots,
        backbones=sorted({row["backbone"] for row in rows}, key=str.casefold) if plots else [],
        data=Markup(_data(plots)),  # noqa: S704  escaped as JSON
        unfinished=incomplete.groups(table),
        health=appendix.health(run),
        command=run.command,
        folds=appendix.folds(run, table),
        style=Markup("".join(map(_asset, STYLES))),  # noqa: S704  our own files
        scripts=[Markup(script) for script in scripts],  # noqa: S704  our own files, and Vega
    )


def _policy(scripts: Sequence[str]) -> str:
    """Nothing but these scripts may run, and nothing may be asked of any host."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    own = "img-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {own}; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _data(plots: Sequence[DrawnPlot]) -> str:
    """The rows and the specifications that the plots to touch are drawn from."""
    content = {drawn.plot.name: {"rows": vega.records(drawn.plot.frame), "views": drawn.vega.views} for drawn in plots}
    return vega.as_json({"config": vega.CONFIG, "plots": content}) if plots else ""


def _whole(text: str, most: int = UNBROKEN) -> Markup:
    """Text whose names and ranges are not broken at their hyphens and dashes; anything but the spans is escaped."""
    span = Markup('<span class="whole">{}</span>').format
    return Markup(" ").join(
        span(word) if set("-–") & set(word) and len(word) <= most else word for word in text.split(" ")
    )


def _asset(name: str) -> str:
    return files("backbench.report").joinpath("templates", name).read_text(encoding="utf-8")


def _facts(table: pd.DataFrame, run: RunRecord) -> list[str]:
    facts = []
    if run.dataset.classes:
        facts.append(f"{formatting.count(len(run.dataset.classes))} classes")
    counts = run.dataset.sizes
    sizes = [f"{formatting.count(counts[split])} {split}" for split in SPLITS if split in counts]
    if sizes:
        facts.append(f"{', '.join(sizes)} images")
    rows = tidy(table)
    whole = (rows["status"] == Status.OK).groupby([rows[name] for name in GROUP], dropna=False).all()
    facts.append(f"{whole.sum()} of {len(whole)} candidates finished")
    finished = _moment(run.finished or "")
    if finished:
        facts.append(finished)
    return facts


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _answer(facts: Recommendation) -> dict[str, Any]:
    best, sentences = facts.best, facts.sentences
    if best is None:
        return {"title": "No answer", "subtitle": "", "figures": [], "lead": sentences[0], "evidence": sentences[1:]}
    subtitle = "the small hand-made CNN" if best.scratch else frozen(best.freeze)
    if not best.scratch:
        subtitle += ", pretrained" if best.pretrained else f", {RANDOM_WEIGHTS}"
    return {
        "title": best.backbone,
        "subtitle": subtitle[0].upper() + subtitle[1:],
        "figures": _key_figures(best),
        "lead": sentences[0],
        "evidence": sentences[1:],
    }


def _key_figures(best: Candidate) -> list[dict[str, str]]:
    test = (
        f"95% interval {formatting.interval(best.test_acc_lo, best.test_acc_hi)}"
        if best.test_acc_lo is not None
        else ""
    )
    if best.seeds > 1:
        test += f"; {best.seeds} seeds {formatting.interval(best.test_acc_min, best.test_acc_max)}"
    latency = formatting.MISSING if best.latency_ms is None else f"{formatting.plain(best.latency_ms)} ms"
    gap = formatting.MISSING if best.gap is None else f"{formatting.points(best.gap)} pts"
    trained = "" if best.train_acc is None else f"train {formatting.percent(best.train_acc)}"
    compute = "" if best.flops is None else f"{formatting.gflops(best.flops)} GFLOPs an image"
    return [
        {"name": "Test accuracy", "value": formatting.percent(best.test_acc), "note": test, "role": "test"},
        {"name": "Overfitting gap", "value": gap, "note": trained, "role": "train"},
        {"name": "Latency", "value": latency, "note": "one image, median", "role": "cost"},
        {"name": "Parameters", "value": formatting.magnitude(best.params), "note": compute, "role": "cost"},
    ]
