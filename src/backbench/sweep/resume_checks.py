"""What must hold before a sweep writes into a results folder; each raises RequestError, and none leaves a trace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from backbench.core.cells import PROTOCOL_VERSION, planned_cells
from backbench.core.dataset import SPLITS, Dataset
from backbench.core.errors import RequestError
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.results import integrity
from backbench.results.run_record import DatasetRecord, RunRecord

# What all cells of one table share; the columns do not tell it apart.
RECIPE = ("resize", "augment", "views", "epochs", "batch_size", "engine", "precision", "backend")

# What the identities of all cells of one table share, beside the recipe of each kind of cell.
MADE_WITH = ("protocol", "dataset", "resize", "engine", "precision", "backend")


def writable(directory: Path) -> None:
    """The folder and those in it to which sweeps write are there and may be written, or can be made."""
    for folder in (directory, *(directory / name for name in (*integrity.FOLDERS, "logs"))):
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        reason = "no permission" if place.is_dir() else f"{place} is not a folder"
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise RequestError(f"cannot write to {folder} ({reason}): choose another folder with --out")


def same_recipe(directory: Path, earlier: RunRecord, request: Request, resolved: Mapping[str, str]) -> None:
    """Cells of one table differ in what its columns say, and in nothing else."""
    if earlier.protocol_version != PROTOCOL_VERSION:
        raise RequestError(
            f"{directory} holds results of protocol {earlier.protocol_version}, whose scores mean something else"
            f" than those of protocol {PROTOCOL_VERSION}: choose another folder with --out, or start over with --fresh"
        )
    held = {**earlier.request, **earlier.resolved}
    for name in RECIPE:
        asked = resolved.get(name, getattr(request, name, None))
        if name in held and held[name] != asked:
            option = "KERAS_BACKEND" if name == "backend" else "--" + name.replace("_", "-")
            raise RequestError(
                f"{directory} holds results made with {option} {_said(held[name])}, not {_said(asked)}, which one table"
                " cannot mix:"
                " choose another folder with --out, or start over with --fresh"
            )


def same_makers(directory: Path, held: Iterable[Mapping[str, Any]], jobs: Iterable[Job]) -> None:
    """Where run.json is damaged, the stored cells tell by their identities whether this command can have made them."""
    known: dict[tuple[Any, ...], Any] = {}
    planned = [cell.identity for job in jobs for cell in planned_cells(job.spec) if not cell.impossible]
    for identity in (*planned, *held):
        facts: dict[tuple[Any, ...], Any] = {(name,): identity.get(name) for name in MADE_WITH}
        kind = identity.get("weights") == "imagenet", identity.get("freeze") in ("all", "none") and identity["freeze"]
        facts["recipe", *kind] = identity.get("recipe")
        for fact, value in facts.items():
            if known.setdefault(fact, value) != value:
                raise RequestError(
                    f"{directory / 'run.json'} is damaged, and this command is not the one that made the cells beside"
                    f" it (another {fact[0]}): run that one, choose another folder with --out, or start over with"
                    " --fresh"
                )


def _said(value: Any) -> str:
    return "left out" if value is None else str(value)


def same_dataset(directory: Path, earlier: RunRecord, dataset: Dataset) -> None:
    """Cells of one table are measured on the same items."""
    held = earlier.dataset
    if earlier != RunRecord() and held.fingerprint != dataset.fingerprint:
        same = held.source == dataset.source
        what = (
            f"an earlier state or another selection of this dataset ({_difference(held, dataset)})"
            if same
            else f"the dataset {held.source}"
        )
        raise RequestError(
            f"{directory} holds results of {what}: choose another folder with --out, or start over with --fresh"
        )


def _difference(held: DatasetRecord, dataset: Dataset) -> str:
    """What became of a dataset, as far as numbers of images tell."""
    then, now = held.counts, [len(dataset.indices(split)) for split in SPLITS]
    if [then.get(split) for split in SPLITS] == now:
        return "as many images in each split, but not the same"
    unreadable = len(dataset.health.get("unreadable", ()))
    return (
        f"then {', '.join(f'{then.get(split)} {split}' for split in SPLITS)} images, now {', '.join(map(str, now))}"
        + (f", and {unreadable} that cannot be read" if unreadable else "")
    )
