"""Who goes on: the best third, and whoever cannot be told apart from the last of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from scipy.stats import norm

from backbench.budget.protocol import PerItemScores

ETA = 3

Key = TypeVar("Key")


@dataclass(frozen=True)
class Promotion(Generic[Key]):
    """Who goes on, best first, `sure` without the help of an interval; and why the others do not."""

    on: tuple[Key, ...]
    sure: int
    reasons: Mapping[Key, str]


def score(mean: float) -> str:
    """The selection score whose logarithm is the mean over val."""
    return f"score {math.exp(mean):.3f}"


def right(mean: float) -> str:
    """The share of train that is right when left out, as a screening counts it."""
    return f"{mean:.1%} right"


def cut(
    seen: Mapping[Key, PerItemScores], *, level: float = 0.95, said: Callable[[float], str] = score
) -> Promotion[Key]:
    """The best third (at least one), then whoever's paired interval to the last of it includes zero.

    The interval is that of the mean difference over the same images, normal, two-sided. `said` is a mean in words.
    """
    ranked = sorted(seen, key=lambda key: -float(seen[key].mean()))
    sure = math.ceil(len(ranked) / ETA)
    on, reasons = list(ranked[:sure]), {}
    z = float(norm.ppf(0.5 + level / 2))
    for key in ranked[sure:]:
        behind = seen[ranked[sure - 1]] - seen[key]
        half = z * float(behind.std(ddof=1)) / math.sqrt(len(behind)) if len(behind) > 1 else math.inf
        if float(behind.mean()) <= half:
            on.append(key)
        else:
            own, last = (said(float(seen[one].mean())) for one in (key, ranked[sure - 1]))
            reasons[key] = f"{own}, the last that went on has {last}"
    return Promotion(tuple(on), sure, reasons)
