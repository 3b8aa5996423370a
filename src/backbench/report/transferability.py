"""What the page says of the scores that could have chosen a network beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from backbench.analysis.prose.transferability_ranking import sentence
from backbench.analysis.transferability_ranking import (
    TransferabilityRanking,
    final_results,
    transferability_rankings,
)
from backbench.core import formatting
from backbench.core.cells import Status

# How many networks are listed with their scores, from the best on.
LISTED = 40


@dataclass(frozen=True)
class Section:
    """The scores as text, and the networks that they ranked; `judged` is empty where these are too few."""

    networks: int = 0
    sentence: str = ""
    judged: tuple[Mapping[str, str], ...] = ()
    listed: tuple[Mapping[str, str], ...] = ()


# Where a network's training was pruned, its probe stands for it.
PRUNED = " A budget pruned some of what these networks could have been, which favours scores that agree with it."


def section(table: pd.DataFrame) -> Section:
    """From the table of cells."""
    final = final_results(table)
    judged = transferability_rankings(final)
    if not judged:
        return Section()
    return Section(
        networks=len(final),
        sentence=sentence(judged, len(final)) + (PRUNED if (table["status"] == Status.PRUNED).any() else ""),
        judged=tuple(_judged(score) for score in judged),
        listed=tuple(_listed(row) for row in final.head(LISTED).to_dict(orient="records")),
    )


def _judged(score: TransferabilityRanking) -> dict[str, str]:
    return {
        "name": score.name,
        "tau": formatting.decimal(score.tau, 2),
        "lead": _with_sign(score.lead),
        "first": formatting.points(score.regret_1),
        "three": formatting.points(score.regret_3),
    }


def _with_sign(lead: float | None) -> str:
    text = formatting.decimal(lead, 2)
    return f"+{text}" if lead is not None and lead > 0 and text.strip("0.") else text


def _listed(row: Mapping[str, float | str]) -> dict[str, str]:
    shares = {name: formatting.percent(float(row[name])) for name in ("test_acc", "imagenet_top1")}
    shares |= {name: formatting.percent(float(row[name])) for name in ("ridge_loo_acc", "knn_loo_acc")}
    measures = {name: formatting.decimal(float(row[name])) for name in ("logme", "h_score")}
    return {"label": str(row["label"]), **shares, **measures}
