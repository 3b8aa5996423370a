"""Two candidates by name: who is meant, whether one beats the other, and how that is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.tables import cell, frame, lost, right

from backbench.analysis import Answers, Comparison, find
from backbench.analysis.candidates import candidates
from backbench.analysis.compare import compare, pair
from backbench.cli.main import main
from backbench.core.errors import RequestError
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


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("A@all", ("aaaa1111",)),
        ("a@all", ("aaaa1111",)),
        ("A@all-1", ("aaaa2222", "bbbb3333")),
        ("A@all-1@imagenet-weights", ("aaaa2222", "bbbb3333")),
        ("A@all-1@none-weights", ("cccc4444",)),
        ("A@none-weights", ("cccc4444",)),
        ("A@all-1#1", ("bbbb3333",)),
        ("A@all#0", ("aaaa1111",)),
        ("A@all@96px", ("aaaa1111",)),
        ("A@all 96 px", ("aaaa1111",)),
        ("MobileNetV2:alpha=0.35", ("dddd5555",)),
        ("scratch", ("eeee6666",)),
        (" scratch ", ("eeee6666",)),
        ("scratch@none", ("eeee6666",)),
        ("cccc4444", ("cccc4444",)),
        ("bbbb", ("bbbb3333",)),
    ],
)
def test_names_mean_candidates(name: str, cells: tuple[str, ...]) -> None:
    assert find(TABLE, name).cell_ids == cells


def test_every_label_of_the_leaderboard_is_a_name() -> None:
    table = frame(
        *(
            cell("A", 0.5, 0.5, freeze=freeze, image_size=size, weights=weights, cell_id=f"{freeze}-{size}-{weights}")
            for freeze in ("all", "all-1")
            for size in (96, 128)
            for weights in ("imagenet", "none")
        )
    )
    found = [candidate.label for candidate in candidates(table)]
    assert len(set(found)) == 8
    assert "A@all-1@none-weights 128 px" in found
    assert [find(table, label).label for label in found] == found


def test_one_seed_has_a_name_of_its_own() -> None:
    one = find(TABLE, "bbbb")
    assert (one.label, one.seeds, one.test_acc) == ("A@all-1#1", 1, 0.9)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("A", "'A' is ambiguous: it may be A@all or A@all-1"),
        ("aaaa", "'aaaa' is ambiguous: cells aaaa1111 or aaaa2222 begin with it"),
        ("A@all-2", "unknown candidate 'A@all-2': did you mean A@all-1 or A@all?"),
        ("A@al", "unknown candidate 'A@al': did you mean A@all or A@all-1?"),
        ("A@all@128px", "unknown candidate 'A@all@128px': did you mean A@all-1 or A@all?"),
        ("A@all-1#7", "A@all-1 has no seed 7: there is 0 and 1"),
        ("scrach", "unknown candidate 'scrach': did you mean scratch?"),
        (
            "zz",
            "unknown candidate 'zz': there is A@all, A@all-1, MobileNetV2:alpha=0.35@all, scratch and "
            "A@all-1@none-weights",
        ),
        ("", "unknown candidate '': there is "),
        ("B@all-1", "'B@all-1' did not finish (failed): out of memory"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        find(TABLE, name)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_nothing_to_name() -> None:
    with pytest.raises(RequestError, match="no cell was finished"):
        find(frame(lost("A", "failed", "boom")), "A")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("A@all", "aaaa1111", "'A@all' and 'aaaa1111' are both A@all: name two different ones"),
        ("A@all-1", "A@all-1#0", "A@all-1#0 is one of the seeds of A@all-1: name two different ones"),
        ("A@all-1#0", "A@all-1", "A@all-1#0 is one of the seeds of A@all-1: name two different ones"),
    ],
)
def test_the_same_twice_is_refused(first: str, second: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        pair(TABLE, first, second)
    assert str(refused.value) == message
    assert [one.label for one in pair(TABLE, "A@all-1#0", "A@all-1#1")] == ["A@all-1#0", "A@all-1#1"]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def of(first: str, second: str, answers: dict[str, Answers], dataset: str = "fruit", among: int = 6) -> Comparison:
    return compare(*pair(TABLE, first, second), answers, dataset=dataset, among=among)


def test_a_win_with_all_its_evidence() -> None:
    # 90 against 50 of 100: 45 wins, 5 losses; p = 2 P(at most 5 of 50)
    found = of("A@all", "scratch", {"aaaa1111": right(range(90), 100), "eeee6666": right(np.r_[:45, 90:95], 100)})
    assert found.verdict == "better"
    assert (found.test.wins, found.test.losses, found.test.name) == (45, 5, "exact McNemar")
    assert found.test.p_value == pytest.approx(4.2e-9, rel=0.01)
    # .4 and a standard error of sqrt(.5 - .16) / 10 = .058
    assert (found.lead.mean, found.lead.low, found.lead.high) == pytest.approx((0.4, 0.286, 0.514), abs=0.02)
    low, high = 100 * found.lead.low, 100 * found.lead.high
    assert str(found).splitlines() == [
        "A@all beats scratch on the 100 images of the test set of fruit, by 40.0 points (paired 95% interval "
        f"{low:.1f} to {high:.1f} points).",
        "",
        "  A@all              90.0% right (95% interval 88.0-92.0%), 1 seed",
        "  scratch            50.0% right (95% interval 48.0-52.0%), 1 seed",
        "  only one is right  A@all on 45 images, scratch on 5 images",
        "  test of equality   exact McNemar test, p < 0.001",
        "",
        "scratch was trained once: how far another seed moves it is not known.",
        "The p-value is of this one pair. Of many pairs of equals, one in twenty looks like a win: the leaderboard "
        "corrects for that.",
    ]


def test_a_loss_is_the_same_turned_round() -> None:
    found = of("scratch", "A@all", {"aaaa1111": right(range(90), 100), "eeee6666": right(np.r_[:45, 90:95], 100)})
    assert found.verdict == "worse"
    low, high = -100 * found.lead.high, -100 * found.lead.low
    assert str(found).startswith(
        "scratch does not beat A@all on the 100 images of the test set of fruit: it is 40.0 points behind (paired 95% "
        f"interval {low:.1f} to {high:.1f} points)."
    )


def test_no_decision() -> None:
    # 5 wins, 3 losses: p = 186 / 256
    answers = {"aaaa1111": right(range(52), 100), "dddd5555": right(np.r_[:47, 52:55], 100)}
    found = of("A@all", "MobileNetV2:alpha=0.35", answers, dataset="", among=2)
    assert found.verdict == "tied"
    assert found.test.p_value == pytest.approx(186 / 256)
    text = str(found)
    assert text.startswith(
        "A@all and MobileNetV2:alpha=0.35@all cannot be told apart on the 100 images of the test set: A@all is 2.0 "
        "points ahead (paired 95% interval -"
    )
    # solved, not trained, and the only pair there is: nothing to add
    assert text.endswith("exact McNemar test, p = 0.73")


def test_a_test_that_is_sure_is_not_enough_when_the_interval_holds_zero() -> None:
    found = of("A@all", "scratch", {"aaaa1111": right(range(6), 100), "eeee6666": right([], 100)})
    # 6 wins without a loss: p = 2 / 2^6 = .031, and the interval begins above zero
    assert (found.test.p_value, found.verdict) == (pytest.approx(0.03125), "better")
    fewer = of("A@all", "scratch", {"aaaa1111": right(range(5), 100), "eeee6666": right([], 100)})
    # 5 wins: the interval alone would call it a win
    assert fewer.lead.low > 0
    assert (fewer.test.p_value, fewer.verdict) == (pytest.approx(0.0625), "tied")
    assert "The interval leaves out zero, but the test does not confirm it" in str(fewer)
    assert "confirm" not in str(found)
    assert repr(fewer).startswith("<A@all and scratch cannot be told apart on the 100 images of the test set of fruit")


def test_the_same_answers_and_as_many_right() -> None:
    same = of("A@all", "scratch", {"aaaa1111": right(range(6), 10), "eeee6666": right(range(6), 10)})
    assert "cannot be told apart on the 10 images of the test set of fruit: they are right on the same ones." in str(
        same
    )
    level = of("A@all", "scratch", {"aaaa1111": right(range(6), 10), "eeee6666": right(range(4, 10), 10)})
    assert "they are level (paired 95% interval -" in str(level)


def test_two_seeds_count_together() -> None:
    answers = {
        "aaaa2222": right(range(80), 100),
        "bbbb3333": right(range(90), 100),
        "eeee6666": right(np.r_[:45, 95:100], 100),
    }
    found = of("A@all-1", "scratch", answers)
    assert (found.test.wins, found.test.losses, found.test.name) == (pytest.approx(40), pytest.approx(5), "Welch")
    text = str(found)
    assert (
        "  A@all-1            85.0% right (95% interval 83.0-87.0%), the mean of 2 seeds that range over 80.0-90.0%"
        in text
    )
    assert "A@all-1 on 40 images, scratch on 5 images (means over pairs of seeds)" in text
    assert "Welch test over images and seeds, p" in text
    assert (
        "A@all-1: with fewer than 5 seeds the intervals are over the images alone; the test takes the spread of the "
        "seeds into account."
    ) in text


def test_answers_that_are_not_known_are_said() -> None:
    answers = {"aaaa1111": right([], 9), "aaaa2222": right([], 9)}
    with pytest.raises(RequestError) as refused:
        of("A@all", "A@all-1", answers)
    assert str(refused.value) == (
        "A@all-1 has no stored predictions for these test images (cell bbbb3333): run the sweep again to compare it"
    )


def test_names_from_data_are_escaped() -> None:
    answers = {"aaaa1111": right(range(6), 10), "eeee6666": right(range(3), 10)}
    found = of("A@all", "scratch", answers, dataset="<b>\x1b[2J")
    assert "<b>" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()
    assert "\x1b" not in str(found)


# --- from a results folder --------------------------------------------------------------------------------------------


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
    return CliRunner().invoke(main.main, ["compare", *words], catch_exceptions=False)


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
