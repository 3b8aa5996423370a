"""The frozen records that travel between the layers: what was asked, what was found, what was measured."""

from __future__ import annotations

# What the column `backbone` has of the hand-made CNN, and what networks are called that start at random.
SCRATCH, RANDOM_WEIGHTS = "scratch", "random weights"

# One network: backbone, weights, image size.
Series = tuple[str, str, int]
