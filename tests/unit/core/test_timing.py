"""Durations as people write them."""

from __future__ import annotations

import pytest

from backbench.core.timing import in_words, seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2d ", 172800)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0s", "0.0h", "1e3s", "3 m", "30min", "٣m "])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1800, "30m"), (90, "90s"), (86400, "1d"), (5400, "90m"), (0.5, "0.5s")]
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
