"""Statistics on the table of cells and on stored predictions: arrays and frames in, values out.

Imports `core` and no deep-learning framework. Nothing here reads a file. To begin reading:

- `ranking`: the order of the cells, and their seeds grouped into one candidate;
- `recommendation`: which candidate to use; its facts are in `recommendation_facts`, its sentences in `prose`;
- `comparison`: whether one named candidate beats another.

`significance`, `bootstrap` and `model_confidence_set` hold the statistical tests, each with its source.
"""

from backbench.analysis.best_vs_rest import BestVersusOther
from backbench.analysis.candidate_names import find
from backbench.analysis.candidates import Candidate
from backbench.analysis.caveat import Caveat, CaveatCode, Severity
from backbench.analysis.comparison import Comparison
from backbench.analysis.paired_tests import Advantage
from backbench.analysis.per_item import ByCell, PerItem
from backbench.analysis.ranking import grouped, labels, pareto, ranked
from backbench.analysis.recommendation import recommend
from backbench.analysis.recommendation_facts import Recommendation
from backbench.analysis.significance import holm, mcnemar

__all__ = [
    "Advantage",
    "BestVersusOther",
    "ByCell",
    "Candidate",
    "Caveat",
    "CaveatCode",
    "Comparison",
    "PerItem",
    "Recommendation",
    "Severity",
    "find",
    "grouped",
    "holm",
    "labels",
    "mcnemar",
    "pareto",
    "ranked",
    "recommend",
]
