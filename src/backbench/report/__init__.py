"""From a results folder to its leaderboard: reads what is stored, writes the page and the pictures, in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench import store
from backbench.analysis import ranked, recommendation
from backbench.cache import whole_file, write_text
from backbench.report import notices, page, plots

PAGE = "leaderboard.html"


def build(directory: Path) -> Path:
    """Write `leaderboard.html` and `plots/` from the table, run.json and predictions of a results folder.

    Returns the path of the page. Pictures that can no longer be drawn are removed, so that none is out of date.
    """
    table, run = store.read_table(directory), store.read_run(directory)
    predictions = StoredPredictions(directory, tuple(ranked(table)["cell_id"]))
    counts = notices.counts(run)
    facts = recommendation(
        table,
        predictions,
        predictions.labels,
        val_items=notices.number(counts.get("val")) or None,
        test_items=notices.number(counts.get("test")) or None,
    )
    pictures = plots.draw(table)
    _keep(directory / "plots", pictures)
    write_text(directory / PAGE, page.render(table, run, facts, pictures))
    return directory / PAGE


class StoredPredictions(Mapping[str, NDArray[Any]]):
    """Test probabilities by cell id, read when they are asked for: not all cells fit into memory at once.

    A cell without stored predictions, or with other test items than the first cell, is not in it.
    """

    def __init__(self, directory: Path, cell_ids: tuple[str, ...]) -> None:
        self._directory = directory
        self._cell_ids = cell_ids
        self.labels: NDArray[Any] | None = None
        self._items: NDArray[Any] | None = None
        for cell_id in cell_ids:
            try:
                stored = store.read_predictions(directory, cell_id)
            except FileNotFoundError:
                continue
            self.labels, self._items = stored["test_labels"], stored["test_ids"]
            break

    def __getitem__(self, cell_id: str) -> NDArray[Any]:
        try:
            stored = store.read_predictions(self._directory, cell_id)
        except FileNotFoundError:
            raise KeyError(cell_id) from None
        if self._items is None or not np.array_equal(stored["test_ids"], self._items):
            raise KeyError(cell_id)
        return np.asarray(stored["test_probs"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._cell_ids)

    def __len__(self) -> int:
        return len(self._cell_ids)


def _keep(folder: Path, pictures: tuple[plots.Picture, ...]) -> None:
    for picture in pictures:
        with whole_file(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        write_text(folder / f"{picture.name}.svg", picture.svg)
    for name in set(plots.NAMES) - {picture.name for picture in pictures}:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
