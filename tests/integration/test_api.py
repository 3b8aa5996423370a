"""Results in a notebook: the table, the best cell, comparisons, the page, and what is shown without being asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tables import cell, frame, lost

import backbench
from backbench.core.errors import RequestError
from backbench.results import store
from backbench.results.run_record import parse

HOSTILE = "<script>alert(1)</script>"


def stored(folder: Path, *rows: dict[str, Any], correct: dict[str, int] | None = None) -> backbench.Results:
    """A folder as a sweep leaves it; of 200 test images each given cell has the first so many right."""
    store.write_run(folder, parse({}))
    store.write_table(folder, frame(*rows).convert_dtypes())
    (folder / "predictions").mkdir()
    for cell_id, count in (correct or {}).items():
        hit = (np.arange(200) < count).astype("float32")
        np.savez(
            folder / "predictions" / f"{cell_id}.npz",
            test_ids=np.array([f"{i}.png" for i in range(200)]),
            test_labels=np.zeros(200, dtype=int),
            test_probs=np.column_stack([hit, 1 - hit]),
        )
    return backbench.load(folder)


def test_table_is_in_the_order_of_the_leaderboard(tmp_path: Path) -> None:
    results = stored(tmp_path, lost("C", "failed", "boom"), cell("B", 0.8, 0.7), cell("A", 0.9, 0.6))
    assert list(results.table["backbone"]) == ["A", "B", "C"]


def test_best_is_the_first_candidate_of_the_leaderboard(tmp_path: Path) -> None:
    # B has the best single seed, A the best mean over its seeds
    rows = [
        cell("A", 0.90, 0.81, freeze="all-1", seed=0), cell("A", 0.92, 0.82, freeze="all-1", seed=1),
        cell("B", 0.95, 0.83, freeze="all-1", seed=0), cell("B", 0.80, 0.84, freeze="all-1", seed=1),
    ]  # fmt: skip
    best = stored(tmp_path, *rows).best
    assert (best["backbone"], best["seed"], best["test_acc"]) == ("A", 1, 0.82), "the seed that export takes"


def test_no_best_when_nothing_finished(tmp_path: Path) -> None:
    results = stored(tmp_path, lost("A", "failed", "boom"))
    with pytest.raises(RequestError, match="no cell was finished"):
        _ = results.best
    assert str(results) == f"{tmp_path}: 0 finished. Nothing can be recommended: no candidate finished (1 failed)."
    assert results._repr_html_() == (
        "<p><strong>Nothing can be recommended: no candidate finished (1 failed).</strong></p>"
    )


def test_compare_and_report(tmp_path: Path) -> None:
    results = stored(
        tmp_path,
        cell("A", 0.9, 0.9),
        cell("B", 0.8, 0.5),
        correct={"A-all-imagenet-0": 180, "B-all-imagenet-0": 100},
    )
    found = results.compare("A@all", "B@all")
    assert found.verdict == "better"
    assert found.lead.mean == pytest.approx(0.4)
    assert str(found).startswith("A beats B on the 200 images of the test set of fruit, by 40.0 points")
    assert results.report() == tmp_path / "leaderboard.html"
    assert "On test it beats B by 40.0 points" in results.report().read_text(encoding="utf-8")


def test_results_show_the_answer_and_the_leaderboard(tmp_path: Path) -> None:
    results = stored(tmp_path, cell("A", 0.9, 0.8), cell("B", 0.8, 0.7), lost("C", "failed", "boom"))
    answer = "Use A, completely frozen: it classifies 80.0% of the test images correctly (95% interval 78.0–82.0%)."
    assert str(results) == f"{tmp_path}: 2 finished. {answer}"
    assert repr(results) == f"<{tmp_path}: 2 finished. {answer}>"
    html = results._repr_html_()
    assert html.startswith(f"<p><strong>{answer}</strong></p><table>")
    assert re.findall(r"<th(?: [^>]*)?>(.*?)</th>", html)[:4] == ["candidate", "test", "95% interval", "seeds"]
    assert re.findall("<td.*?>(.*?)</td>", html) == [
        "A", "80.0%", "78.0–82.0%", "1", "20.0", "100.0%", "90.0%", "3.0 M", "10.0",
        "B", "70.0%", "68.0–72.0%", "1", "30.0", "100.0%", "80.0%", "3.0 M", "10.0",
    ]  # fmt: skip


def test_a_long_leaderboard_is_cut_short(tmp_path: Path) -> None:
    html = stored(tmp_path, *(cell(f"N{place}", 0.9 - place / 100, 0.5) for place in range(23)))._repr_html_()
    assert html.count("<tr>") == 21
    assert html.endswith("<p>and 3 more, in <code>.table</code></p>")


def test_what_is_shown_has_the_interval_of_the_page(tmp_path: Path) -> None:
    rows = [
        cell("A", 0.9, count / 200, freeze="all-1", seed=seed) for seed, count in enumerate((150, 155, 160, 165, 170))
    ]
    results = stored(tmp_path, *rows, correct={row["cell_id"]: round(200 * row["test_acc"]) for row in rows})
    (low, high) = re.findall(r"over images and seeds ([\d.]+)–([\d.]+)%", str(results))[0]
    assert float(high) - float(low) > 10
    assert results.report().read_text(encoding="utf-8").count(f"{low}–{high}%") == 2  # in the sentence and beside it


def test_names_from_data_are_escaped(tmp_path: Path) -> None:
    html = stored(tmp_path, cell(HOSTILE, 0.9, 0.8, cell_id="c1"))._repr_html_()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


def test_a_sweep_that_has_not_come_to_a_table_is_shown_all_the_same(tmp_path: Path) -> None:
    store.write_run(tmp_path, parse({}))
    results = backbench.load(tmp_path)
    assert "holds no table yet" in repr(results)
    assert "holds no table yet" in results._repr_html_()


def test_unknown_options_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"unknown option 'backbone': the options are backbones, "):
        backbench.run_sweep("digits", backbone="VGG16")
    with pytest.raises(RequestError, match="holds no results"):
        backbench.load(tmp_path)
