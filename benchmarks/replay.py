"""What a budget would have found in a sweep that measured everything, at many budgets and with either search.

    backbench sweep --dataset path/to/grocery --image-size 96 --seeds 3 --epochs 5 --freeze all,all-1,all-2,all-3 \
        --backbones MobileNet:alpha=0.25,MobileNetV2:alpha=0.35,scratch,MobileNetV2,MobileNet,Xception --out DIR
    python benchmarks/replay.py --run DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

from backbench.budget.history import past
from backbench.budget.replay import replay
from backbench.core.files import write_json
from backbench.report.plots.replay import summary
from backbench.results import store


def main() -> None:
    """Replay a stored sweep; the medians over the draws go into a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    known, run = past(asked.run), store.read_run(asked.run)
    rows = summary(replay(known, draws=asked.draws)).to_dict(orient="records")
    record = {
        "what": f"{run.dataset.name}, {len(known.arms)} candidates, {known.total / 60:.0f} minutes in all",
        "device": run.environment["cpu"],
        "draws": asked.draws,
        "budgets": [
            {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        ],
    }
    write_json(asked.out, record)
    print(asked.out)


if __name__ == "__main__":
    main()
