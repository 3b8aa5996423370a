"""Trials of cells: what a search looks at before it pays for all of them."""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import numpy as np

from backbench.analysis import metrics
from backbench.backbones import graph
from backbench.core.backbone import Backbone
from backbench.core.cells import PlannedCell
from backbench.core.events import CellFinished, Phase
from backbench.core.job import Job
from backbench.core.timing import Clock
from backbench.evaluation import eigenbasis, fine_tuning, transferability
from backbench.evaluation.batches import Batches
from backbench.evaluation.cell_results import tried
from backbench.features.frozen_model import features_key, frozen_up_to
from backbench.features.frozen_pass import frozen_pass


def screen(job: Job, backbone: Backbone, cell: PlannedCell, clock: Clock) -> None:
    """Say of each image of train, which here is all of the dataset, whether ridge regression gets it right without it.

    Always by Keras: to convert a network for another engine takes longer than so few images. What is seen is the
    accuracy at the best penalty (`transferability.ridge_right`).
    """
    began = time.perf_counter()
    data, plain = job.dataset, replace(job, engine="keras", precision="float32")
    with clock.phase(Phase.BUILDING):
        keras.utils.set_random_seed(cell.seed)
        with graph.computing_in("float32"):
            base = graph.build(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        frozen = frozen_up_to(plain, backbone, base, [], seed=cell.seed)
    with clock.phase(Phase.FROZEN_PASS) as report:
        key = features_key(plain, backbone, cell, [])
        features, _ = frozen_pass(frozen, job.images(), data.rows, key=key, cache=job.cache, progress=report)
    with clock.phase(Phase.SCORES):
        rows, classes = np.arange(len(data.ids)), len(data.class_names)
        found = eigenbasis.decompose(features, rows, scratch=job.cache)
        sums = transferability.class_sums(found, features, data.labels, rows=rows, classes=classes)
        right = transferability.ridge_right(found, data.labels, sums=sums)
    best = right[:, right.mean(axis=0).argmax()].astype(np.float64)
    clock.emit(tried(job, cell, best, seconds=time.perf_counter() - began))


def trained(job: Job, cell: PlannedCell, model: keras.Model, source: Batches, *, seconds: float) -> CellFinished:
    """What a network that was trained for a few epochs makes of val: the tempered log-probability of each class."""
    val = job.dataset.indices("val")
    found = fine_tuning.predict(model, source, val, batch=job.inference_batch)
    return tried(job, cell, metrics.tempered_logs(found, job.dataset.labels[val]), seconds=seconds)
