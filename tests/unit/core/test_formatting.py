"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from backbench.core import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.percent(0.7921), "79.2%"),
        (formatting.percent(None), "–"),
        (formatting.points(-0.0004), "0.0"),
        (formatting.points(-0.012), "−1.2"),
        (formatting.magnitude(3_538_984), "3.5 M"),
        (formatting.magnitude(999_999), "1.0 M"),
        (formatting.magnitude(138_357_544), "138 M"),
        (formatting.magnitude(850), "850"),
        (formatting.gflops(610e6), "0.61"),
        (formatting.plain(9.31), "9.3"),
        (formatting.plain(1234.5), "1,234"),
        (formatting.duration(4.2), "4.2 s"),
        (formatting.duration(59.97), "1 min 0 s"),
        (formatting.duration(3900), "1 h 5 min"),
        (formatting.p_value(0.0412), "p\u00a0=\u00a00.041"),
        (formatting.p_value(1.0), "p\u00a0>\u00a00.99"),
        (formatting.interval(0.775, 0.807), "77.5–80.7%"),
        (formatting.interval(None, 0.807), "–"),
        (formatting.listed(["A"]), "A"),
        (formatting.listed(list("ABCDE")), "A, B, C, D and E"),
        (formatting.listed(list("ABCDEF")), "A, B, C, D and 2 more"),
        (formatting.printable("a\x1b[2J\u00a0b\n"), "a?[2J b?"),
        (formatting.for_terminal("−1–2\n"), "-1-2\n"),
    ],
)
def test_formatted_text(shown: str, expected: str) -> None:
    assert shown == expected
