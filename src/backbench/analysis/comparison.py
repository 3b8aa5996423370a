"""Does one candidate beat another on this test set? From two names and their predictions to a verdict with evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from backbench.analysis.candidate_names import find
from backbench.analysis.candidates import Candidate
from backbench.analysis.caveat import Caveat
from backbench.analysis.comparison_facts import ComparisonFacts
from backbench.analysis.paired_tests import paired_bootstrap
from backbench.analysis.per_item import ByCell
from backbench.analysis.prose import comparison as prose
from backbench.analysis.prose.caveats import comparison_caveats
from backbench.core.errors import RequestError


@dataclass(frozen=True, repr=False)
class Comparison(ComparisonFacts):
    """Two candidates on the same test items; shown as text or HTML it answers whether the first beats the second."""

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What limits the trust in the verdict."""
        return comparison_caveats(self)

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for scripts."""
        return {
            "verdict": self.verdict,
            "sentence": prose.verdict(self),
            "dataset": self.dataset,
            "test_items": self.test_items,
            "first": _plain(self.first),
            "second": _plain(self.second),
            "difference": asdict(self.lead),
            "only_first_right": self.test.wins,
            "only_second_right": self.test.losses,
            "test": self.test.name,
            "p_value": self.test.p_value,
        }

    def __repr__(self) -> str:
        return f"<{prose.verdict(self)}>"

    def __str__(self) -> str:
        return prose.text(self, self.caveats)

    def _repr_html_(self) -> str:
        return prose.html(self, self.caveats)


def pair(table: pd.DataFrame, first: str, second: str) -> tuple[Candidate, Candidate]:
    """The two candidates that the names mean. Raises RequestError when a name means none, or both mean the same."""
    left, right = find(table, first), find(table, second)
    if set(left.cell_ids) & set(right.cell_ids):
        if left.label == right.label:
            overlap = f"'{first}' and '{second}' are both {left.label}"
        else:
            seed, whole = (right, left) if left.seeds > 1 else (left, right)
            overlap = f"{seed.label} is one of the seeds of {whole.label}"
        raise RequestError(f"{overlap}: name two different ones")
    return left, right


def compare(first: Candidate, second: Candidate, per_item: ByCell, *, dataset: str, among: int) -> Comparison:
    """Compare two candidates on test. Raises RequestError when predictions of one for the same items are missing."""
    bootstrap = paired_bootstrap([first, second], per_item)
    for candidate in (first, second):
        if bootstrap.index(candidate) is None:
            missing = [cell for cell in candidate.cell_ids if cell not in per_item or not len(per_item[cell].hits)]
            raise RequestError(
                f"{candidate.label} has no stored predictions for these test images (cell {', '.join(missing)}): "
                "run the sweep again to compare it"
            )
    # These two carry the intervals that follow from the bootstrap.
    first, second = bootstrap.candidates
    return Comparison(
        first=first,
        second=second,
        lead=bootstrap.advantages(0, [1])[0],
        test=bootstrap.pair_test(0, 1),
        test_items=len(bootstrap.hits[0]),
        dataset=dataset,
        among=among,
    )


def _plain(candidate: Candidate) -> dict[str, Any]:
    names = ("backbone", "freeze", "weights", "seeds", "cell_ids", "test_acc", "test_acc_lo", "test_acc_hi")
    size = None if candidate.image_size is None else int(candidate.image_size)
    return {"name": candidate.label, "image_size": size} | {name: getattr(candidate, name) for name in names}
