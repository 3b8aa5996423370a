"""What the sizes of the classes do to the meaning of an accuracy, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backbench.analysis import Recommendation, numbers

# A share of the test images from which on one class carries the accuracy.
DOMINANT = 2 / 3

# Below this many test images of a class, one more or less moves its own accuracy by more than 20 points.
FEW = 5


def sentences(per_class: Mapping[str, Mapping[str, int]], facts: Recommendation) -> Iterator[str]:
    """Warnings about classes that dominate test and about small ones, from images per class and split."""
    sizes = {name: counts.get("test", 0) for name, counts in per_class.items()}
    total = sum(sizes.values())
    if not total:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    yield from _largest(largest, sizes[largest] / total, facts)
    few = sum(0 < size < FEW for size in sizes.values())
    if few:
        has = "1 class has" if few == 1 else f"{numbers.count(few)} of {numbers.count(len(sizes))} classes have"
        yield f"{has} fewer than {FEW} test images: what is said of such a class alone is mostly luck."


def _largest(name: str, share: float, facts: Recommendation) -> Iterator[str]:
    """Accuracy means little where it can be had without looking at the images."""
    best = facts.best
    of_all = f"{numbers.percent(share)} of the test images"
    if best is not None and best.test_acc_lo is not None and best.test_acc_lo <= share:
        yield (
            f"Whoever always answers {name} is right on {of_all}, and the leader, {best.label}, is not shown to do "
            f"better: {numbers.percent(best.test_acc)}, 95% interval "
            f"{numbers.interval(best.test_acc_lo, best.test_acc_hi)}."
        )
    elif share >= DOMINANT:
        yield (
            f"{name} makes up {of_all}, so whoever always answers that is right as often: compare the column "
            "Macro-F1 too, which counts every class alike."
        )
