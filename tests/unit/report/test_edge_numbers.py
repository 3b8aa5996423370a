"""Data on which a number could mislead: metrics stay as documented, and the page says what to doubt."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.generated_run import write
from support.tables import cell, frame, right

from backbench.analysis import CaveatCode, metrics, recommend
from backbench.backbones import APPLICATIONS
from backbench.data.splits import limit_per_split, make_splits
from backbench.evaluation.linear_probe import fit_path
from backbench.report import build, class_balance
from backbench.report import warnings as report_warnings
from backbench.results.run_record import parse

NO_ONE = {"train": 1, "val": 1, "test": 0}


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    """NumPy warns where it divides by zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def always(of_first: float, items: int) -> np.ndarray:
    """The same probabilities of two classes for every item."""
    return np.tile(np.array([[of_first, 1 - of_first]], np.float64), (items, 1))


# --- metrics by hand --------------------------------------------------------------------------------------------------


def test_ninety_nine_to_one_and_always_the_same_answer() -> None:
    labels = np.array([0] * 99 + [1])
    said = always(0.99, 100)
    assert metrics.accuracy(said, labels) == 0.99
    # F1 of the large class is 2 * 99 / (100 + 99), of the small one nought.
    assert metrics.macro_f1(said, labels) == pytest.approx((2 * 99 / 199 + 0) / 2)
    assert metrics.ece(said, labels) == pytest.approx(0.0, abs=1e-12)
    calibrated = (0.99**99 * 0.01) ** (1 / 100)
    assert metrics.selection_score(said, labels) == pytest.approx(calibrated, rel=1e-6)
    assert metrics.selection_score(always(0.6, 100), labels) == pytest.approx(calibrated, rel=1e-6)
    right_of, items = metrics.right_by_class(said, labels)
    assert (right_of.tolist(), items.tolist()) == ([99, 0], [99, 1])


def test_a_class_that_is_missing_has_no_share_and_no_accuracy() -> None:
    probabilities = np.eye(4, dtype=np.float32)[[0, 0, 3, 3]]
    labels = np.array([0, 0, 3, 0])  # neither 1 nor 2
    assert metrics.macro_f1(probabilities, labels) == pytest.approx((2 * 2 / (2 + 3) + 2 * 1 / (2 + 1)) / 2)
    right_of, items = metrics.right_by_class(probabilities, labels)
    assert (right_of.tolist(), items.tolist()) == ([2, 0, 0, 1], [3, 0, 0, 1])
    # A missing class may still be answered: it costs those that are there.
    assert metrics.macro_f1(np.eye(4, dtype=np.float32)[[1, 0, 3, 3]], labels) == pytest.approx((2 / 4 + 2 / 3) / 2)


@pytest.mark.parametrize(("says", "accuracy", "f1"), [(0.7, 1.0, 1.0), (0.3, 0.0, 0.0)])
def test_a_single_item(says: float, accuracy: float, f1: float) -> None:
    said, labels = always(says, 1), np.array([0])
    assert (metrics.accuracy(said, labels), metrics.macro_f1(said, labels)) == (accuracy, f1)
    assert metrics.nll(said, labels) == pytest.approx(-np.log(says))
    assert metrics.ece(said, labels) == pytest.approx(0.3 if accuracy else 0.7)
    # One right answer may be made certain at no cost; one wrong answer is best made an even chance.
    assert metrics.selection_score(said, labels) == pytest.approx(1.0 if accuracy else 0.5, abs=5e-3)
    # Wilson at n = 1, z = 1.96: z^2 / (1 + z^2) = 0.7935 from the end.
    low, high = metrics.wilson_interval(accuracy, 1)
    assert (low, high) == pytest.approx((0.2065, 1.0) if accuracy else (0.0, 0.7935), abs=5e-5)


def test_equal_probabilities_are_the_first_class() -> None:
    assert metrics.accuracy(np.full((3, 2), 0.5), np.array([0, 1, 1])) == pytest.approx(1 / 3)


# --- splits and the probe ---------------------------------------------------------------------------------------------


