"""The sentences of README that hold figures, from the committed tables and benchmarks.

    python benchmarks/readme_numbers.py

Rewrites what stands between `<!-- name -->` and `<!-- /name -->` for each name in SENTENCES. A test compares README
with what this would write, so that no figure there is older than its table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def _table(name: str) -> pd.DataFrame:
    """Means over the seeds of each candidate that is ok, best by selection score first, with the range on test."""
    table = pd.read_csv(ROOT / "results" / "reference" / name / "table.csv")
    rows = table[table["status"] == "ok"].groupby(["backbone", "weights", "freeze"], dropna=False)
    means = rows[["selection_score", "train_acc", "test_acc", "gap"]].mean()
    means[["low", "high"]] = rows["test_acc"].agg(["min", "max"])
    means["seeds"] = rows.size()
    return means.reset_index().fillna({"weights": "none"}).sort_values("selection_score", ascending=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _right(row: pd.Series) -> str:
    depth = {"all": "fully frozen", "none": "trained as a whole", "all-1": "with all but its last stage frozen"}
    once = "" if row["freeze"] == "all" else " (one seed)"
    seeds = f" (mean of {row['seeds']} seeds, {_percent(row['low'])} to {_percent(row['high'])})"
    return f"{_percent(row['test_acc'])} {depth[row['freeze']]}{seeds if row['seeds'] > 1 else once}"


def grocery() -> str:
    """The reference run on photos."""
    rows = _table("grocery")
    pretrained = rows[rows["weights"] == "imagenet"]
    network, scratch = pretrained["backbone"].iloc[0], rows[rows["backbone"] == "scratch"].iloc[0]
    depths = " and ".join(_right(row) for _, row in pretrained[pretrained["backbone"] == network].iterrows())
    control = rows[(rows["weights"] == "none") & (rows["backbone"] != "scratch") & (rows["freeze"] == "all")].iloc[0]
    low, high = pretrained["gap"].min(), pretrained["gap"].max()
    return (
        f"{network} gets {depths} of the test photos right, the hand-made CNN {_percent(scratch['test_acc'])}, and"
        f" {control['backbone']} with random weights, fully frozen, {_percent(control['test_acc'])}. The pretrained"
        f" networks have at least {_percent(pretrained['train_acc'].min())} of their training photos right, so the gap"
        f" to test is {100 * low:.1f} to {100 * high:.1f} points."
    )


def digits() -> str:
    """The reference run of `make bench`."""
    rows = _table("digits")
    best, scratch = rows[rows["weights"] == "imagenet"].iloc[0], rows[rows["backbone"] == "scratch"].iloc[0]
    return (
        f"Of handwritten digits the hand-made CNN gets {_percent(scratch['test_acc'])} right, and the pretrained"
        f" network that ranks first, {best['backbone']}, {_right(best)}."
    )


def coverage() -> str:
    """How often chance is taken for a lead."""
    found = _json("coverage")
    most = max(each["a false claim"] for each in found["recommendation among ten equals"].values())
    return f"Among ten equal candidates at most {_percent(most)} of {found['cases']:,} simulated test sets gave a claim"


def soak() -> str:
    """What faults changed."""
    return f"{_json('soak')['faults_injected']} injected faults, kills among them, changed no value of a table"


SENTENCES = {"grocery": grocery, "digits": digits, "coverage": coverage, "soak": soak}


def written(text: str) -> str:
    """README with its figures as they are today. Raises ValueError where a pair of marks is missing."""
    for name, sentence in SENTENCES.items():
        pattern = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README has no place for {name}")
        text = pattern.sub(rf"\g<1>{sentence()}\g<2>", text)
    return text


def _json(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
