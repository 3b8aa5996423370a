"""Does one candidate beat another on this test set? From two names and their answers to a verdict with evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from backbench.analysis import compare_text
from backbench.analysis.answers import ByCell
from backbench.analysis.candidates import Candidate
from backbench.analysis.naming import find
from backbench.analysis.paired import Advantage, PairTest, tested
from backbench.analysis.significance import ALPHA
from backbench.core.errors import RequestError


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two candidates on the same test items; shown as text or HTML it answers whether the first beats the second.

    `lead` is the first's over the second, `among` the number of candidates that they were picked from.
    """

    first: Candidate
    second: Candidate
    lead: Advantage
    test: PairTest
    test_items: int
    dataset: str
    among: int

    @property
    def verdict(self) -> str:
        """Seen from the first: `better` or `worse` where test and interval agree on it, else `tied`."""
        return self.lead.verdict if self.test.p_value < ALPHA else "tied"

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for scripts."""
        return {
            "verdict": self.verdict,
            "sentence": compare_text.verdict(self),
            "dataset": self.dataset,
            "test_items": self.test_items,
            "first": _facts(self.first),
            "second": _facts(self.second),
            "difference": asdict(self.lead),
            "only_first_right": self.test.wins,
            "only_second_right": self.test.losses,
            "test": self.test.name,
            "p_value": self.test.p_value,
        }

    def __repr__(self) -> str:
        return f"<{compare_text.verdict(self)}>"

    def __str__(self) -> str:
        return compare_text.text(self)

    def _repr_html_(self) -> str:
        return compare_text.html(self)


def pair(table: pd.DataFrame, first: str, second: str) -> tuple[Candidate, Candidate]:
    """The two candidates that the names mean. Raises RequestError when a name means none, or both mean the same."""
    ours, theirs = find(table, first), find(table, second)
    if set(ours.cell_ids) & set(theirs.cell_ids):
        same = f"'{first}' and '{second}' are both {ours.label}"
        whole = f"{theirs.label} is one of the seeds of {ours.label}"
        part = f"{ours.label} is one of the seeds of {theirs.label}"
        which = same if ours.label == theirs.label else whole if ours.seeds > 1 else part
        raise RequestError(f"{which}: name two different ones")
    return ours, theirs


def compare(first: Candidate, second: Candidate, answers: ByCell, *, dataset: str, among: int) -> Comparison:
    """Compare two candidates on test. Raises RequestError when the answers of one on the same items are not known."""
    known = tested([first, second], answers)
    for one in (first, second):
        if known.place(one) is None:
            missing = [cell for cell in one.cell_ids if cell not in answers or not len(answers[cell].hits)]
            raise RequestError(
                f"{one.label} has no stored predictions for these test images (cell {', '.join(missing)}): "
                "run the sweep again to compare it"
            )
    ours, theirs = known.candidates
    return Comparison(
        first=ours,
        second=theirs,
        lead=known.advantages(0, [1])[0],
        test=known.pair_test(0, 1),
        test_items=len(known.hits[0]),
        dataset=dataset,
        among=among,
    )


def _facts(candidate: Candidate) -> dict[str, Any]:
    names = ("backbone", "freeze", "weights", "seeds", "cell_ids", "test_acc", "test_acc_lo", "test_acc_hi")
    size = None if candidate.image_size is None else int(candidate.image_size)
    return {"name": candidate.label, "image_size": size} | {name: getattr(candidate, name) for name in names}
