"""Backbones: the table, the selection and the weights. What builds graphs is in `backbones.graph` and needs Keras."""

from backbench.backbones.download import Progress
from backbench.backbones.selection import SCRATCH, SETS, parse_backbones
from backbench.backbones.table import APPLICATIONS, BACKBONES, FAMILIES, VARIANTS
from backbench.backbones.weights import find_weights, keras_cache, load_weights, locate, place_of, weights_here

__all__ = [
    "APPLICATIONS",
    "BACKBONES",
    "FAMILIES",
    "SCRATCH",
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
