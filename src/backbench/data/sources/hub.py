"""Image datasets of the Hugging Face hub, or local directories of the same shape, through the `datasets` library."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core.cache import cache_root
from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.data.digests import Progress, digest_all
from backbench.data.sources.hub_columns import find_image_column, find_label_column, name_classes
from backbench.data.sources.image_files import read_image

FOOD101 = "ethz/food101"
# The parquet files of Food-101 as its hub repository held them when this was written: 75,750 train and 25,250
# validation images. The same commit is pinned by the Massive Text Embedding Benchmark (MTEB), Food101Classification.
FOOD101_REVISION = "e06acf2a88084f04bce4d4a525165d68e0a36c38"

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

HUB_TIMEOUT = 5.0  # seconds for the one question whether the hub is there


@dataclass(frozen=True)
class HubImages:
    """Images in the rows of Arrow tables, which stay on disk and are pickled by the names of their files.

    A row may name a file in place of its bytes. Rows are somebody's text: only files below `roots` are read.
    """

    tables: tuple[Any, ...]
    column: str
    places: NDArray[np.int64]
    roots: tuple[Path, ...]

    def encoded(self, index: int) -> bytes:
        """Bytes of the image. Raises OSError when the row has none or names a file that cannot be read."""
        table, row = self.places[index].tolist()
        image = self.tables[table][row][self.column]
        if image is None:
            raise OSError("the row holds no image")
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        if not image["path"]:
            raise OSError("the row holds no image")
        path = Path(os.path.normpath(image["path"]))
        if not any(path.is_relative_to(root) for root in self.roots):
            raise OSError("the row names a file that does not belong to the dataset")
        return read_image(path)


def open_food(progress: Progress | None = None) -> Listing:
    """Food-101 at a pinned revision: 101 classes, published train split; the published validation split tests."""
    return open_hub(FOOD101, name="food", source="food", revision=FOOD101_REVISION, progress=progress)


def open_hub(
    dataset: str,
    *,
    name: str,
    source: str,
    revision: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    progress: Progress | None = None,
) -> Listing:
    """Any image-classification dataset of the hub by its id, or a local directory of one.

    Images without a label (None or -1) are left out, with a note: such a split cannot test anything.
    Raises RequestError when the dataset cannot be had, or its columns are not clear.
    """
    import datasets as hub_datasets

    with _quiet(progress_bars=not Path(dataset).is_dir()):
        splits = _load(dataset, revision)
        features = next(iter(splits.values())).features
        images = find_image_column(features, image_column, dataset)
        labelled = find_label_column(features, label_column, dataset)
        columns = [table.data.column(labelled).to_pylist() for table in splits.values()]
        class_names, labels = name_classes(features[labelled], columns, column=labelled, dataset=dataset)
        tables = tuple(
            table.select_columns([images]).cast_column(images, hub_datasets.Image(decode=False))
            for table in splits.values()
        )
    declared = len(getattr(features[labelled], "names", None) or class_names)
    notes = [] if declared == len(class_names) else [f"declared classes without images: {declared - len(class_names)}"]
    published = _published(list(splits), labels, notes)
    items = sorted(
        (f"{split}/{row:07d}", table, row, label)
        for table, split in enumerate(splits)
        for row, label in enumerate(labels[table])
        if label >= 0 and split in published
    )
    places = np.array([(table, row) for _, table, row, _ in items], dtype=np.int64).reshape(-1, 2)
    roots = _roots(dataset)
    everything = HubImages(tables, images, places, roots)
    digests, failures = digest_all(
        len(items), lambda index: hashlib.sha256(everything.encoded(index)).hexdigest(), progress
    )
    kept = [index for index in range(len(items)) if index not in failures]
    order = list(splits)
    return Listing(
        name=name,
        source=source,
        class_names=class_names,
        ids=tuple(items[index][0] for index in kept),
        labels=np.array([items[index][3] for index in kept], dtype=np.int64),
        published=np.array([published[order[items[index][1]]] for index in kept], dtype="<U5"),
        digests=tuple(digests[index] for index in kept),
        images=HubImages(tables, images, places[kept], roots),
        unreadable=tuple((items[index][0], reason) for index, reason in failures.items()),
        notes=tuple(notes),
    )


def _published(splits: list[str], labels: list[list[int]], notes: list[str]) -> dict[str, str]:
    """The split each of the hub's splits stands for ('' when none of them is known by name); adds to the notes."""
    usable = []
    for split, of_split in zip(splits, labels, strict=True):
        hidden = sum(label < 0 for label in of_split)
        if hidden == len(of_split):
            notes.append(f"split '{split}' has no labels: left out")
            continue
        if hidden:
            notes.append(f"images of split '{split}' without a label, left out: {hidden}")
        usable.append(split)
    known = {split: SPLIT_NAMES[split.lower()] for split in usable if split.lower() in SPLIT_NAMES}
    if not known:
        return dict.fromkeys(usable, "")
    if len(set(known.values())) < len(known):
        raise RequestError(f"several splits stand for the same one: {', '.join(known)}; keep one of each")
    notes += [
        f"split '{split}' is neither train, validation nor test: left out" for split in usable if split not in known
    ]
    return known


