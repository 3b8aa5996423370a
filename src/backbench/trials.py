"""Trials of cells: what a search looks at before it pays for all of them."""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import numpy as np

from backbench import finetune, metrics, spectrum, transferability
from backbench.activations import frozen_pass
from backbench.backbones import graph
from backbench.cells import Plan
from backbench.clock import Clock
from backbench.events import Finished
from backbench.facts import tried
from backbench.inputs import Source
from backbench.network import features_key, frozen_up_to
from backbench.records import Backbone, Job


def screen(job: Job, backbone: Backbone, cell: Plan, clock: Clock) -> None:
    """Say of each image of train, which here is all of the dataset, whether ridge regression gets it right without it.

    Always by Keras: to convert a network for another engine takes longer than so few images. What is seen is the
    accuracy at the best penalty (`transferability.ridge_right`).
    """
    began = time.perf_counter()
    data, plain = job.dataset, replace(job, engine="keras", precision="float32")
    with clock.phase("building"):
        keras.utils.set_random_seed(cell.seed)
        with graph.computing_in("float32"):
            base = graph.build(backbone, image_size=job.image_size, weights=job.weights, cache=job.cache)
        frozen = frozen_up_to(plain, backbone, base, [], seed=cell.seed)
    with clock.phase("frozen pass") as report:
        key = features_key(plain, backbone, cell, [])
        features, _ = frozen_pass(frozen, job.images(), data.rows, key=key, cache=job.cache, progress=report)
    with clock.phase("scores"):
        rows, classes = np.arange(len(data.ids)), len(data.class_names)
        found = spectrum.decompose(features, rows, scratch=job.cache)
        sums = transferability.class_sums(found, features, data.labels, rows=rows, classes=classes)
        right = transferability.ridge_right(found, data.labels, sums=sums)
    best = right[:, right.mean(axis=0).argmax()].astype(np.float64)
    clock.emit(tried(job, cell, best, seconds=time.perf_counter() - began))


def trained(job: Job, cell: Plan, model: keras.Model, source: Source, *, seconds: float) -> Finished:
    """What a network that was trained for a few epochs makes of val: the tempered log-probability of each class."""
    val = job.dataset.indices("val")
    found = finetune.predict(model, source, val, batch=job.inference_batch)
    return tried(job, cell, metrics.tempered_logs(found, job.dataset.labels[val]), seconds=seconds)
