"""What the sizes of the classes do to the meaning of an accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backbench.analysis import Caveat, CaveatCode, Recommendation, Severity
from backbench.core import formatting

# A share of the test images from which on one class carries the accuracy.
DOMINANT = 2 / 3

# Below this many test images of a class, one more or less moves its own accuracy by more than 20 points.
FEW = 5


def caveats(per_class: Mapping[str, Mapping[str, int]], facts: Recommendation) -> Iterator[Caveat]:
    """Caveats about classes that dominate test and about small ones, from images per class and split."""
    sizes = {name: counts.get("test", 0) for name, counts in per_class.items()}
    total = sum(sizes.values())
    if not total:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    yield from _largest(largest, sizes[largest] / total, facts)
    few = sum(0 < size < FEW for size in sizes.values())
    if few:
        has = "1 class has" if few == 1 else f"{formatting.count(few)} of {formatting.count(len(sizes))} classes have"
        yield Caveat(
            CaveatCode.CLASSES_SMALL,
            Severity.NOTE,
            f"{has} fewer than {FEW} test images: the accuracy of such a class is mostly luck.",
        )


def _largest(name: str, share: float, facts: Recommendation) -> Iterator[Caveat]:
    """Accuracy means little where it can be had without looking at the images."""
    best = facts.best
    of_all = f"{formatting.percent(share)} of the test images"
    if best is not None and best.test_acc_lo is not None and best.test_acc_lo <= share:
        yield Caveat(
            CaveatCode.MAJORITY_NOT_BEATEN,
            Severity.WARNING,
            f"To predict {name} for every image is right on {of_all}, and the leader, {best.label}, is not shown to do "
            f"better: {formatting.percent(best.test_acc)}, 95% interval "
            f"{formatting.interval(best.test_acc_lo, best.test_acc_hi)}.",
        )
    elif share >= DOMINANT:
        yield Caveat(
            CaveatCode.CLASS_DOMINATES,
            Severity.WARNING,
            f"{name} makes up {of_all}, so to predict it for every image is right as often: compare the column "
            "Macro-F1 too, which counts every class alike.",
        )
