"""From a results folder to its leaderboard: reads what is stored, writes the page and the pictures, in seconds."""

from __future__ import annotations

from pathlib import Path

from backbench import store
from backbench.analysis import ranked, recommendation
from backbench.cache import whole_file, write_text
from backbench.report import notices, page, plots, stored
from backbench.report.drawing import Picture

PAGE = "leaderboard.html"


def build(directory: Path) -> Path:
    """Write `leaderboard.html` and `plots/` from the table, run.json and predictions of a results folder.

    Returns the path of the page. Pictures that can no longer be drawn are removed, so that none is out of date.
    """
    table, run = store.read_table(directory), store.read_run(directory)
    answers = stored.answers(directory, ranked(table)["cell_id"])
    counts = notices.counts(run)
    facts = recommendation(
        table,
        answers,
        val_items=notices.number(counts.get("val")) or None,
        test_items=notices.number(counts.get("test")) or None,
    )
    pictures = plots.draw(table, answers)
    _keep(directory / "plots", pictures)
    write_text(directory / PAGE, page.render(table, run, facts, pictures))
    return directory / PAGE


def _keep(folder: Path, pictures: tuple[Picture, ...]) -> None:
    for picture in pictures:
        with whole_file(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        write_text(folder / f"{picture.name}.svg", picture.svg)
    for name in set(plots.NAMES) - {picture.name for picture in pictures}:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
