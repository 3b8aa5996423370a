"""What run.json holds, as typed data that is checked once, where it is read.

Folders of older versions lack some of it. The types are those of the file: its keys are the names of the fields.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from backbench.core import hardware
from backbench.core.cells import PROTOCOL_VERSION, CellKey, planned_cells
from backbench.core.dataset import SPLITS, Dataset
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.results.protocol_text import protocol

# What an option of a sweep may be in JSON.
Option = str | int | float | bool | None


class Item(Struct, frozen=True, rename={"class_name": "class"}):
    """One image, by its id, and its class."""

    id: str
    class_name: str


class Duplicates(Struct, frozen=True):
    """Groups of byte-identical images, and the `surplus` images beyond the first of each."""

    groups: int = 0
    surplus: int = 0
    examples: tuple[tuple[str, ...], ...] = ()


class Copies(Struct, frozen=True):
    """Of two splits: how many `images` of the later one have a copy in the earlier."""

    images: int = 0


class ExactCopies(Copies, frozen=True):
    """The same of byte-identical images, in so many groups; examples are ids by split."""

    groups: int = 0
    examples: tuple[dict[str, tuple[str, ...]], ...] = ()


class NearCopies(Copies, frozen=True):
    """The same of images that look alike, so many of them like one of another class.

    An example has an item under the name of each split, and under `bits` in how many their hashes differ.
    """

    other_class: int = 0
    examples: tuple[dict[str, Item | int], ...] = ()


class NearDuplicates(Struct, frozen=True):
    """Look-alikes by pair of splits (`train/test`), and how many images were too plain to be compared."""

    too_plain: int = 0
    pairs: dict[str, NearCopies] = {}


class Conflicts(Struct, frozen=True):
    """Groups of byte-identical images that do not agree on the class."""

    groups: int = 0
    examples: tuple[tuple[Item, ...], ...] = ()


class Unreadable(Struct, frozen=True):
    """One file that could not be read."""

    id: str
    reason: str


class Health(Struct, frozen=True, kw_only=True):
    """What a reader should know about a dataset (`data.quality`); UNSET is what nobody looked for."""

    images: int = 0
    classes: int = 0
    per_split: dict[str, int] = {}
    per_class: dict[str, dict[str, int]] = {}
    missing_in_val: tuple[str, ...] = ()
    missing_in_test: tuple[str, ...] = ()
    duplicates: Duplicates | UnsetType = UNSET
    straddling: dict[str, ExactCopies] | UnsetType = UNSET
    conflicting_labels: Conflicts | UnsetType = UNSET
    unreadable: tuple[Unreadable, ...] | UnsetType = UNSET
    ignored_files: int = 0
    notes: tuple[str, ...] = ()
    near_duplicates: NearDuplicates | UnsetType = UNSET


class DatasetRecord(Struct, frozen=True, kw_only=True):
    """The items of a sweep; `copies` has the ids of the test items of which train has a copy, by kind."""

    name: str = ""
    source: str = ""
    classes: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    fingerprint: str = ""
    image_size: int | None = None
    health: Health = Health()
    copies: dict[str, tuple[str, ...]] = {}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of items of each split, empty when it was not recorded."""
        return self.counts or self.health.per_split


class JobRecord(Struct, frozen=True):
    """One job that ended: its name, the seconds of its phases, and what it ran on."""

    label: str = ""
    seconds: dict[str, float] = {}
    environment: dict[str, str] = {}


class ForecastRecord(Struct, frozen=True):
    """Seconds that the jobs of the last sweep were expected to take and took; the median factor between the two."""

    jobs: int
    said: float
    taken: float
    median_factor: float


