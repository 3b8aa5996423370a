"""What is timed, and what is left out."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from backbench.evaluation import inference_cost


@pytest.mark.parametrize(
    ("most", "timed", "throughput"), [(32, [1, 8, 32], 64.0), (16, [1, 8], 32.0), (8, [1, 8], 32.0), (4, [1], 8.0)]
)
def test_no_batch_is_timed_that_may_not_fit(
    monkeypatch: pytest.MonkeyPatch, most: int, timed: list[int], throughput: float
) -> None:
    sizes = []

    def seconds(_: keras.Model, images: np.ndarray) -> float:
        sizes.append(len(images))
        return {1: 0.125, 8: 0.25, 32: 0.5}[len(images)]

    monkeypatch.setattr(inference_cost, "_median_seconds", seconds)
    images = keras.Input((4, 4, 3))
    found = inference_cost.speed(keras.Model(images, keras.layers.Flatten()(images)), most=most)
    assert sizes == timed
    assert (found.latency_ms, found.throughput_ips) == (125.0, throughput)
