"""The hand-made CNN: its shape, that it is the same for the same seed, and an honest score on real scans."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from backbench import sweep
from backbench.backbones import scratch_cnn
from backbench.core.request import Request
from backbench.results import store


def test_the_network_halves_its_map_until_it_is_at_most_eight_wide() -> None:
    for size, stages in ((16, 2), (32, 2), (96, 4), (128, 4), (224, 5)):
        model = scratch_cnn.build(image_size=size, classes=3)
        pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
        assert len(pools) == stages
        assert pools[-1].output.shape[1] <= 8
        assert model.output_shape == (None, 3)
    assert model.input_shape == (None, 224, 224, 3)


def test_the_network_gives_logits_and_not_probabilities() -> None:
    keras.utils.set_random_seed(0)
    model = scratch_cnn.build(image_size=16, classes=4)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    found = np.asarray(model(images, training=False))
    assert found.min() < 0
    assert np.abs(found.sum(axis=1) - 1).min() > 1e-3


def test_the_network_starts_the_same_for_the_same_seed_and_at_another_for_another() -> None:
    weights = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        weights.append(scratch_cnn.build(image_size=16, classes=3).get_weights())
    for first, again in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(weights[0][0], weights[2][0])


@pytest.mark.nightly
def test_the_hand_made_network_reads_digits(cache: Path, tmp_path: Path) -> None:
    """An honest baseline: at least 97 % of the test scans right, with every option at its default."""
    outcome = sweep.run(Request(backbones="scratch", out=tmp_path / "digits"))
    assert outcome.counts == {"ok": 1}
    (row,) = store.read_table(tmp_path / "digits").to_dict("records")
    assert row["image_size"] == 96
    assert row["test_acc"] >= 0.97
    assert row["val_acc"] >= 0.97
