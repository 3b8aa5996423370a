"""What run.json says of a run: the request, the protocol in words, the data, the machine, the revision of the code."""

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

from backbench.analysis.planned import PLACE
from backbench.core import hardware
from backbench.core.cells import PROTOCOL_VERSION, empty_row, planned_cells
from backbench.core.dataset import SPLITS, Dataset
from backbench.core.job import Job
from backbench.core.request import Request

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
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a run; commands, plan and start of earlier runs in the same folder are kept."""
    counts = {split: len(dataset.indices(split)) for split in SPLITS}
    asked = {option.name: getattr(request, option.name) for option in fields(Request)}
    # What `auto` came to here may not be what it comes to elsewhere.
    exact = replace(
        request,
        engine=resolved.get("engine", request.engine),
        precision=resolved.get("precision", request.precision),
    )
    return {
        # Every command that added to the table, each once, in order.
        "command": "\n".join(dict.fromkeys([*earlier.get("command", "").splitlines(), command_of(exact)])),
        "request": {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()},
        "resolved": dict(resolved),
        "planned": _planned(jobs, earlier),
        # Once private, images stay out of the page until somebody asks for them.
        "images": earlier.get("images", True) if request.images is None else request.images,
        "protocol": _protocol(request, dataset),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "classes": list(dataset.class_names),
            "counts": counts,
            "fingerprint": dataset.fingerprint,
            "image_size": dataset.image_size,
            "health": dict(dataset.health),
            "copies": {kind: list(ids) for kind, ids in dataset.copies.items()},
        },
        "environment": _environment(),
        "git_revision": _git_revision(),
        "started": earlier.get("started") or now(),
    }


def _planned(jobs: Iterable[Job], earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The places in the table of all cells that the sweeps into this folder were to measure, each once."""
    rows = (empty_row(job, cell) for job in jobs for cell in planned_cells(job))
    places = [*earlier.get("planned", []), *({name: row[name] for name in PLACE} for row in rows)]
    return list({tuple(place.values()): place for place in places}.values())


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


def _protocol(request: Request, dataset: Dataset) -> dict[str, Any]:
    """What was done with the data; `PROTOCOL_VERSION` is its number."""
    # What was left to the defaults is in every cell's identity; here it has no number that could become wrong.
    epochs = f"at most {request.epochs} epochs" if request.epochs else "at most the default number of epochs"
    recipe = f"AdamW on smoothed labels, warm-up and cosine, {epochs} in batches of {request.batch_size}"
    return {
        "version": PROTOCOL_VERSION,
        "splits": "Published splits are used as published; missing ones are made stratified, by content digest, so that"
        " byte-identical images never straddle two splits that were made.",
        "choices": "Every choice (regularisation, learning rate, epoch, rank) is made on val, by the selection score;"
        " test is evaluated once per cell.",
        "images": f"RGB, the {'whole image' if request.resize == 'stretch' else 'centre square'} resized to the input"
        " size (bilinear, antialiased), then the family's own preprocess_input.",
        "frozen cell": "Global average pooling, features standardised on train, logistic regression with L2: up to"
        " twelve strengths from strong to weak, each solved to convergence, until the best on val lies three behind.",
        "fine-tuned cell": "Everything after the frozen stages, and the head, are trained on activations kept from the"
        " one frozen pass (on the pixels where nothing is frozen), starting at a solution of the probe; batch norm and"
        " dropout stay in inference mode (with random weights batch norm trains as usual). Several learning rates race"
        f" from the same start: {recipe}, early stopping; the best rate and its best epoch on val are kept.",
        "scratch cell": f"A small CNN trained from pixels at one learning rate: {recipe}, early stopping, the best"
        " epoch on val kept.",
        "augmentation": _augmentation(request, flips=dataset.flips),
        "transferability": "Scores of the pooled features of train alone, stored with the fully frozen cell:"
        " leave-one-out accuracy of ridge regression and of the nearest neighbours by cosine, LogME and the shrunk"
        " H-score; all but the neighbours on features standardised on train. No choice is made by them.",
        "selection score": "The probability given to the right class on val: its geometric mean over the images after"
        " one temperature is fitted, from 0 to 1, higher is better.",
        "gap": "Accuracy on train minus accuracy on test, both after training, without augmentation.",
        "interval": "95 % Wilson score interval over the test items.",
        "cost": "Measured on backbone and head together: latency is the median at batch 1, throughput the best of a few"
        " batch sizes, memory the peak of a fresh process that classifies one image; FLOPs count a multiply-add twice.",
    }


def _augmentation(request: Request, *, flips: bool) -> str:
    if request.augment == "none":
        return "Training images are not augmented."
    changed = "shifted and flipped" if flips else "shifted"
    drawn = f"{changed} anew in every batch where training starts at the pixels"
    if request.augment is None:
        return f"Training images are {drawn}, and not augmented where stages are frozen."
    return (
        f"Training images are {drawn}; where stages are frozen, there are {request.views} fixed versions of each,"
        " itself among them: the probe is fitted on all, training draws one."
    )
