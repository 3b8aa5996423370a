from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BACKBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def grocery() -> Path:
    """Real photos of 34 kinds of fruit and vegetables, split into train, val and test."""
    return _shared("data/grocery")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Two small genuine weight files under the names that Keras looks for."""
    return _shared("weights")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside this checkout")
    return folder
