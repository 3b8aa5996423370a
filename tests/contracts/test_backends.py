"""The same cells on Keras's other backends, where they are installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pandas as pd
import pytest

from backbench import sweep
from backbench.core.request import Request
from backbench.results.store import read_table

FILE = "mobilenet_2_5_224_tf_no_top.h5"

# Test images of digits with 150 a split; of that many an accuracy has a standard error of about three points.
LIMIT, NOISE = 150, 0.04


def _table(backend: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    request = Request(
        backbones="MobileNet:alpha=0.25",
        image_size=32,
        limit=LIMIT,
        epochs=2,
        mirrors=False,
        out=directory / backend,
    )
    sweep.run(request, visible=False)
    return read_table(directory / backend).set_index("freeze").sort_index()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same_numbers_within_noise(
    backend: str, cache: Path, shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(shared_weights / FILE, models / FILE)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    expected = _table("tensorflow", tmp_path, monkeypatch)
    found = _table(backend, tmp_path, monkeypatch)
    assert list(found["status"]) == ["ok", "ok"]
    assert set(found["backend"]) == {backend}
    for freeze in ("all", "all-1"):
        for column in ("val_acc", "test_acc"):
            assert found.loc[freeze, column] == pytest.approx(expected.loc[freeze, column], abs=NOISE), (freeze, column)
        assert expected.loc[freeze, "test_acc"] > 0.3  # ten classes: chance would agree with chance
    columns = ["params", "trainable_params", "flops", "freeze_depth", "stages"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
