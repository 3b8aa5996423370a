"""From a results folder to its leaderboard: reads what is stored, writes the page and the pictures, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench import doctor, thumbnails
from backbench.analysis import recommendation
from backbench.cache import whole_file, write_text
from backbench.report import gallery, notices, page, pictures, stored
from backbench.report.drawing import Picture

PAGE = doctor.PAGE


# From ids of items to their pixels [side, side, 3], without the items that are not known.
Decoded = Callable[[Sequence[str]], Mapping[str, NDArray[np.uint8]]]


def build(directory: Path, *, images: bool | None = None, decoded: Decoded | None = None) -> Path:
    """Write `leaderboard.html` and `plots/` from what is stored in a results folder.

    `images` is whether the page shows any, by default as run.json says. Those that it shows are stored as thumbnails
    where their `decoded` pixels are at hand, else taken from what was stored before.
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
    images = found.run.get("images", True) is not False if images is None else images
    looks = gallery.gallery(directory, found, facts)
    if decoded:
        thumbnails.keep(directory, decoded(looks.shown) if images else {})
    looks = gallery.with_pictures(looks, directory) if images else replace(looks, left_out=True)
    write_text(directory / PAGE, page.render(found, facts, drawn, looks))
    return directory / PAGE


def _keep(folder: Path, drawn: tuple[Picture, ...]) -> None:
    for picture in drawn:
        with whole_file(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        write_text(folder / f"{picture.name}.svg", picture.svg)
    for name in set(pictures.NAMES) - {picture.name for picture in drawn}:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
