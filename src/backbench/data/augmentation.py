"""Light augmentation on raw pixels: arrays in, arrays out, the same on every Keras backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backbench.core import recipe


def light(images: NDArray[np.uint8], *, flips: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image [b, s, s, 3] shifted at random and, where that keeps its meaning, mirrored (`recipe.MIRRORED`)."""
    size = images.shape[1]
    reach = max(1, round(size * recipe.SHIFT))  # by a crop of the edge-padded image
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    corners = rng.integers(0, 2 * reach + 1, size=(len(images), 2))
    shifted = np.stack([padded[i, y : y + size, x : x + size] for i, (y, x) in enumerate(corners)])
    if flips:
        mirrored = rng.random(len(images)) < recipe.MIRRORED
        shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted


def view(
    images: NDArray[np.uint8], items: NDArray[np.int64], views: NDArray[np.int64], *, flips: bool
) -> NDArray[np.uint8]:
    """Numbered versions of images: 0 is the image [s, s, 3] itself, any other is one fixed draw of `light` for it.

    `items` are the positions of the images in the dataset: with the number of the view they are the draw's seed, so
    that a view is the same wherever and whenever it is made.
    """
    found = images.copy()
    for position in np.flatnonzero(views):
        rng = np.random.default_rng((int(views[position]), int(items[position])))
        found[position] = light(images[position : position + 1], flips=flips, rng=rng)[0]
    return found
