"""Backbones: the table, the selection and the weights. What builds graphs is in `backbones.graph` and needs Keras."""

from backbench.backbones.registry import APPLICATIONS, BACKBONES, FAMILIES, VARIANTS
from backbench.backbones.selection import SETS, parse_backbones
from backbench.backbones.weights.download import Progress
from backbench.backbones.weights.resolve import find_weights, keras_cache, load_weights, locate, place_of, weights_here

__all__ = [
    "APPLICATIONS",
    "BACKBONES",
    "FAMILIES",
    "SETS",
    "VARIANTS",
    "Progress",
    "find_weights",
    "keras_cache",
    "load_weights",
    "locate",
    "parse_backbones",
    "place_of",
    "weights_here",
]
