"""Sweeps under injected faults for so many minutes: killed at any moment, their files damaged, resumed, compared.

Every process of a sweep is killed with SIGKILL while it decodes, computes, trains, stores or draws; after each kill one
bit of a stored file or of the cache is flipped, or a file is cut off. Now and then a sweep is left to finish, and its
table, predictions, heads and trained weights are held against those of a sweep that was left alone. This process then
resumes each finished folder itself, as a notebook would, and says how its memory grew.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backbench import sweep
from backbench.core import hardware
from backbench.core.request import Request
from backbench.results.run_record import now

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.kill_campaign import Campaign
from support.kill_harness import SMALL, Kill, warm


def main() -> None:
    """Run for `--minutes`, then write the report and end with code 1 if anything differed."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--minutes", type=float, default=10.0)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = asked.parse_args()
    resident: list[float] = []
    with warm() as server, tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(server, Path(folder), np.random.default_rng(options.seed), SMALL)
        campaign.after = lambda finished: resident.append(resumed(finished))
        campaign.leave_alone()
        forking = server.resident_mib()
        began = time.monotonic()
        campaign.run(kills(campaign, until=began + 60 * options.minutes), damages=True)
        report = {
            "minutes": round((time.monotonic() - began) / 60, 1),
            "seed": options.seed,
            "sweeps_finished": campaign.finished,
            "cells_run": campaign.cells,
            "faults_injected": campaign.kills.total() + campaign.damages.total(),
            "kills": dict(sorted(campaign.kills.items())),
            "damaged_files": dict(sorted(campaign.damages.items())),
            # Of this process, after the first and the last sweep that it resumed; and of the one that forks sweeps.
            "resident_mib": {"start": round(resident[0]), "end": round(resident[-1])},
            "resident_mib_forking": {"start": round(forking), "end": round(server.resident_mib())},
            "differences": campaign.wrong,
            "machine": {"cpu": hardware.cpu(), "cores": hardware.cores()},
            "finished": now(),
        }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in report.items() if name not in ("kills", "machine")}, indent=1))
    sys.exit(1 if campaign.wrong else 0)


def kills(campaign: Campaign, *, until: float) -> Iterator[Kill]:
    """Moments drawn anew each time until the time is over."""
    moments = sorted(campaign.moments)
    while time.monotonic() < until:
        yield campaign.at(str(campaign.rng.choice(moments)))


def resumed(finished: Path) -> float:
    """MiB of this process after it has resumed a finished sweep, in which nothing was left to do."""
    os.environ["BACKBENCH_CACHE"] = str(finished / "cache")
    with contextlib.redirect_stdout(io.StringIO()):
        outcome = sweep.run(Request(**{**SMALL, "out": finished / "out"}), visible=False)  # type: ignore[arg-type]
    if outcome.already != sum(outcome.counts.values()):
        raise RuntimeError(f"{finished} was not finished: {outcome}")
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
