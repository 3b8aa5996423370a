"""A folder of images: `train/ val/ test/` with class folders, `train/ test/`, `train/ val/`, or class folders only."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from backbench.core.dataset import Listing
from backbench.core.errors import RequestError
from backbench.data.digests import Progress
from backbench.data.sources.image_files import Entry, is_image_name, listing_of_files, readable

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass
class _Found:
    """What the walk through a folder has met so far."""

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    extensions: set[str] = field(default_factory=set)
    ignored: int = 0
    strays: int = 0

    def ignore(self, path: str) -> None:
        self.ignored += 1
        self.extensions.add(PurePosixPath(path).suffix.lower() or "no extension")


def open_folder(root: Path, source: str, progress: Progress | None = None) -> Listing:
    """The images below `root`; class names are the union over the splits, sorted.

    Folders inside a class folder belong to that class. Hidden files and files without an image extension are counted
    as ignored; what is called an image but cannot be read is listed with the reason.
    Raises RequestError when there is nothing to work with.
    """
    found = _Found()
    splits = _split_folders(root, source)
    for folder, split in splits or [("", "")]:
        _collect(root, folder, split, found)
    if splits:
        _look_beside(root, {name for name, _ in splits}, found)
    if found.strays:
        found.notes.append(f"image files outside class folders, left out: {found.strays}")
    if not found.entries and not found.unreadable:
        raise RequestError(_nothing_found(source, found))
    return listing_of_files(
        root,
        found.entries,
        name=readable(root.resolve().name) or "folder",
        source=source,
        class_names=sorted(found.classes),
        unreadable=found.unreadable,
        ignored_files=found.ignored,
        notes=found.notes,
        progress=progress,
    )


def _split_folders(root: Path, source: str) -> list[tuple[str, str]]:
    """(folder, split) pairs, or none when the folders are the classes.

    A class may be called `train` too: a folder holds a split only if there are folders in it.
    """
    splits: dict[str, str] = {}
    for entry in _listed(root):
        split = SPLIT_FOLDERS.get(entry.name.lower())
        if split and _is_folder(entry) and any(_is_class(child) for child in _listed(Path(entry.path))):
            if split in splits:
                raise RequestError(
                    f"'{source}' has both '{splits[split]}' and '{entry.name}' for its {split} split: keep one of them"
                )
            splits[split] = entry.name
    if splits and "train" not in splits:
        names = " and ".join(f"'{name}'" for name in splits.values())
        raise RequestError(
            f"'{source}' has {names} but no 'train' folder with class folders: add it, "
            "or put the class folders directly into the dataset's folder to have splits made"
        )
    return [(name, split) for split, name in splits.items()]


def _collect(root: Path, folder: str, split: str, found: _Found) -> None:
    """Each folder in `root/folder` is a class."""
    for entry in _listed(root / folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if not _is_folder(entry):
            _pass_over(entry.name, found)
        elif _is_class(entry):
            try:
                visited, identity = {_identity(root), _identity(root / folder)}, _identity(root / path)
            except OSError as error:  # a folder that may be listed but not entered
                found.unreadable.append((readable(path), error.strerror or str(error)))
                continue
            if identity in visited:
                found.notes.append(f"the symbolic link '{readable(path)}' leads back to a folder above it: left out")
                continue
            # macOS writes decomposed accents, others composed ones: the same class either way.
            class_name = unicodedata.normalize("NFC", readable(entry.name))
            found.classes.add(class_name)
            for file in _files_below(root, path, visited, found):
                if _is_image(file):
                    found.entries.append(Entry(file, class_name, split))
                else:
                    found.ignore(file)


def _files_below(root: Path, folder: str, visited: set[tuple[int, int]], found: _Found) -> Iterator[str]:
    """Paths of all that is not a folder, each folder entered once however many links lead to it."""
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            identity = _identity(root / current)
            children = list(os.scandir(root / current)) if identity not in visited else []
        except OSError as error:
            found.unreadable.append((readable(current), error.strerror or str(error)))
            continue
        visited.add(identity)
        for child in children:
            path = f"{current}/{child.name}"
            if not _is_folder(child):
                yield path
            elif not child.name.startswith("."):
                pending.append(path)


def _look_beside(root: Path, splits: set[str], found: _Found) -> None:
    """Things next to the split folders are not used; folders among them are worth a word."""
    extra = []
    for entry in _listed(root):
        if not _is_folder(entry):
            _pass_over(entry.name, found)
        elif entry.name not in splits and _is_class(entry):
            extra.append(f"'{readable(entry.name)}'")
    if extra:
        found.notes.append(f"folders beside the splits, left out: {', '.join(extra)}")


def _pass_over(name: str, found: _Found) -> None:
    found.ignore(name)
    found.strays += _is_image(name)


def _nothing_found(source: str, found: _Found) -> str:
    layout = "put the images of each class into a folder of its own"
    if not found.ignored:
        return f"'{source}' holds no images: {layout}"
    if found.strays:
        return f"'{source}' has images but no class folders with images: {layout}"
    if ".parquet" in found.extensions or ".arrow" in found.extensions:
        return f"'{source}' holds no images but data files of the datasets library: pass it as hf:{source}"
    kinds = ", ".join(sorted(found.extensions)[:5])
    return (
        f"'{source}' holds no images, only {found.ignored} other file{'s' if found.ignored > 1 else ''} ({kinds}): "
        f"{layout}; .jpg, .png, .webp, .gif, .bmp and .tif are understood, among others"
    )


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name. Raises RequestError when the folder cannot be read."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise RequestError(
            f"the folder '{folder.name}' cannot be read ({error.strerror or error}): check its permissions"
        ) from None


def _is_image(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return is_image_name(name) and not name.startswith(".")


def _is_class(entry: os.DirEntry[str]) -> bool:
    return _is_folder(entry) and not entry.name.startswith(".") and entry.name != "__MACOSX"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode: the same however the folder is reached."""
    info = folder.stat()
    return info.st_dev, info.st_ino
