"""The lower part of the page: the data, the protocol, the machine, the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from backbench.analysis import numbers
from backbench.analysis.frames import tidy
from backbench.core.dataset import SPLITS
from backbench.report import warnings

# Longer lists of classes are folded away, up to a length that still makes a small page.
SHOWN_CLASSES, LISTED_CLASSES = 60, 1000

Fold = tuple[str, list[str], list[tuple[str, str]]]


def health(run: Mapping[str, Any]) -> dict[str, Any]:
    """Images per class and what was found about them; `present` when there is anything."""
    known = warnings.section(run, "dataset", "health")
    per_class = warnings.section(known, "per_class")
    counts = {
        str(name): {split: warnings.number(warnings.section(per_class, name).get(split)) for split in SPLITS}
        for name in per_class
    }
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
        "unlisted": numbers.count(len(classes) - LISTED_CLASSES) if len(classes) > LISTED_CLASSES else "",
        "findings": findings,
    }


def folds(run: Mapping[str, Any], table: pd.DataFrame) -> list[dict[str, Any]]:
    """What is folded away at the bottom of the page: lines and named values under a title."""
    protocol = warnings.section(run, "protocol")
    dataset = warnings.section(run, "dataset")
    machine = dict(warnings.section(run, "environment"))
    machine |= {name.replace("_", " "): run[name] for name in ("git_revision", "started", "finished") if run.get(name)}
    source = {name: dataset.get(name) for name in ("source", "fingerprint", "image_size")}
    jobs = [
        (str(job.get("label", "")), _phases(job))
        for job in warnings.sequence(run.get("jobs"))
        if isinstance(job, Mapping)
    ]
    parts: tuple[Fold, ...] = (
        (
            "How it was measured",
            _lines(protocol),
            _pairs({name: value for name, value in protocol.items() if not isinstance(value, list | tuple)}),
        ),
        ("What was asked", [], _pairs(warnings.section(run, "request"))),
        ("What that came to", [], _pairs({**warnings.section(run, "resolved"), **_measured_on(table)})),
        ("Weights", [], _weights(table)),
        ("Dataset", [], _pairs(source)),
        ("Machine and versions", [], _pairs(machine)),
        ("Where the time went", [], jobs),
    )
    return [{"title": title, "lines": lines, "pairs": pairs} for title, lines, pairs in parts if lines or pairs]


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


def _lines(protocol: Mapping[str, Any]) -> list[str]:
    lists = (value for value in protocol.values() if isinstance(value, list | tuple))
    return [warnings.describe(line) for lines in lists for line in lines]


def _pairs(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(name).replace("_", " "), warnings.describe(value))
        for name, value in content.items()
        if value not in (None, "")
    ]


def _phases(job: Mapping[str, Any]) -> str:
    nested = warnings.section(job, "seconds")
    phases = nested or {name: value for name, value in job.items() if isinstance(value, int | float)}
    return ", ".join(
        f"{str(name).replace('_', ' ')} {numbers.duration(float(value))}" for name, value in phases.items()
    )
