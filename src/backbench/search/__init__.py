"""Search under a budget: rounds of measurements, each chosen by what the earlier ones came to.

A search asks and is told; it runs nothing. `sweep` measures for it, `replay` looks up what an exhaustive run measured.
"""

from backbench.search import halving, one_epoch

# The default is the winner of the replays (docs/architecture.md).
DEFAULT = "halving"
STRATEGIES = {"halving": halving.rounds, "one-epoch": one_epoch.rounds}