def thousand() -> tuple[np.ndarray, list[str], list[str]]:
    """Labels, digests and names of 1,000 classes with five images each."""
    return np.repeat(np.arange(1000), 5), [f"{n:064d}" for n in range(5000)], [f"class {n}" for n in range(1000)]


def test_a_thousand_classes_of_five() -> None:
    labels, digests, names = thousand()
    split = make_splits(labels, np.full(5000, ""), digests, names)
    for name, images in (("train", 3), ("val", 1), ("test", 1)):
        assert np.bincount(labels[split == name], minlength=1000).tolist() == [images] * 1000
    assert len(limit_per_split(labels, split, digests, 1000)) == 3000
    rng = np.random.default_rng(0)
    features = (rng.normal(0, 1, (1000, 32))[labels] + rng.normal(0, 0.3, (5000, 32))).astype(np.float32)
    train, val, test = (np.flatnonzero(split == name) for name in ("train", "val", "test"))
    found = fit_path(features, labels, train=train, val=val, classes=1000, strengths=(0.01, 0.001))
    assert all(step.converged for step in found.steps)
    said = found.head(features, test)
    nearest = np.stack([features[train[labels[train] == label]].mean(axis=0) for label in range(1000)])
    by_distance = np.mean(((features[test][:, None] - nearest) ** 2).sum(axis=2).argmin(axis=1) == labels[test])
    assert metrics.accuracy(said, labels[test]) == pytest.approx(by_distance, abs=0.05)
    assert metrics.accuracy(said, labels[test]) > 0.8
    assert metrics.top_k_accuracy(said, labels[test]) >= metrics.accuracy(said, labels[test])


def test_a_probe_of_classes_that_val_lacks_and_of_single_images() -> None:
    rng = np.random.default_rng(1)
    labels = np.array([0] * 6 + [1] * 6 + [2] + [0, 0, 0])  # one image of class 2 in train; val has class 0 only
    features = (np.eye(3)[labels] * 4 + rng.normal(0, 0.3, (16, 3))).astype(np.float32)
    found = fit_path(features, labels, train=np.arange(13), val=np.arange(13, 16), classes=3)
    assert all(step.val_acc == 1.0 for step in found.steps[1:])
    assert found.heads[-1](features, np.array([12])).argmax() == 2
    assert all(np.isfinite(head.weights).all() and np.isfinite(head.bias).all() for head in found.heads)


def test_ninety_nine_to_one_is_learned_where_it_can_be() -> None:
    rng = np.random.default_rng(2)
    labels = np.array([0] * 297 + [1] * 3)
    train, val = np.arange(0, 300, 3), np.arange(1, 300, 3)
    apart = (rng.normal(0, 1, (300, 2)) + 8 * labels[:, None]).astype(np.float32)
    blind = rng.normal(0, 1, (300, 2)).astype(np.float32)
    seeing, guessing = (fit_path(x, labels, train=train, val=val, classes=2) for x in (apart, blind))
    assert metrics.macro_f1(seeing.head(apart, val), labels[val]) == 1.0
    assert metrics.accuracy(guessing.head(blind, val), labels[val]) == 0.99
    assert metrics.macro_f1(guessing.head(blind, val), labels[val]) == pytest.approx(99 / 199)


def test_features_of_any_size_and_without_variance_give_numbers() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    good = rng.normal(0, 1, (40, 1)) + 6 * labels[:, None]
    for scale in (1e-18, 1e18):
        features = np.hstack([good * scale, np.zeros((40, 2)), np.full((40, 1), 3e4)]).astype(np.float32)
        found = fit_path(features, labels, train=np.arange(30), val=np.arange(30, 40), classes=2)
        said = found.head(features)
        assert np.isfinite(said).all()
        assert metrics.accuracy(said, labels) == 1.0
        assert not found.head.weights[1:].any()


# --- what the page says -----------------------------------------------------------------------------------------------


def sizes(**test: int) -> dict[str, dict[str, int]]:
    return {name: {"train": 9, "val": 9, "test": images} for name, images in test.items()}


