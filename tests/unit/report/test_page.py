"""The page and the plots: honest, escaped, self-contained, the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import tables
from support.html_elements import Elements

from backbench.analysis import Recommendation, recommend
from backbench.core.columns import COLUMN_NAMES
from backbench.report import build, incomplete, leaderboard, page, plots, warnings
from backbench.report.loader import ReportData
from backbench.report.plots import label_placement, vega
from backbench.report.plots.style import PAGE_COLOURS
from backbench.results import store
from backbench.results.run_record import parse

HOSTILE = "</script><script>alert(1)</script>"
BACKBONES = (("MobileNetV2", 0.82, 0.79, 9.3), ("Xception", 0.80, 0.77, 38.2), ("VGG16", 0.71, 0.69, 92.4))


def cell(backbone: str, val: float, test: float, latency: float, **others: Any) -> dict[str, Any]:
    row = dict.fromkeys(COLUMN_NAMES) | {
        "dataset": "fruit", "backbone": backbone, "family": "f", "weights": "imagenet", "image_size": 96,
        "freeze": "all", "seed": 0, "status": "ok", "train_acc": 1.0, "val_acc": val, "test_acc": test,
        "gap": 1.0 - test, "val_nll": 1 - val, "selection_score": val, "test_acc_lo": test - 0.02,
        "test_acc_hi": test + 0.02, "test_top5": 0.95, "test_macro_f1": test, "test_nll": 0.7, "test_ece": 0.05,
        "params": 3_000_000, "flops": 600_000_000, "latency_ms": latency, "throughput_ips": 100.0,
        "peak_mem_mb": 250.0, "fit_seconds": 3.0, "wall_seconds": 20.0,
    }  # fmt: skip
    row |= others
    return row | {"cell_id": f"{row['backbone']}-{row['freeze']}-{row['seed']}"}


def lost(backbone: str, status: str, reason: str, freeze: str = "all") -> dict[str, Any]:
    blank = dict.fromkeys(COLUMN_NAMES)
    return blank | {"backbone": backbone, "weights": "imagenet", "freeze": freeze, "status": status, "reason": reason}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMN_NAMES)).convert_dtypes()


@pytest.fixture
def table() -> pd.DataFrame:
    scratch = cell("scratch", 0.5, 0.45, 1.5, weights="none", freeze="none", train_acc=0.7, gap=0.25)
    return frame(*(cell(*facts) for facts in BACKBONES), scratch)


@pytest.fixture
def run() -> dict[str, Any]:
    classes = ["Apple", "<script>alert(1)</script>", "</script>", 'Kiwi "x" &amp;']
    return {
        "command": "backbench sweep --dataset fruit",
        "request": {"dataset": "fruit", "limit": None},
        "protocol": {"version": 1, "choices": "val chooses", "test": "test reports"},
        "environment": {"python": "3.11.7", "cpu": "two cores"},
        "git_revision": "1a2b3c4",
        "finished": "2026-02-03T04:05:06+00:00",
        "jobs": [{"label": "VGG16", "seconds": {"frozen pass": 61.0}}],
        "dataset": {
            "name": "fruit",
            "classes": classes,
            "counts": {"train": 1741, "val": 196, "test": 1550},
            "health": {
                "per_class": {name: {"train": 10, "val": 0, "test": 5} for name in classes},
                "duplicates": {"groups": 1, "surplus": 1, "examples": [["a.jpg", "b.jpg"]]},
                "straddling": {
                    "train/val": {"groups": 0, "images": 0, "examples": []},
                    "train/test": {"groups": 1, "images": 2, "examples": [{"train": ["a.jpg"], "test": ["c.jpg"]}]},
                },
                "conflicting_labels": {"groups": 1, "examples": [[{"id": "a.jpg", "class": "Apple"}]]},
                "unreadable": [{"id": "<img src=x onerror=alert(1)>.jpg", "reason": "truncated"}],
                "missing_in_val": ["Apple"],
                "missing_in_test": [],
                "ignored_files": 3,
                "notes": ["val was made"],
            },
        },
    }


def rendered(table: pd.DataFrame, run: dict[str, Any] | None = None, *, drawn: bool = False) -> str:
    """The page, with its plots where they matter: drawing them takes most of the time."""
    facts = recommend(table, val_items=196, test_items=1550)
    stored = ReportData(table, parse(run or {}))
    return page.render(stored, facts, plots.draw(stored) if drawn else ())


def scripts(html: str) -> list[str]:
    """What may run: the page's own script, then Vega's where there is a plot to touch."""
    return re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)


def data_of_plots(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data-of-plots">(.*?)</script>', html, flags=re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_answers_first_and_holds_every_section(table: pd.DataFrame, run: dict[str, Any]) -> None:
    html = rendered(table, run, drawn=True)
    elements = Elements(html)
    sections = [attributes.get("id") for attributes in elements.tags("section") if attributes.get("id")]
    assert sections == ["answer", "table", "plots", "data", "protocol"]
    words = elements.words
    assert "4 classes 1,741 train, 196 val, 1,550 test images 4 of 4 candidates finished" in words
    assert "Use MobileNetV2, completely frozen: it classifies 79.0% of the test images correctly" in words
    assert "A pretrained network is worth it here" in words
    for key in ("Test accuracy 79.0% 95% interval 77.0–81.0%", "Overfitting gap 21.0 pts", "Latency 9.3 ms"):
        assert key in words
    assert "backbench sweep --dataset fruit" in words
    assert "2026-02-03 04:05 UTC" in words
    assert "VGG16 frozen pass 1 min 1 s" in words


def test_warnings_are_said(table: pd.DataFrame, run: dict[str, Any]) -> None:
    facts = recommend(frame(cell(*BACKBONES[0]), lost("A", "failed", "x"), lost("B", "skipped", "y")), test_items=20)
    assert warnings.notices(parse(run), facts) == (
        "2 test images have exact copies in train: test accuracy may be too good.",
        "1 image occurs under more than one label.",
        *(caveat.text for caveat in facts.caveats),
        "1 class without images in val (Apple): no choice took it into account.",
        "1 file could not be read and was left out.",
        "1 cell failed and 1 cell was skipped: the comparison is incomplete.",
    )
    assert warnings.notices(parse({}), Recommendation()) == ()
    assert "Before you trust the numbers" not in rendered(frame(cell(*BACKBONES[0])))


@pytest.mark.parametrize(
    ("plain", "images", "said"),
    [
        (0, 100, ["none"]),
        (100, 100, ["not looked for: no image has enough detail to tell a copy from a look-alike"]),
        (
            30,
            100,
            [
                "none among the 70 images that could be compared",
                "30 images with too little detail to tell a copy from a look-alike",
            ],
        ),
    ],
)
def test_none_is_only_said_of_what_was_compared(plain: int, images: int, said: list[str]) -> None:
    pairs = {"train/test": {"images": 0, "other_class": 0, "examples": []}}
    found = warnings.findings(
        parse(
            {"dataset": {"health": {"images": images, "near_duplicates": {"too_plain": plain, "pairs": pairs}}}}
        ).dataset.health
    )
    assert [finding["value"] for finding in found] == said


def test_a_first_look_is_said_to_be_one(table: pd.DataFrame, run: dict[str, Any]) -> None:
    facts = recommend(table)
    run["request"]["limit"] = 200
    assert warnings.notices(parse({"request": run["request"]}), facts) == (
        "The sweep was a first look, at no more than 200 images per split (--limit 200): with all images the "
        "accuracies, and who comes first, may be others.",
    )
    assert warnings.notices(parse({"request": {"limit": None}}), facts) == ()


def test_columns_and_badges_are_explained_in_the_units_of_the_page(table: pd.DataFrame) -> None:
    words = Elements(rendered(table)).words
    explained = words[words.index("What the columns and badges mean") :]
    assert "0..1" not in explained
    assert "train_acc" not in explained
    assert "tied with best the 95% interval of its test accuracy overlaps that of the first" in explained
    several = tables.frame(tables.cell("A", 0.9, 0.8), tables.cell("B", 0.8, 0.8))
    answers = {f"{name}-all-imagenet-0": tables.right(range(8), 10) for name in "AB"}
    html = page.render(ReportData(several), recommend(several, answers), ())
    meaning = "like the first, it may be the best on test (95% model confidence set)"
    assert f'<span class="badge tied" title="{meaning}">tied with best</span>' in html
    assert f"tied with best {meaning}" in Elements(html).words


def test_the_page_says_what_can_be_exported(tmp_path: Path, table: pd.DataFrame, run: dict[str, Any]) -> None:
    deeper = [
        cell("VGG16", 0.7, 0.7, 92.4, freeze="all-1", seed=seed, selection_score=0.6 + seed / 10) for seed in (0, 1)
    ]
    table = pd.concat([table, frame(*deeper)], ignore_index=True)
    store.write_table(tmp_path, table)
    store.write_run(tmp_path, parse(run))

    def said() -> str:
        found = re.search(
            r'<p class="hint">([^\n]*export[^\n]*)</p>', build.write_report(tmp_path).read_text(encoding="utf-8")
        )
        return re.sub("<[^>]*>", "", found[1]) if found else ""

    assert said() == "", "a folder without cells exports nothing"
    for folder in ("cells", "heads", "models"):
        (tmp_path / folder).mkdir()
    assert said().startswith("No weights were kept")
    there, others = "Can be exported from the folder of the sweep: ", "; backbench export says how to make the others."
    (tmp_path / "heads" / "VGG16-all-0.npz").touch()
    (tmp_path / "models" / "VGG16-all-1-0.npz").touch()
    assert said() == f"{there}VGG16@all{others}", "of the other depth it is not the best seed"
    (tmp_path / "models" / "VGG16-all-1-1.npz").touch()
    assert said() == f"{there}VGG16@all and VGG16@all-1{others}"
    for name in ("MobileNetV2-all-0", "Xception-all-0"):
        (tmp_path / "heads" / f"{name}.npz").touch()
    (tmp_path / "models" / "scratch-none-0.npz").touch()
    assert said() == "Every candidate can be exported from the folder of the sweep."


def test_seeds_that_failed_are_told_apart() -> None:
    rows = [cell("A", 0.9, 0.8, 5.0, freeze="none", seed=2)]
    rows += [
        lost("A", "failed", f"out of memory at {seed}", freeze="none") | {"image_size": 96, "seed": seed}
        for seed in (0, 1)
    ]
    (group,) = incomplete.groups(frame(*rows))
    assert [member["label"] for member in group["members"]] == ["A#0", "A#1"]
    assert incomplete.groups(frame(lost("A", "failed", "boom")))[0]["title"] == "A"


def test_table_sorts_by_numbers_that_are_in_the_page(table: pd.DataFrame) -> None:
    elements = Elements(rendered(table))
    headings = [attributes for attributes in elements.tags("th") if "data-first" in attributes]
    assert len(headings) == 18
    assert [heading.get("aria-sort") for heading in headings] == ["ascending"] + [None] * 17
    values = [attributes["data-value"] for attributes in elements.tags("td") if "data-value" in attributes]
    assert values[:5] == ["1", "0.79", repr(1.0 - 0.79), "1.0", "0.82"]
    names = [button for button in elements.tags("button") if button.get("class") == "name"]
    assert [button["aria-pressed"] for button in names] == ["false"] * 4


def test_badges_and_what_the_table_is_filtered_by() -> None:
    # By val: A1, B, A2, C. On test the intervals of B and C reach into A1's, that of A2 does not. A1 is slow, A2 fast.
    table = frame(
        cell("A1", 0.9, 0.80, 50.0, family="a"),
        cell("B", 0.8, 0.77, 60.0, family="b"),
        cell("A2", 0.7, 0.70, 9.0, family="a", freeze="all-1"),
        cell("C", 0.6, 0.79, 70.0, weights="none"),
    )
    html = rendered(table)
    elements = Elements(html)
    rows = [attributes for attributes in elements.tags("tr") if "data-badge" in attributes]
    assert [str(row["data-badge"]).split() for row in rows] == [
        ["top", "front", "family"],
        ["tied"],
        ["front"],
        ["tied", "random"],
    ]
    assert [row["data-family"] for row in rows] == ["a", "b", "a", "f"]
    form = html[html.index('<form class="tools"') : html.index("</form>")]
    options = re.findall(r'<option value="([^"]*)"', form)
    assert options == ["", "a", "b", "f", "", "all", "all-1", "", "front", "tied", "family", "random"]
    assert "tied with best" in elements.words


def test_who_is_ruled_out_as_the_best_is_not_called_tied_with_it() -> None:
    # C does not lose to A itself (7 wins, 1 loss), but is out, since D beats it; D may be the best.
    of = 300
    hits = (np.r_[:207, 210:217], np.r_[:100], np.r_[:207, 217], np.r_[:207, 210:217, 218:221])
    scores = {"A": (0.9, 0.7), "B": (0.8, 0.3), "C": (0.7, 0.6), "D": (0.6, 0.7)}
    table = tables.frame(*(tables.cell(name, *own) for name, own in scores.items()))
    answers = {f"{name}-all-imagenet-0": tables.right(own, of) for name, own in zip("ABCD", hits, strict=True)}
    facts = recommend(table, answers)
    assert [candidate.label for candidate in facts.possibly_best] == ["A", "D"]
    worn = [{badge.kind for badge in row["badges"]} for row in leaderboard.rows(ReportData(table), facts, [()] * 4)]
    assert ["tied" in badges for badges in worn] == [False, False, False, True]


def test_what_would_not_divide_the_table_is_no_filter(table: pd.DataFrame) -> None:
    html = rendered(table.query("backbone != 'scratch'"))
    form = html[html.index('<form class="tools"') : html.index("</form>")]
    assert re.findall(r'<select name="(\w+)"', form) == ["badge"]
    assert '<form class="tools"' not in rendered(frame(cell("A", 0.9, 0.8, 5.0)))


def test_all_columns_are_in_the_page_and_some_wait_to_be_chosen(table: pd.DataFrame) -> None:
    elements = Elements(rendered(table))
    boxes = [box for box in elements.tags("input") if box.get("type") == "checkbox"]
    assert len(boxes) == 16
    hidden = {str(box["value"]) for box in boxes if "checked" not in box}
    classes = next(str(found["class"]) for found in elements.tags("table"))
    assert classes.split() == ["board", *(f"without-{box['value']}" for box in boxes if box["value"] in hidden)]
    assert {"throughput_ips", "test_ece"} < hidden
    assert not {"test_acc", "gap", "latency_ms"} & hidden


def test_notes_of_finished_cells_are_footnotes() -> None:
    late, slow = "training did not beat the frozen probe on val", "the activations <b>did not fit</b>"
    html = rendered(
        frame(
            cell("A", 0.9, 0.8, 5.0, freeze="all-1", frozen_params_pct=36.4, reason=late),
            cell("B", 0.8, 0.7, 9.0, freeze="all-1", frozen_params_pct=52.0, reason=f"{slow}; {late}"),
            cell("B", 0.7, 0.6, 9.0, frozen_params_pct=100.0),
        )
    )
    elements = Elements(html)
    marks = [str(attributes["href"]) for attributes in elements.tags("a") if "footnote" in str(attributes.get("href"))]
    assert marks == ["#footnote-1", "#footnote-1", "#footnote-2"]
    assert [item["id"] for item in elements.tags("li") if "footnote" in str(item.get("id"))] == [
        "footnote-1",
        "footnote-2",
    ]
    assert elements.words.count(late) == 1
    assert slow in elements.words
    assert "all but its last stage frozen, 36% of its parameters" in elements.words
    assert "completely frozen, " not in elements.words
    assert "footnote" not in rendered(frame(cell("A", 0.9, 0.8, 5.0))).split("</style>")[1]


def test_seeds_show_their_mean_and_range_for_each_depth() -> None:
    rows = [cell("A", 0.9, test, 5.0, freeze="all-1", seed=seed) for seed, test in enumerate((0.80, 0.82, 0.84))]
    words = Elements(rendered(frame(*rows, cell("A", 0.7, 0.7, 5.0)))).words
    assert "mean of 3 seeds, test 80.0–84.0%" in words
    assert words.count("mean of 3 seeds,") == 1
    assert "82.0% 80.0–84.0%" in words


def test_the_page_has_the_plot_of_the_depths_where_there_are_several(table: pd.DataFrame) -> None:
    deeper = cell("Xception", 0.7, 0.72, 38.2, freeze="all-1", frozen_params_pct=67.0)
    html = rendered(pd.concat([table, frame(deeper)], ignore_index=True), drawn=True)
    assert [str(drawing["aria-label"]).split(".")[0] for drawing in Elements(html).tags("svg")][2] == (
        "Train and test accuracy of 1 network over the freeze depths"
    )
    assert (
        "By unfreezing, to the trained depth that val ranks highest, Xception loses 5.0 points on test (all to all-1: "
        "77.0% to 72.0%) and its gap widens from 23.0 to 28.0 points."
    ) in Elements(html).words


def test_protocol_entries_keep_their_names(table: pd.DataFrame) -> None:
    run = {"protocol": {"version": 2, "gap": "train minus test", "choices": "val chooses"}}
    words = Elements(rendered(table, run)).words
    assert "version 2 gap train minus test choices val chooses" in words


def test_untrusted_text_stays_text(run: dict[str, Any]) -> None:
    table = frame(
        cell(HOSTILE, 0.9, 0.8, 5.0), cell("$\\alpha$ {{ 7 * 7 }}", 0.8, 0.7, 9.0), lost(HOSTILE, "failed", HOSTILE)
    )
    run["dataset"]["name"] = HOSTILE
    run["command"] = HOSTILE
    run["environment"] = {HOSTILE: HOSTILE}
    run["jobs"] = [{"label": HOSTILE, "seconds": {HOSTILE: 1.0}}]
    html = rendered(table, run, drawn=True)
    elements = Elements(html)
    assert [script.get("type") for script in elements.tags("script")] == ["application/json", None, None]
    assert html.count("</script") == 3
    assert elements.tags("img") == []
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert "alert(1)</script>" not in html
    drawn = data_of_plots(html)["plots"]["train-against-test"]["rows"]
    assert {row["backbone"] for row in drawn} == {HOSTILE, "$\\alpha$ {{ 7 * 7 }}"}
    assert elements.words.count(HOSTILE) >= 8
    assert "<script>alert(1)</script>" in elements.words
    assert "$\\alpha$ {{ 7 * 7 }}" in elements.words


def test_page_asks_the_network_for_nothing(table: pd.DataFrame, run: dict[str, Any]) -> None:
    html = rendered(table, run, drawn=True)
    elements = Elements(html)
    for _, attributes in elements.found:
        for name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
    ours = html.replace(vega.script(), "")  # Vega names addresses, as namespaces; its loader is never asked
    assert "http://" not in ours
    assert "https://" not in ours
    assert "@import" not in ours
    assert not re.search(r"url\((?!#)", ours)


def test_only_our_scripts_may_run(table: pd.DataFrame) -> None:
    html = rendered(table, drawn=True)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts(html)]
    assert len(digests) == 2
    policy = next(a["content"] for a in Elements(html).tags("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}'; base-uri 'none'; form-action 'none'"
    )


def test_ids_are_unique_and_links_and_drawings_refer_to_them(table: pd.DataFrame, run: dict[str, Any]) -> None:
    html = rendered(table, run, drawn=True)
    elements = Elements(html)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [str(attributes["href"])[1:] for _, attributes in elements.found if "href" in attributes]
    wanted += re.findall(r"url\(#([^)]+)\)", html.replace(vega.script(), ""))
    wanted += [
        str(attributes["aria-labelledby"]) for _, attributes in elements.found if "aria-labelledby" in attributes
    ]
    assert wanted
    assert set(wanted) <= set(ids)


def test_plots_have_a_text_alternative_and_the_colours_of_the_page(table: pd.DataFrame) -> None:
    html = rendered(table, drawn=True)
    drawings = Elements(html).tags("svg")
    assert [drawing["role"] for drawing in drawings] == ["img", "img"]
    assert str(drawings[0]["aria-label"]).startswith(
        "Train and test accuracy of 4 candidates in order of rank. MobileNetV2: train 100.0%, test 79.0%; Xception:"
    )
    canvases = [found for found in Elements(html).tags("div") if "data-plot" in found]
    assert [found["aria-label"] for found in canvases] == [drawing["aria-label"] for drawing in drawings]
    body = html.replace(vega.script(), "")[html.index("<svg") :]
    assert not set(re.findall(r"#[0-9a-f]{6}\b", body)) & set(PAGE_COLOURS)
    stylesheet = html[: html.index("</style>")]
    for variable in re.findall(r"var\((--[\w-]+)\)", html.replace(vega.script(), "")):
        assert f"{variable}:" in stylesheet or variable in ("--lo", "--hi", "--at", "--most")


@pytest.mark.parametrize("missing", [{}, {"dataset": {}, "jobs": [{}]}, {"dataset": {"health": {}}}])
def test_page_is_made_whatever_run_json_lacks(table: pd.DataFrame, missing: dict[str, Any]) -> None:
    assert "MobileNetV2" in Elements(rendered(table, missing)).words


def test_page_when_nothing_finished() -> None:
    words = Elements(rendered(frame(lost("A", "failed", "boom"), lost("B", "skipped", "no weights")))).words
    assert "Nothing can be recommended: no candidate finished (1 failed, 1 skipped)." in words
    assert "All candidates" not in words
    assert "boom" in words
    assert "no cell has been run" in Elements(rendered(frame())).words


def test_skipped_cells_that_differ_in_names_only_are_one_group() -> None:
    rows = [
        lost(name, "skipped", f"weights of {name} are not here: https://host/{name.lower()}_notop.h5 refused (try 3)")
        for name in ("ResNet50", "VGG19", "DenseNet121")
    ]
    rows += [lost("NASNetLarge", "failed", "MemoryError\nline 2"), lost("A", "pruned", "")]
    groups = incomplete.groups(frame(*rows))
    assert [(group["status"], group["title"], len(group["members"])) for group in groups] == [
        ("failed", "NASNetLarge", 1),
        ("skipped", "ResNet50 and 2 more", 3),
        ("pruned", "A", 1),
    ]
    assert groups[0]["rest"] == "MemoryError\nline 2"
    assert groups[1]["differ"]
    assert groups[2]["reason"] == "no reason was recorded"


def test_reasons_keep_addresses_as_text() -> None:
    elements = Elements(rendered(frame(lost("A", "skipped", "https://host/x.h5 refused"))))
    assert "https://host/x.h5 refused" in elements.words


def test_same_table_same_bytes(table: pd.DataFrame, run: dict[str, Any]) -> None:
    assert rendered(table, run, drawn=True) == rendered(table.sample(frac=1, random_state=1), run, drawn=True)
    first, second = plots.draw(ReportData(table)), plots.draw(ReportData(table))
    assert [p.png for p in first] == [p.png for p in second]
    assert [p.svg for p in first] == [p.svg for p in second]


# --- plots ------------------------------------------------------------------------------------------------------------


def test_no_plot_without_numbers() -> None:
    assert plots.draw(ReportData(frame(lost("A", "failed", "boom")))) == ()
    drawn = plots.draw(ReportData(frame(cell("A", 0.9, 0.9, 1.0, latency_ms=None))))
    assert [one.plot.name for one in drawn] == ["train-against-test"]


def test_text_in_drawings_is_text(table: pd.DataFrame) -> None:
    for drawn in plots.draw(ReportData(table)):
        assert ">MobileNetV2</text>" in drawn.svg
        assert drawn.svg.startswith("<?xml")
        assert drawn.png.startswith(b"\x89PNG")


def test_names_cover_neither_points_nor_each_other() -> None:
    points = np.array([[50.0, 50.0], [58.0, 50.0], [50.0, 58.0], [500.0, 500.0]])
    sizes = [(60.0, 10.0)] * 4
    spots = label_placement.place(points, sizes, obstacles=points, thin=np.empty((0, 2)), area=(0, 0, 200, 200))
    assert spots[3] is None
    boxes = [(x, y, x + 60, y + 10) for x, y in (spot for spot in spots if spot is not None)]
    assert boxes
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        assert x0 >= 0
        assert y0 >= 0
        assert not any(x0 < x < x1 and y0 < y < y1 for x, y in points)
        assert not any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in boxes[i + 1 :])


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, run: dict[str, Any]) -> dict[str, Any]:
    """A store in memory: 100 test items, Xception has one more right than MobileNetV2, VGG16 has no predictions."""
    labels = np.zeros(100, dtype=int)
    predictions = {}
    for name, correct in (("MobileNetV2-all-0", 79), ("Xception-all-0", 80), ("scratch-none-0", 45)):
        right = np.arange(100) < correct
        predictions[name] = {
            "test_ids": np.array([f"{i}.png" for i in range(100)]),
            "test_labels": labels,
            "test_probs": np.column_stack([right, ~right]).astype("float32"),
        }
    content = {"table": table, "run": run, "predictions": predictions}

    def read_predictions(directory: Path, cell_id: str) -> dict[str, Any]:
        try:
            return predictions[cell_id]
        except KeyError:
            raise FileNotFoundError(cell_id) from None

    monkeypatch.setattr(store, "read_table", lambda directory: content["table"])
    monkeypatch.setattr(store, "read_run", lambda directory: parse(content["run"]))
    monkeypatch.setattr(store, "read_predictions", read_predictions)
    return content


def test_build_writes_page_and_plots(tmp_path: Path, stored: dict[str, Any]) -> None:
    made = build.write_report(tmp_path)
    assert made == tmp_path / "leaderboard.html"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "leaderboard.html",
        "plots/accuracy-against-latency.png",
        "plots/accuracy-against-latency.svg",
        "plots/accuracy-by-class.png",
        "plots/accuracy-by-class.svg",
        "plots/reliability.png",
        "plots/reliability.svg",
        "plots/train-against-test.png",
        "plots/train-against-test.svg",
    ]
    words = Elements(made.read_text(encoding="utf-8")).words
    assert "On test it cannot be told apart from Xception" in words
    assert "It beats scratch" in words


def test_build_asks_val_whether_it_can_tell_the_leader_apart(tmp_path: Path, stored: dict[str, Any]) -> None:
    # MobileNetV2 and Xception are sure of the same 50 val images, scratch of 5: only scratch is clearly behind
    for name, correct in (("MobileNetV2-all-0", 50), ("Xception-all-0", 50), ("scratch-none-0", 5)):
        right = np.where(np.arange(60) < correct, 0.9, 0.1)
        stored["predictions"][name] |= {
            "val_ids": np.array([f"val {i}" for i in range(60)]),
            "val_labels": np.zeros(60, dtype=int),
            "val_probs": np.column_stack([right, 1 - right]).astype("float32"),
        }
    words = Elements(build.write_report(tmp_path).read_text(encoding="utf-8")).words
    assert (
        "Val, with 60 images, is too small to tell 1 of the 2 other candidates from the leader, MobileNetV2: the "
        "nearest is Xception (selection score 0.800 against 0.820; paired bootstrap over the val images)."
    ) in words
    stored["predictions"]["Xception-all-0"]["val_ids"] = np.array(["other"] * 60)
    assert "too small to tell" not in Elements(build.write_report(tmp_path).read_text(encoding="utf-8")).words


def test_build_reads_what_the_store_wrote(tmp_path: Path, table: pd.DataFrame, run: dict[str, Any]) -> None:
    store.write_table(tmp_path, table)
    store.write_run(tmp_path, parse(run))
    (tmp_path / "predictions").mkdir()
    for name, correct in (("MobileNetV2-all-0", 79), ("VGG16-all-0", 69)):
        right = (np.arange(100) < correct).astype("float32")
        np.savez(
            tmp_path / "predictions" / f"{name}.npz",
            test_ids=np.array([f"{i}.png" for i in range(100)]),
            test_labels=np.zeros(100, dtype=int),
            test_probs=np.column_stack([right, 1 - right]),
        )
    words = Elements(build.write_report(tmp_path).read_text(encoding="utf-8")).words
    # 10 wins without a loss: p = 2 / 2^10, the only claim of its family
    assert "On test it beats VGG16 by 10.0 points (paired 95% interval " in words
    assert "exact McNemar test, Holm-corrected, p = 0.002)." in words


def test_build_removes_plots_that_no_longer_hold(tmp_path: Path, stored: dict[str, Any]) -> None:
    build.write_report(tmp_path)
    stored["table"] = frame(lost("A", "failed", "boom"))
    build.write_report(tmp_path)
    assert list((tmp_path / "plots").iterdir()) == []


def test_predictions_of_other_items_are_not_compared(tmp_path: Path, stored: dict[str, Any]) -> None:
    stored["predictions"]["Xception-all-0"]["test_ids"] = np.array(["other.png"] * 100)
    words = Elements(build.write_report(tmp_path).read_text(encoding="utf-8")).words
    assert "cannot be told apart" not in words


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, backbench.report.build, backbench.report.terminal;"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
