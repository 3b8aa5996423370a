"""The backbones: registry, selection, stages, graphs and pretrained weights, the hand-made CNN among them.

May import `core`. Begin with `registry.py` (one row a backbone) and `selection.py`; `graph.py` and `stages.py` build
and cut networks and need Keras, all else answers without a framework. `weights/` finds, downloads and checks weights.
"""

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