def codes(per_class: dict[str, Any], *cells: dict[str, Any]) -> list[CaveatCode]:
    return [caveat.code for caveat in class_balance.caveats(per_class, recommend(frame(*cells)))]


def test_a_class_that_dominates_test_is_named_and_so_is_a_leader_that_does_no_better() -> None:
    uneven = sizes(healthy=990, ill=10)
    better = cell("VGG16", 0.995, 0.998, test_acc_lo=0.993, test_acc_hi=0.999)
    assert codes(uneven, better) == [CaveatCode.CLASS_DOMINATES]
    no_better = cell("VGG16", 0.99, 0.99, test_acc_lo=0.982, test_acc_hi=0.994)
    (caveat,) = class_balance.caveats(uneven, recommend(frame(no_better)))
    assert caveat.code == CaveatCode.MAJORITY_NOT_BEATEN
    for fact in ("healthy", "99.0% of the test images", "VGG16", "98.2–99.4%"):
        assert fact in caveat.text


def test_classes_of_equal_size_need_no_caveat_unless_nothing_was_learned() -> None:
    even = sizes(a=50, b=50)
    assert codes(even, cell("VGG16", 0.9, 0.8)) == []
    assert codes(sizes(a=60, b=40), cell("VGG16", 0.9, 0.8)) == []
    assert codes(even, cell("VGG16", 0.5, 0.51)) == [CaveatCode.MAJORITY_NOT_BEATEN]


def test_small_classes_are_counted() -> None:
    good = cell("VGG16", 0.9, 0.8)
    thousand_classes = {f"class {number}": {"train": 3, "val": 1, "test": 1} for number in range(1000)}
    (caveat,) = class_balance.caveats(thousand_classes, recommend(frame(good)))
    assert caveat.code == CaveatCode.CLASSES_SMALL
    assert caveat.text.startswith("1,000 of 1,000 classes")
    assert codes(sizes(a=40, b=40, c=1), good) == [CaveatCode.CLASSES_SMALL]
    assert codes(sizes(a=5, b=5), good) == []
    assert codes({"a": NO_ONE, "b": NO_ONE}, good) == codes({}, good) == []


def test_what_a_missing_class_means_is_said() -> None:
    facts = recommend(frame(cell("VGG16", 0.9, 0.8)))
    health = {"missing_in_val": ["a", "b"], "missing_in_test": ["c"]}
    assert report_warnings.notices(parse({"dataset": {"health": health}}), facts)[-2:] == (
        "2 classes without images in val (a, b): no choice took them into account.",
        "1 class without images in test (c): no score says whether it is recognised.",
    )


def test_a_few_images_of_val_and_test_are_not_resampled_into_certainty() -> None:
    table = frame(cell("VGG16", 1.0, 1.0, cell_id="v"), cell("Xception", 0.9, 0.0, cell_id="x"))
    answers = {"v": right([0], 1, [-0.1]), "x": right([], 1, [-0.2])}
    facts = recommend(table, answers, val_items=1, test_items=1)
    assert [caveat.code for caveat in facts.caveats] == [CaveatCode.VAL_TINY, CaveatCode.TEST_SMALL]
    assert [pair.verdict for pair in facts.best_vs_rest] == ["tied"]
    assert {candidate.cell_id for candidate in facts.possibly_best} == {"v", "x"}


@pytest.mark.parametrize(("classes", "items"), [(1000, 3500), (2, 7)])
def test_pages_of_a_thousand_classes_and_of_seven_images(tmp_path: Path, classes: int, items: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    write(tmp_path, backbones=APPLICATIONS[:2], freezes=("all",), seeds=1, classes=names, items=items)
    html = build.write_report(tmp_path).read_text(encoding="utf-8")
    assert ("too few to say how sure the choice is" in html) == (items == 7)
    assert f"{classes:,} of {classes:,} classes have fewer than 5 test images" in html
    assert not re.search(r"\bnan\b", html.split("<script>")[0], re.IGNORECASE)
