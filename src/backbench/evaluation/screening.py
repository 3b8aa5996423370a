"""Screening: what a search looks at before it pays for all images of a backbone."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from backbench.core.cells import cells_to_measure
from backbench.core.events import CellFinished, Phase
from backbench.core.job import Resources, ScreenBackbone
from backbench.core.timing import Clock
from backbench.evaluation import eigenbasis, transferability
from backbench.evaluation.cell_results import tried
from backbench.features.frozen_model import build_frozen, features_key
from backbench.features.frozen_pass import frozen_pass


def screen(task: ScreenBackbone, resources: Resources, clock: Clock) -> CellFinished:
    """Say of each image of train, which here is all of the dataset, whether ridge regression gets it right without it.

    Always by Keras: to convert a network for another engine takes longer than so few images. What counts is the
    accuracy at the best penalty (`transferability.ridge_right`).
    """
    began = time.perf_counter()
    cell = next(cell for cell in cells_to_measure(task.spec, task.cells))
    spec = replace(task.spec, engine="keras", precision="float32", freeze=("all",))
    data = spec.dataset
    with clock.phase(Phase.BUILDING):
        frozen = build_frozen(spec, resources, [cell])
    with clock.phase(Phase.FROZEN_PASS) as report:
        key = features_key(spec, resources, seed=cell.seed, stores=())
        features, _ = frozen_pass(
            frozen.model, resources.images(), data.rows, key=key, cache=resources.cache, progress=report
        )
    with clock.phase(Phase.SCORES):
        rows, classes = np.arange(len(data.ids)), len(data.class_names)
        basis = eigenbasis.decompose(features, rows, scratch=resources.cache)
        sums = transferability.class_sums(basis, features, data.labels, rows=rows, classes=classes)
        right = transferability.ridge_right(basis, data.labels, sums=sums)
    best = right[:, right.mean(axis=0).argmax()].astype(np.float64)
    return tried(task.spec, cell, best, effort=task.screening, seconds=time.perf_counter() - began)
