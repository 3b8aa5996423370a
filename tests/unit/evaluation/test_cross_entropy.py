"""The sums behind the probe: by hand, and the same on the host and by each backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backbench.core import hardware
from backbench.evaluation import cross_entropy_gpu, eigenbasis
from backbench.evaluation.cross_entropy import Likelihood, Sums, on_host
from backbench.evaluation.cross_entropy_gpu import on_device, where_it_fits
from backbench.evaluation.linear_probe import fit_path


def test_the_sums_of_two_images_by_hand() -> None:
    # Logits 0 and ln 3 for the first image: a quarter and three quarters. The second has even chances.
    rotated = np.array([[np.log(3.0)], [0.0]], np.float32)
    found = on_host(rotated, np.array([1, 0]), 2)(np.array([[0.0, 1.0]], np.float32), np.zeros(2))
    assert found.loss == pytest.approx(np.log(4 / 3) + np.log(2))
    assert found.right == 2  # of equals the first one
    assert found.by_weights == pytest.approx(np.array([[0.25, -0.25]]) * np.log(3), rel=1e-6)
    assert found.by_bias == pytest.approx([0.25 - 0.5, -0.25 + 0.5])
    assert found.spread == pytest.approx([3 / 16 + 1 / 4, 3 / 16 + 1 / 4])


def problem(images: int = 3000, axes: int = 40, classes: int = 7) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    rotated = rng.normal(size=(images, axes)).astype(np.float32)
    labels = (rotated[:, :classes] + rng.normal(size=(images, classes))).argmax(axis=1)
    return rotated, labels, classes, rng.normal(size=(axes, classes)).astype(np.float32), rng.normal(size=classes)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 30.0])
def test_the_device_gives_the_sums_of_the_host(sharpness: float) -> None:
    rotated, labels, classes, weights, bias = problem()
    found, expected = (
        place(rotated, labels, classes)(weights * np.float32(sharpness), bias) for place in (on_device, on_host)
    )
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.right == expected.right
    for name in ("by_weights", "by_bias", "spread"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max(), name


def test_features_that_are_mapped_go_to_the_device_as_well(tmp_path: Path) -> None:
    rotated, labels, classes, weights, bias = problem()
    np.save(tmp_path / "rotated.npy", rotated)
    mapped = np.load(tmp_path / "rotated.npy", mmap_mode="r")
    assert on_device(mapped, labels, classes)(weights, bias).loss == pytest.approx(
        on_host(rotated, labels, classes)(weights, bias).loss, rel=1e-6
    )


def test_a_probe_on_the_device_is_that_of_the_host() -> None:
    rotated, labels, classes, *_ = problem()
    features = rotated @ np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)
    rows = np.arange(len(labels))
    asked: dict[str, Any] = {"train": rows[:2000], "val": rows[2000:], "classes": classes}
    there, here = (fit_path(features, labels, likelihood=place, **asked) for place in (on_device, on_host))
    assert there.chosen == here.chosen
    assert len(there.steps) == len(here.steps)
    for ours, theirs in zip(there.steps, here.steps, strict=True):
        assert ours.converged
        assert ours.objective == pytest.approx(theirs.objective, rel=1e-3)
        assert ours.val_nll == pytest.approx(theirs.val_nll, abs=2e-3)


class Asked:
    """Says which of the two was chosen."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rotated: Any, labels: NDArray[np.int64], classes: int) -> Likelihood:
        def sums(_: Any, __: Any) -> Sums:
            raise AssertionError(self.name)

        return sums


@pytest.mark.parametrize(
    ("device", "free", "chosen"),
    [
        # 100 images of 10 axes and 2 classes: 4 x 100 x (10 + 6 x 2) = 8,800 bytes, for which half of it must be free
        ("H100", 17_600.0, "device"),
        ("H100", 17_599.0, "host"),
        ("H100", None, "host"),
        (None, 1e12, "host"),
    ],
)
def test_the_device_has_it_where_there_is_a_gpu_with_room(
    monkeypatch: pytest.MonkeyPatch, device: str | None, free: float | None, chosen: str
) -> None:
    monkeypatch.setattr(cross_entropy_gpu, "device", lambda: device or hardware.cpu())
    monkeypatch.setattr(hardware, "free_bytes", lambda *, on_gpu: free if on_gpu else 0.0)
    monkeypatch.setattr(cross_entropy_gpu, "on_device", Asked("device"))
    monkeypatch.setattr(cross_entropy_gpu, "on_host", Asked("host"))
    likelihood = where_it_fits(np.zeros((100, 10), np.float32), np.zeros(100, np.int64), 2)
    with pytest.raises(AssertionError, match=chosen):
        likelihood(np.zeros((10, 2), np.float32), np.zeros(2))


def test_the_host_reads_blocks_of_what_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rotated, labels, classes, weights, bias = problem()
    whole = on_host(rotated, labels, classes)(weights, bias)
    monkeypatch.setattr(eigenbasis, "BLOCK_ROWS", 7)
    parts = on_host(rotated, labels, classes)(weights, bias)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-9)
    np.testing.assert_allclose(parts.by_weights, whole.by_weights, rtol=0, atol=1e-5 * np.abs(whole.by_weights).max())
