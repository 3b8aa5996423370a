from __future__ import annotations

import os
from collections.abc import Callable
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


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the reviewed file `snapshots/<name>.txt` beside the test; UPDATE_SNAPSHOTS=1 rewrites it."""

    def check(name: str, text: str) -> None:
        path = request.path.parent / "snapshots" / f"{name}.txt"
        if os.environ.get("UPDATE_SNAPSHOTS") == "1":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run with UPDATE_SNAPSHOTS=1 and review it"
        assert text == path.read_text(encoding="utf-8")

    return check


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside this checkout")
    return folder
