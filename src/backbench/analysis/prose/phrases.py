"""Phrases that the sentences are made of: candidates, differences and evidence in words."""

from __future__ import annotations

from backbench.analysis.candidates import Candidate
from backbench.analysis.paired_tests import Advantage
from backbench.core import formatting
from backbench.core.backbone import RANDOM_WEIGHTS

# The candidates that may be the best on test, by the name in the literature.
CONFIDENCE_SET = "95% model confidence set"

# What the mark "tied with the best" means for a candidate: with paired comparisons, and without.
TIED_BY_SET = f"like the first, it may be the best on test ({CONFIDENCE_SET})"
TIED_BY_INTERVALS = "the 95% interval of its test accuracy overlaps that of the first"

TESTS = {"exact McNemar": "exact McNemar test", "Welch": "Welch test over images and seeds"}


def named(candidate: Candidate) -> str:
    """A candidate in words: backbone, weights and how deep it is frozen."""
    if candidate.scratch:
        return "scratch, the small hand-made CNN"
    weights = "" if candidate.pretrained else f", {RANDOM_WEIGHTS}"
    return f"{candidate.backbone}{weights}, {frozen(candidate.freeze)}"


def frozen(freeze: str) -> str:
    """A freeze depth in words."""
    if freeze == "all":
        return "completely frozen"
    if freeze == "none":
        return "nothing frozen"
    if freeze.startswith("all-") and freeze[4:].isdigit():
        stages = int(freeze[4:])
        return "all but its last stage frozen" if stages == 1 else f"all but its last {stages} stages frozen"
    return f"frozen: {freeze}" if freeze else "freeze depth unknown"


def interval(candidate: Candidate) -> str:
    """The interval of its test accuracy in brackets, empty without one."""
    if candidate.test_acc_lo is None:
        return ""
    over = " over images and seeds" if candidate.over_seeds else ""
    return f" (95% interval{over} {formatting.interval(candidate.test_acc_lo, candidate.test_acc_hi)})"


def seeds(candidate: Candidate) -> str:
    """How many seeds the candidate is the mean of, and their range; empty with one."""
    if candidate.seeds < 2:
        return ""
    span = formatting.interval(candidate.test_acc_min, candidate.test_acc_max)
    return f", the mean of {candidate.seeds} seeds that range over {span}"


def difference(lead: float, ahead: Candidate, advantage: Advantage | None, *, tied: bool = False) -> str:
    """How far a candidate is below (or above) the one `ahead` of it, with the paired interval where there is one."""
    text = f"{points(abs(lead))} {'below' if lead >= 0 else 'above'} {ahead.label}"
    return text if advantage is None else f"{text} ({paired_interval(advantage, turned=lead < 0, tied=tied)})"


def paired_interval(advantage: Advantage, *, turned: bool = False, tied: bool = False) -> str:
    """The interval of a difference, seen from the second candidate when `turned`.

    Two candidates can be `tied` by a test that is corrected for other comparisons although this interval excludes zero;
    then the phrase says that the interval is for this pair alone.
    """
    alone = ", for this pair alone" if tied and advantage.verdict != "tied" else ""
    low, high = (-advantage.high, -advantage.low) if turned else (advantage.low, advantage.high)
    over = " over images and seeds" if advantage.over_seeds else ""
    return f"paired 95% interval{over} {formatting.points(low)} to {formatting.points(high)} points{alone}"


def points(share: float) -> str:
    """A difference of shares in words: `4.2 points`, `1.0 point`."""
    text = formatting.points(share)
    return f"{text} point" if text == "1.0" else f"{text} points"


def images(items: int) -> str:
    """A number of images in words."""
    return f"{formatting.count(items)} image" if items == 1 else f"{formatting.count(items)} images"
