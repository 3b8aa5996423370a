"""From the table of cells to an answer: ranking, paired tests, Pareto marks, recommendation. Frames in, values out."""

from backbench.analysis.advice import Recommendation, recommendation
from backbench.analysis.answers import Answers, ByCell
from backbench.analysis.candidates import Candidate
from backbench.analysis.compare import Comparison
from backbench.analysis.frames import grouped, labels, pareto, ranked
from backbench.analysis.naming import find
from backbench.analysis.paired import Advantage
from backbench.analysis.rivals import Rival
from backbench.analysis.significance import holm, mcnemar

__all__ = [
    "Advantage",
    "Answers",
    "ByCell",
    "Candidate",
    "Comparison",
    "Recommendation",
    "Rival",
    "find",
    "grouped",
    "holm",
    "labels",
    "mcnemar",
    "pareto",
    "ranked",
    "recommendation",
]
