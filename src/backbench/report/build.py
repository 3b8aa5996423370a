"""From a results folder to its leaderboard: reads what is stored, writes the page and the plots, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbench.analysis import Recommendation, recommend
from backbench.core.files import whole_file, write_text
from backbench.report import error_gallery, export_note, loader, terminal
from backbench.results import store, thumbnails

PAGE = store.PAGE


# From ids of items to their pixels [side, side, 3], without the items that are not known.
Decoded = Callable[[Sequence[str]], Mapping[str, NDArray[np.uint8]]]


def write_report(directory: Path, *, images: bool | None = None, decoded: Decoded | None = None) -> Path:
    """Write `leaderboard.html` and `plots/` from what is stored in a results folder.

    `images` is whether the page shows any, by default as run.json says. Those that it shows are stored as thumbnails
    where their `decoded` pixels are at hand, else taken from what was stored before.
    Returns the path of the page. Plots that can no longer be drawn are removed, so that none is out of date.
    """
    # What draws takes a second to import, and `show` has no use for it.
    from backbench.report import page, plots

    found = loader.read(directory)
    facts = _facts(found)
    drawn = plots.draw(found)
    files = {name: content for one in drawn for name, content in one.files.items()}
    _write_plots(directory / "plots", files, names=plots.NAMES)
    images = found.run.images if images is None else images
    looks = error_gallery.gallery(directory, found, facts)
    if decoded:
        thumbnails.keep(directory, decoded(looks.shown) if images else {})
    looks = error_gallery.with_pictures(looks, directory) if images else replace(looks, left_out=True)
    exports = export_note.sentence(directory, found)
    write_text(directory / PAGE, page.render(found, facts, drawn, looks, exports=exports))
    return directory / PAGE


def leaderboard_text(directory: Path, *, width: int | None = None) -> str:
    """The leaderboard of a results folder for a terminal, at most `width` columns wide (default: the terminal's).

    A table alone is enough, as of a reference run. Raises RequestError where there is none.
    """
    table = store.read_table(directory)
    found = loader.read(directory) if (directory / "run.json").exists() else loader.ReportData(table)
    return terminal.show(found.table, width=width, facts=_facts(found), exports=export_note.sentence(directory, found))


def _facts(found: loader.ReportData) -> Recommendation:
    sizes = found.run.dataset.sizes
    return recommend(
        found.table, found.answers, val_items=sizes.get("val") or None, test_items=sizes.get("test") or None
    )


def _write_plots(folder: Path, files: Mapping[str, bytes], *, names: Collection[str]) -> None:
    """Write the files of the plots, and remove those of any other plot of these names."""
    for name, content in files.items():
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(content)
    for name in {f"{name}.{kind}" for name in names for kind in ("png", "svg")} - files.keys():
        (folder / name).unlink(missing_ok=True)
