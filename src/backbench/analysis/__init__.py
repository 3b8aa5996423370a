"""From the table of cells to an answer: ranking, paired tests, Pareto marks, recommendation. Frames in, values out."""

from backbench.analysis.advice import Candidate, Recommendation, Rival, recommendation
from backbench.analysis.frames import grouped, labels, pareto, ranked
from backbench.analysis.significance import holm, mcnemar

__all__ = [
    "Candidate",
    "Recommendation",
    "Rival",
    "grouped",
    "holm",
    "labels",
    "mcnemar",
    "pareto",
    "ranked",
    "recommendation",
]
