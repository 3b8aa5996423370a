"""How long does the page take for 1,000 cells, and how long do its statistics for 200 cells on 25,000 test items?

    python benchmarks/report_speed.py

The results folder is generated: 40 backbones, five depths and five seeds on 480 images of 24 classes, as the tests of
the page use it; the answers of the 200 cells are drawn from a seed. Medians of three runs of each, in seconds, go to
benchmarks/report_speed.json, with the size of the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backbench.analysis import PerItem, recommend
from backbench.core import hardware
from backbench.core.files import write_json
from backbench.report import build

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support import generated_run
from support.tables import cell, frame

REPEATS = 3
SEEDS = 5
CELLS, ITEMS, VAL = 200, 25_000, 5_000


def _answered() -> tuple[pd.DataFrame, dict[str, PerItem]]:
    """Forty networks at five depths; the better one is right where the others are, and on some more."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=ITEMS)
    answers, rows = {}, []
    for number in range(CELLS):
        skill = rng.normal(0.9, 0.2)
        hits = 0.7 * difficulty + 0.7 * rng.normal(size=ITEMS) < skill
        logs = -rng.gamma(1.0, 0.7 - 0.2 * skill, VAL)
        row = cell(f"Network{number // 5}", float(np.exp(logs.mean())), float(hits.mean()), seed=0)
        row |= {"freeze": "all" if number % 5 == 0 else f"all-{number % 5}", "cell_id": f"cell-{number}"}
        rows.append(row)
        answers[row["cell_id"]] = PerItem(hits, logs)
    return frame(*rows), answers


def _seconds(work: Callable[[], Any]) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken), 2)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    table, answers = _answered()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        cells = len(generated_run.write(folder, seeds=SEEDS))
        page = _seconds(lambda: build.write_report(folder))
        size = (folder / build.PAGE).stat().st_size
    result = {
        "device": hardware.cpu(),
        "repeats": REPEATS,
        "report": {"cells": cells, "seconds": page, "page_megabytes": round(size / 1e6, 2)},
        "statistics": {
            "cells": CELLS,
            "test_items": ITEMS,
            "seconds": _seconds(lambda: recommend(table, answers)),
        },
    }
    print(json.dumps(result, indent=1))
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
