"""Which pretrained Keras backbone, frozen how deep, or is your own small CNN enough?

`run_sweep` measures, `load` opens what was measured; everything else is in the modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backbench.core.version import __version__

if TYPE_CHECKING:
    from backbench.api import Results, load, run_sweep

__all__ = ["Results", "__version__", "load", "run_sweep"]


def __getattr__(name: str) -> Any:
    """Import pandas and the rest only when they are wanted: the command line must answer at once."""
    if name in ("Results", "load", "run_sweep"):
        return getattr(import_module("backbench.api"), name)
    raise AttributeError(f"module 'backbench' has no attribute '{name}'")
