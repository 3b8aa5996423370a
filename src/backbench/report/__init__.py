"""From a results folder to its leaderboard: reads what is stored, writes the page and the pictures, in seconds."""

from __future__ import annotations

from pathlib import Path

from backbench.analysis import recommendation
from backbench.cache import whole_file, write_text
from backbench.report import notices, page, pictures, stored
from backbench.report.drawing import Picture

PAGE = "leaderboard.html"


def build(directory: Path) -> Path:
    """Write `leaderboard.html` and `plots/` from what is stored in a results folder.

    Returns the path of the page. Pictures that can no longer be drawn are removed, so that none is out of date.
    """
    found = stored.read(directory)
    counts = notices.counts(found.run)
    facts = recommendation(
        found.table,
        found.answers,
        val_items=notices.number(counts.get("val")) or None,
        test_items=notices.number(counts.get("test")) or None,
    )
    drawn = pictures.draw(found)
    _keep(directory / "plots", drawn)
    write_text(directory / PAGE, page.render(found, facts, drawn))
    return directory / PAGE


def _keep(folder: Path, drawn: tuple[Picture, ...]) -> None:
    for picture in drawn:
        with whole_file(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        write_text(folder / f"{picture.name}.svg", picture.svg)
    for name in set(pictures.NAMES) - {picture.name for picture in drawn}:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
