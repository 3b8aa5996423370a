"""One sweep from request to leaderboard: what is asked, which jobs follow, who runs them, what is written.

May import every package below the command line. Begin with `pipeline.run`: it is the sweep, read from top to bottom.
`python -m backbench.sweep` is the command line's `sweep` (`__main__.py`), the only import that points upward.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbench.sweep.pipeline import results_directory, run

__all__ = ["results_directory", "run"]


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is wanted: `python -m backbench.sweep --help` has to answer at once."""
    if name in __all__:
        return getattr(import_module("backbench.sweep.pipeline"), name)
    raise AttributeError(f"module 'backbench.sweep' has no attribute '{name}'")
