"""Search under a budget: rounds of measurements, each chosen by what the earlier ones came to.

A search asks and is told; it runs nothing. `sweep` measures for it, `replay` looks up what an exhaustive run measured.
"""

from backbench.budget import one_epoch_baseline, successive_halving

# `--budget` runs the default, the winner of the replays (docs/decisions/0046); the others are for replays.
DEFAULT = "halving"
STRATEGIES = {"halving": successive_halving.rounds, "one-epoch": one_epoch_baseline.rounds}
