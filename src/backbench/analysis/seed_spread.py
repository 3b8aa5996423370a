"""How much another seed moves the test accuracy of a cell that was trained once, by what cells like it did."""

from __future__ import annotations

from backbench.analysis.candidates import Candidate

# Standard deviation of the test accuracy over seeds, pooled over the cells of a kind in benchmarks/recipe.json: some
# stages frozen, nothing frozen, the hand-made CNN. The images are the same, so that it is chance of training alone.
TAIL, WHOLE, SCRATCH = 0.008, 0.008, 0.008


def spread(candidate: Candidate) -> float:
    """The standard deviation over seeds of cells like this one; 0 where nothing is random.

    A linear probe on pretrained features is solved, not trained. With random weights nothing comparable was measured:
    these are taken to vary like the hand-made CNN.
    """
    if candidate.pretrained:
        return 0.0 if candidate.freeze == "all" else WHOLE if candidate.freeze == "none" else TAIL
    return SCRATCH
