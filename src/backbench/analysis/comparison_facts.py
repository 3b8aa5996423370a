"""The comparison of two candidates as data."""

from __future__ import annotations

from dataclasses import dataclass

from backbench.analysis.candidates import Candidate
from backbench.analysis.paired_tests import Advantage, PairTest
from backbench.analysis.significance import ALPHA


@dataclass(frozen=True, repr=False)
class ComparisonFacts:
    """Two candidates on the same test items.

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
