"""How much another seed moves the test accuracy of a cell that was trained once, by what cells like it did."""

from __future__ import annotations

from backbench.analysis.candidates import Candidate

# Standard deviation of the test accuracy over seeds of pretrained networks whose last stage is trained, pooled over the
# cells of benchmarks/recipe.json. The images are the same, so that it is the chance of training alone.
LAST_STAGE = 0.007


def depends_on_seed(candidate: Candidate) -> bool:
    """Whether another seed could give another result: a probe on learned weights is solved, not trained."""
    return not (candidate.pretrained and candidate.freeze == "all")


def spread(candidate: Candidate) -> float | None:
    """The standard deviation over seeds of cells like this one, None where none like it were measured."""
    return LAST_STAGE if candidate.pretrained and candidate.freeze == "all-1" else None
