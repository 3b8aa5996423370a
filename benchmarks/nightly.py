"""What takes too long for every change: tests marked `nightly`, a file at a time, then sweeps under injected faults.

Each part that ends is noted with its result; a run that was cut off goes on with the parts that are left, as long as
the commit is the same. `nightly.json` holds the last result with its commit and date.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "nightly.json"
TESTS = (
    "tests/robustness/test_kills.py",
    "tests/integration/test_openvino_engine.py",
    "tests/integration/test_stages_all.py",
    "tests/unit/backbones/test_registry.py",
    "tests/unit/backbones/test_scratch_cnn.py",
)
PARTS = {
    **{name: ["-m", "pytest", "-q", "-m", "nightly", name] for name in TESTS},
    "benchmarks/soak.py": ["benchmarks/soak.py", "--minutes", "30"],
}


def main() -> int:
    """Run the parts that are left; 1 where one of them failed."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    name = commit.stdout.strip()
    record: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    if record.get("commit") != name:
        record = {"commit": name, "parts": {}}
    for part, arguments in PARTS.items():
        if part in record["parts"]:
            print(f"{part}: {record['parts'][part]['result']} before")
            continue
        print(f"{part} ...", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False)
        record["parts"][part] = {
            "result": "passed" if done.returncode == 0 else f"failed with code {done.returncode}",
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        record["date"] = datetime.date.today().isoformat()
        RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(part["result"] != "passed" for part in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