def _load(dataset: str, revision: str | None) -> Any:
    """All splits by name, from the local directory, the hub, or what earlier runs left in the library's cache."""
    import datasets as hub_datasets

    local = Path(dataset).is_dir()
    unreachable = "" if local else _ask_hub(dataset, revision)
    try:
        with _offline(bool(unreachable)):
            path = str(Path(dataset).absolute()) if local else dataset
            splits = hub_datasets.load_dataset(path, cache_dir=_cache(), revision=None if local else revision)
    except Exception as error:  # the library raises what its many backends raise
        if unreachable:
            raise RequestError(_no_hub(dataset, unreachable)) from None
        where = "the directory" if local else "the hub dataset"
        raise RequestError(
            f"{where} '{dataset}' cannot be loaded ({_one_line(error)}): "
            "it must be an image dataset that datasets.load_dataset reads without further arguments"
        ) from None
    splits = {split: table for split, table in splits.items() if len(table)}
    if not splits:
        raise RequestError(f"'{dataset}' holds no rows: choose a dataset with images and labels")
    if unreachable and revision and not _is_revision(splits, revision):
        raise RequestError(_no_hub(dataset, f"{unreachable}; the cache holds another revision"))
    return splits


def _cache() -> str | None:
    """Whoever chose a place for the cache wants the converted dataset there too; else the library's own."""
    return str(cache_root() / "datasets") if os.environ.get("BACKBENCH_CACHE") else None


def _roots(dataset: str) -> tuple[Path, ...]:
    """Where files of a dataset may lie: its directory, if it is one, and where the library fetches and unpacks."""
    import datasets.config
    import huggingface_hub.constants

    config, hub = datasets.config, huggingface_hub.constants
    kept = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, hub.HF_HUB_CACHE, _cache())
    own = (Path(dataset), Path(dataset).resolve()) if Path(dataset).is_dir() else ()
    return tuple(Path(os.path.normpath(Path(place).absolute())) for place in (*own, *filter(None, kept)))


def _ask_hub(dataset: str, revision: str | None) -> str:
    """Why the hub cannot be reached, or nothing. Raises RequestError when it answers that there is no such dataset.

    One request without the library's retries, which would take half a minute to say the same.
    """
    from huggingface_hub import HfApi, errors

    if os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE"):
        return "offline mode is set"
    try:
        HfApi().dataset_info(dataset, revision=revision, timeout=HUB_TIMEOUT)
    except errors.GatedRepoError:
        raise RequestError(
            f"the hub dataset '{dataset}' is gated: accept its terms on its page, then log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise RequestError(f"the hub dataset '{dataset}' has no revision {revision} any more") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise RequestError(
            f"unknown dataset: the hub has no '{dataset}', or it is private, and there is no such local directory: "
            "check the spelling of hf:<owner>/<name>, or log in with `hf auth login`"
        ) from None
    except Exception as error:  # whatever the HTTP client of the day raises
        return _one_line(error)
    return ""


def _no_hub(dataset: str, reason: str) -> str:
    archive = ", or pass the folder of the unpacked food-101 archive (images/, meta/)" if dataset == FOOD101 else ""
    return (
        f"the hub dataset '{dataset}' cannot be fetched, the Hugging Face hub is unreachable ({reason}): "
        f"run `backbench fetch` where there is a network{archive}, or pass a folder of images as the dataset"
    )


def _is_revision(splits: dict[str, Any], revision: str) -> bool:
    return all(revision in Path(file["filename"]).parts for table in splits.values() for file in table.cache_files)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """The library answers from its cache alone, at once."""
    import datasets.config
    import huggingface_hub.constants

    modules: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = wanted or module.HF_HUB_OFFLINE
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


@contextmanager
def _quiet(*, progress_bars: bool) -> Iterator[None]:
    """No chatter from the library; its bars only for downloads, and only where someone watches."""
    import datasets as hub_datasets
    from datasets.utils import logging

    level, barred = logging.get_verbosity(), hub_datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    if not (progress_bars and sys.stderr.isatty()):
        hub_datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if not barred:
            hub_datasets.enable_progress_bars()
