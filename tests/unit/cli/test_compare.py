"""`backbench compare` on a results folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.tables import cell, frame, lost

from backbench.cli.main import main
from backbench.results import store
from backbench.results.run_record import parse

TABLE = frame(
    cell("A", 0.9, 0.9, cell_id="aaaa1111"),
    cell("A", 0.8, 0.8, freeze="all-1", seed=0, cell_id="aaaa2222"),
    cell("A", 0.8, 0.9, freeze="all-1", seed=1, cell_id="bbbb3333"),
    cell("A", 0.3, 0.2, weights="none", freeze="all-1", cell_id="cccc4444"),
    cell("MobileNetV2:alpha=0.35", 0.7, 0.7, cell_id="dddd5555"),
    cell("scratch", 0.5, 0.5, cell_id="eeee6666"),
    lost("B", "failed", "out of memory\nTraceback", freeze="all-1"),
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder as a sweep leaves it; the random control has lost its predictions."""
    store.write_run(tmp_path, parse({}))
    store.write_table(tmp_path, store.table([]).reindex(range(len(TABLE))).assign(**dict(TABLE)).convert_dtypes())
    (tmp_path / "predictions").mkdir()
    for cell_id, correct in (("aaaa1111", 90), ("aaaa2222", 80), ("bbbb3333", 90), ("eeee6666", 50)):
        hit = (np.arange(100) < correct).astype("float32")
        np.savez(
            tmp_path / "predictions" / f"{cell_id}.npz",
            test_ids=np.array([f"{i}.png" for i in range(100)]),
            test_labels=np.zeros(100, dtype=int),
            test_probs=np.column_stack([hit, 1 - hit]),
        )
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words], catch_exceptions=False)


def test_the_command_says_who_wins(results: Path) -> None:
    found = invoke(str(results), "A@all", "scratch")
    assert found.exit_code == 0
    assert found.stdout.startswith("A@all beats scratch on the 100 images of the test set of fruit, by 40.0 points")


def test_the_command_writes_json(results: Path) -> None:
    record = json.loads(invoke(str(results), "A@all-1#0", "eeee", "--json").stdout)
    assert record["verdict"] == "better"
    assert record["sentence"].startswith("A@all-1#0 beats scratch on the 100 images")
    assert record["first"] == {
        "name": "A@all-1#0", "image_size": 96, "backbone": "A", "freeze": "all-1", "weights": "imagenet", "seeds": 1,
        "cell_ids": ["aaaa2222"], "test_acc": 0.8, "test_acc_lo": 0.78, "test_acc_hi": pytest.approx(0.82),
    }  # fmt: skip
    assert (record["only_first_right"], record["only_second_right"], record["test"]) == (30, 0, "exact McNemar")
    assert record["p_value"] == pytest.approx(2 * 0.5**30)
    assert record["difference"]["mean"] == pytest.approx(0.3)
    assert record["difference"]["low"] < 0.3 < record["difference"]["high"]
    assert (record["test_items"], record["dataset"]) == (100, "fruit")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("A", "scratch", "'A' is ambiguous"),
        ("A@all", "A@all", "are both A@all"),
        ("A@all", "zzzz", "unknown candidate 'zzzz'"),
        ("A@all", "A@none-weights", "A@all-1@none-weights has no stored predictions"),
        ("B", "scratch", "'B' did not finish (failed): out of memory"),
    ],
)
def test_the_command_refuses_in_one_line(results: Path, first: str, second: str, message: str) -> None:
    found = invoke(str(results), first, second)
    assert found.exit_code == 2
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert message in line


def test_a_folder_without_results(tmp_path: Path) -> None:
    found = invoke(str(tmp_path), "A", "B")
    assert found.exit_code == 2
    assert "holds no results (run.json is missing)" in found.stderr


def test_comparing_imports_no_framework(results: Path) -> None:
    code = (
        "import sys, backbench;"
        "backbench.load(sys.argv[1]).compare('A@all', 'scratch');"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(results)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
