"""From a results folder to its leaderboard: reads what is stored, writes the page and the pictures, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench import store, thumbnails
from backbench.analysis import ranked, recommendation
from backbench.cache import whole_file, write_text
from backbench.report import gallery, notices, page, plots, stored
from backbench.report.drawing import Picture

PAGE = "leaderboard.html"

# From ids of items to their pixels [side, side, 3], without the items that are not known.
Decoded = Callable[[Sequence[str]], Mapping[str, NDArray[np.uint8]]]


def build(directory: Path, *, images: bool | None = None, decoded: Decoded | None = None) -> Path:
    """Write `leaderboard.html` and `plots/` from the table, run.json and predictions of a results folder.

    `images` is whether the page shows any, by default as run.json says. Those that it shows are stored as thumbnails
    where their `decoded` pixels are at hand, else taken from what was stored before.
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
    images = run.get("images", True) is not False if images is None else images
    looks = gallery.gallery(directory, table, run, facts, answers)
    if decoded:
        thumbnails.keep(directory, decoded(looks.shown) if images else {})
    looks = gallery.with_pictures(looks, directory) if images else replace(looks, left_out=True)
    write_text(directory / PAGE, page.render(table, run, facts, pictures, looks))
    return directory / PAGE


def _keep(folder: Path, pictures: tuple[Picture, ...]) -> None:
    for picture in pictures:
        with whole_file(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        write_text(folder / f"{picture.name}.svg", picture.svg)
    for name in set(plots.NAMES) - {picture.name for picture in pictures}:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
