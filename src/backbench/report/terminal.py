"""The leaderboard in a terminal: one aligned table, as many columns as there is room for."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from backbench.analysis import Recommendation, grouped, labels
from backbench.analysis.caveat import CaveatCode
from backbench.analysis.prose.best_vs_rest import tied_means
from backbench.core import formatting
from backbench.report import incomplete
from backbench.report.leaderboard import footnotes

# Shortest first to go when the terminal is narrow: heading, how it is shown, and its importance (1 stays longest).
COLUMNS = (
    ("#", lambda row: str(row["rank"]), 1),
    ("candidate", lambda row: row["label"], 1),
    ("freeze", lambda row: row["freeze"], 5),
    ("test", lambda row: formatting.percent(row["test_acc"]), 1),
    ("seeds", lambda row: _seeds(row), 2),
    ("95% interval", lambda row: formatting.interval(row["test_acc_lo"], row["test_acc_hi"]), 3),
    ("gap", lambda row: formatting.points(row["gap"]), 2),
    ("train", lambda row: formatting.percent(row["train_acc"]), 4),
    ("val", lambda row: formatting.percent(row["val_acc"]), 4),
    ("score", lambda row: formatting.decimal(row["selection_score"]), 3),
    ("params", lambda row: formatting.magnitude(row["params"]), 5),
    ("GFLOPs", lambda row: formatting.gflops(row["flops"]), 8),
    ("ms", lambda row: formatting.plain(row["latency_ms"]), 2),
    ("images/s", lambda row: formatting.plain(row["throughput_ips"]), 9),
    ("MiB", lambda row: formatting.plain(row["peak_mem_mb"]), 9),
    ("time", lambda row: formatting.duration(row["wall_seconds"]), 7),
)
LEFT = ("candidate", "freeze", "seeds")

# Behind the names of those that are tied with the best.
TIED = "~"


def show(
    table: pd.DataFrame, *, width: int | None = None, facts: Recommendation | None = None, exports: str = ""
) -> str:
    """The table of candidates, best first, then what did not finish; fits `width` columns (default: the terminal).

    From `facts` it takes which candidates are marked as tied with the best; `exports` says what can be exported.
    """
    width = shutil.get_terminal_size((100, 24)).columns if width is None else width
    rows = grouped(table)
    rows["label"] = labels(rows)
    rows["rank"] = range(1, len(rows) + 1)
    parts = []
    notes, marks = footnotes(rows)
    tied = {one.cell_id for one in facts.ranking if facts.tied(one)} if facts else set()
    rows["label"] += [f" {TIED}" if cell_id in tied else "" for cell_id in rows["cell_id"]]
    rows["label"] += ["".join(f" [{mark}]" for mark in own) for own in marks]
    if len(rows):
        parts.append(_board(rows.to_dict(orient="records"), width))
    else:
        parts.append("No candidate finished." if len(table) else "No cell has been run.")
    if notes:
        parts.append("\n".join(_wrapped(f"[{i}] {note}", width) for i, note in enumerate(notes, start=1)))
    if len(rows):
        below = ["Ranked by selection score, which is measured on val alone.", exports]
        if facts and tied:
            below.insert(1, f"{TIED} {tied_means(facts)}")
        if facts:
            below += [caveat.text for caveat in facts.caveats if caveat.code == CaveatCode.TRAINED_ONCE]
        parts.append("\n".join(_wrapped(line, width) for line in below if line))
    parts += [_unfinished(group, width) for group in incomplete.groups(table)]
    return formatting.for_terminal("\n\n".join(parts)) + "\n"


def _board(rows: Sequence[Mapping[Any, Any]], width: int) -> str:
    columns = {name: [name, *(shown(row) for row in rows)] for name, shown, _ in COLUMNS}
    widths = {name: max(map(len, texts)) for name, texts in columns.items()}
    kept = [name for name, _, _ in COLUMNS if name != "seeds" or any(row["seeds"] > 1 for row in rows)]
    for name, _, importance in sorted(COLUMNS, key=lambda column: -column[2]):
        if importance > 1 and name in kept and sum(widths[k] + 2 for k in kept) - 2 > width:
            kept.remove(name)
    lines = []
    for i in range(len(rows) + 1):
        fields = [f"{columns[name][i]:{'<' if name in LEFT else '>'}{widths[name]}}" for name in kept]
        lines.append("  ".join(fields).rstrip())
    return "\n".join([lines[0], "-" * min(width, max(map(len, lines))), *lines[1:]])


def _unfinished(group: Mapping[str, Any], width: int) -> str:
    return _wrapped(f"{group['status']}: {group['title']}. {group['reason']}", width)


def _seeds(row: Mapping[Any, Any]) -> str:
    """How many, and from where to where their test accuracies range."""
    if row["seeds"] < 2:
        return ""
    return f"{row['seeds']}: {formatting.interval(row['test_acc_min'], row['test_acc_max'])}"


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, max(width, 20), subsequent_indent="  "))
