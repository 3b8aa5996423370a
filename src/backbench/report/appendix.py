"""The lower part of the page: the data, the protocol, the machine, the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from backbench.analysis.ranking import tidy
from backbench.core import formatting
from backbench.core.dataset import SPLITS
from backbench.report import warnings
from backbench.results.run_record import JobRecord, Option, RunRecord

# Longer lists of classes are folded away, up to a length that still makes a small page.
SHOWN_CLASSES, LISTED_CLASSES = 60, 1000

Fold = tuple[str, list[tuple[str, str]]]


def health(run: RunRecord) -> dict[str, Any]:
    """Images per class and what was found about them; `present` when there is anything."""
    known = run.dataset.health
    counts = {name: {split: sizes.get(split, 0) for split in SPLITS} for name, sizes in known.per_class.items()}
    most = max((sum(count.values()) for count in counts.values()), default=0) or 1
    classes = [
        {"name": name, **count, "width": f"{100 * sum(count.values()) / most:.1f}"} for name, count in counts.items()
    ]
    parts = [fold for fold in (classes[:SHOWN_CLASSES], classes[SHOWN_CLASSES:LISTED_CLASSES]) if fold]
    findings = warnings.findings(known)
    return {
        "present": bool(classes or findings),
        "classes": classes,
        "folds": parts,
        "unlisted": formatting.count(len(classes) - LISTED_CLASSES) if len(classes) > LISTED_CLASSES else "",
        "findings": findings,
    }


def folds(run: RunRecord, table: pd.DataFrame) -> list[dict[str, Any]]:
    """What is folded away at the bottom of the page: named values under a title."""
    moments = {"git revision": run.git_revision, "started": run.started, "finished": run.finished or None}
    dataset = run.dataset
    source = {"source": dataset.source, "fingerprint": dataset.fingerprint, "image size": dataset.image_size}
    parts: tuple[Fold, ...] = (
        ("How it was measured", _pairs(run.protocol)),
        ("What was asked", _pairs(run.request)),
        ("What that came to", _pairs({**run.resolved, **_measured_on(table)})),
        ("Weights", _weights(table)),
        ("Dataset", _pairs(source)),
        ("Machine and versions", _pairs({**run.environment, **moments})),
        ("Where the time went", [(job.label, _phases(job)) for job in run.jobs or ()]),
    )
    return [{"title": title, "pairs": pairs} for title, pairs in parts if pairs]


def _weights(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Where the weights of each backbone came from."""
    known = tidy(table)
    known = known[(known["weights_source"] != "") & (known["weights"] != "none")]
    pairs = known[["backbone", "weights_source"]].drop_duplicates().sort_values(["backbone", "weights_source"])
    return list(pairs.itertuples(index=False, name=None))


def _measured_on(table: pd.DataFrame) -> dict[str, str]:
    """Input sizes and processors, which may differ from row to row."""
    known = tidy(table)
    sizes = sorted(known["image_size"].dropna().unique())
    return {
        "image sizes": ", ".join(f"{size:.0f} px" for size in sizes),
        "processors": ", ".join(sorted(set(known["device"]) - {""})),
    }


def _pairs(content: Mapping[str, Option]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), str(value)) for name, value in content.items() if value not in (None, "")]


def _phases(job: JobRecord) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {formatting.duration(spent)}" for name, spent in job.seconds.items())
