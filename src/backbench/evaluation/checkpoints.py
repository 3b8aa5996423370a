"""Trained weights on disk: all of a cell's network that no file of pretrained weights holds. No pickle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from backbench.backbones import stages
from backbench.core.cells import PlannedCell
from backbench.core.events import Message
from backbench.core.job import JobSpec, Resources
from backbench.core.timing import Clock
from backbench.evaluation.linear_probe import Head

_HEAD = ("weights", "bias")  # as in the file of a head alone


def save(path: Path, model: keras.Model, *, after: stages.Boundary | None = None, head: Head | None = None) -> None:
    """Write the weights of a network, or only of what comes after a boundary, and the head on its features.

    Weights are named by their position in `model.weights`: names of layers depend on what was built before.
    Raises OSError when the file cannot be written.
    """
    own = None if after is None else {id(variable) for variable in stages.rest(model, after).weights}
    arrays: dict[str, Any] = {
        f"{position:05d}": keras.ops.convert_to_numpy(variable)
        for position, variable in enumerate(model.weights)
        if own is None or id(variable) in own
    }
    if head:
        arrays |= dict(zip(_HEAD, (head.weights, head.bias), strict=True))
    np.savez(path, allow_pickle=False, **arrays)


def load(path: Path, model: keras.Model) -> Head | None:
    """Put what `save` has written into the same network, freshly built; the head, where there is one.

    The file of a probe's head is one without weights of the network.
    Raises ValueError for weights of another network, OSError for a file that cannot be read.
    """
    with np.load(path, allow_pickle=False) as stored:
        for name in stored.files:
            if name not in _HEAD:
                values = stored[name]
                variable = model.weights[int(name)] if int(name) < len(model.weights) else None
                if variable is None or tuple(variable.shape) != values.shape:
                    raise ValueError(f"{path.name} holds weights of another network than {model.name}")
                variable.assign(values)
        return Head(*(stored[name] for name in _HEAD)) if _HEAD[0] in stored.files else None


def keep_weights(
    spec: JobSpec,
    resources: Resources,
    cell: PlannedCell,
    network: keras.Model,
    clock: Clock,
    *,
    after: stages.Boundary | None = None,
    head: Head | None = None,
) -> Path | None:
    """Trained weights in a file of their own; a disk that is full costs the weights, not the cell."""
    if resources.drafts is None:
        return None
    draft = resources.drafts / f".{cell.cell_id}.npz"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        save(draft, network, after=after, head=head)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        why = error.strerror or error
        clock.emit(Message(f"{spec.label} @ {cell.freeze}: its trained weights could not be kept for export ({why})"))
        return None
    return draft