class RunRecord(Struct, frozen=True, kw_only=True):
    """The sweeps into one results folder: what was asked, what it came to, how and on what it was measured.

    `command` has a line for each command that added to the table; `planned` are all cells that were asked for. UNSET is
    what stands there only when a sweep has ended. `other` are keys of another version, which stay in the file until
    then.
    """

    command: str = ""
    request: dict[str, Option] = {}
    resolved: dict[str, str] = {}
    planned: tuple[CellKey, ...] = ()
    images: bool = True
    protocol: dict[str, int | str] = {}
    dataset: DatasetRecord = DatasetRecord()
    environment: dict[str, str] = {}
    git_revision: str | None = None
    started: str = ""
    finished: str | UnsetType = UNSET
    jobs: tuple[JobRecord, ...] | UnsetType = UNSET
    decode_seconds: dict[str, float] | UnsetType = UNSET
    forecast: ForecastRecord | UnsetType = UNSET
    other: dict[str, Any] = {}

    @property
    def protocol_version(self) -> int | str:
        """The protocol that the cells were measured by; this version's where none is named."""
        return self.protocol.get("version", PROTOCOL_VERSION)

    def going_on(self, earlier: RunRecord) -> RunRecord:
        """The same until this sweep has ended: with what stands there of an earlier one."""
        ended = {name: getattr(earlier, name) for name in ("finished", "jobs", "decode_seconds", "forecast", "other")}
        return msgspec.structs.replace(self, **ended)

    def content(self) -> dict[str, Any]:
        """The same as JSON-able content, without the seal."""
        known: dict[str, Any] = msgspec.to_builtins(self)
        return {**known.pop("other"), **known}


# What the store adds.
_SEAL = ("schema", "sha256")


def parse(content: Any) -> RunRecord:
    """The record in JSON content. Raises ValueError with the place where it is none."""
    if not isinstance(content, dict):
        raise ValueError("it is not a mapping")
    names = {*RunRecord.__struct_fields__} - {"other"}
    other = {name: value for name, value in content.items() if name not in names and name not in _SEAL}
    try:
        return msgspec.convert({**{name: content[name] for name in names & set(content)}, "other": other}, RunRecord)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


PACKAGES = (
    "backbench",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "openvino",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "pillow",
)


def record(
    request: Request,
    dataset: Dataset,
    *,
    jobs: Iterable[Job],
    resolved: Mapping[str, str],
    earlier: RunRecord,
) -> RunRecord:
    """The record of a run; commands, plan and start of earlier runs in the same folder are kept."""
    asked = {option.name: getattr(request, option.name) for option in fields(Request)}
    # What `auto` came to here may not be what it comes to elsewhere.
    exact = replace(
        request,
        engine=resolved.get("engine", request.engine),
        precision=resolved.get("precision", request.precision),
    )
    return RunRecord(
        # Every command that added to the table, each once, in order.
        command="\n".join(dict.fromkeys([*earlier.command.splitlines(), command_of(exact)])),
        request={name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
        resolved=dict(resolved),
        planned=tuple(
            dict.fromkeys([*earlier.planned, *(cell.key for job in jobs for cell in planned_cells(job.spec))])
        ),
        # Once private, images stay out of the page until somebody asks for them.
        images=earlier.images if request.images is None else request.images,
        protocol=protocol(request, dataset),
        dataset=DatasetRecord(
            name=dataset.name,
            source=dataset.source,
            classes=dataset.class_names,
            counts={split: len(dataset.indices(split)) for split in SPLITS},
            fingerprint=dataset.fingerprint,
            image_size=dataset.image_size,
            health=msgspec.convert(dataset.health, Health),
            copies={kind: tuple(ids) for kind, ids in dataset.copies.items()},
        ),
        environment=_environment(),
        git_revision=_git_revision(),
        started=earlier.started or now(),
    )


def _environment() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": hardware.cpu(),
        **({"gpu": gpu} if (gpu := hardware.gpu()) else {}),
        "memory": f"{hardware.memory_gib():.0f} GiB",
        **versions,
    }


def _git_revision() -> str | None:
    """Revision of the code that ran, where it ran from a checkout of its own."""
    here = Path(__file__).resolve()
    # Installed below somebody else's checkout, git would answer for that one.
    for question in (("ls-files", "--error-unmatch", here.name), ("describe", "--always", "--dirty", "--abbrev=12")):
        command = ["git", "-C", str(here.parent), *question]
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603  fixed
        except (OSError, subprocess.TimeoutExpired):
            return None
        if found.returncode:
            return None
    return found.stdout.strip()


def now() -> str:
    """This moment, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_of(request: Request) -> str:
    """The command line that makes this request."""
    words = ["backbench", "sweep"]
    for option in fields(Request):
        value = getattr(request, option.name)
        if option.name in ("dataset", "backbones") or (value != option.default and option.name != "fresh"):
            flag = ("--no-" if value is False else "--") + option.name.replace("_", "-")
            words += [flag] if isinstance(value, bool) else [flag, str(value)]
    return shlex.join(words)
