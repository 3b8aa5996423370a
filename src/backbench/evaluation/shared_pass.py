"""A backbone after its one frozen pass: network, features, kept boundaries and the probe, which all its cells share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.backbones import stages
from backbench.core.backbone import Backbone
from backbench.core.cells import PlannedCell
from backbench.core.events import Phase
from backbench.core.job import Job
from backbench.core.timing import Clock
from backbench.evaluation import eigenbasis, fine_tuning, trainable_part, transferability
from backbench.evaluation.cross_entropy_gpu import where_it_fits
from backbench.evaluation.linear_probe import ProbePath, fit_path
from backbench.features.activation_store import ActivationStore
from backbench.features.engines import keras_engine
from backbench.features.engines.base import EngineReport
from backbench.features.frozen_model import _built, features_key, views_of
from backbench.features.frozen_pass import augmented_pass, frozen_pass, sample


@dataclass(frozen=True)
class Network:
    """What the cells of a job share. `kept` lacks the boundaries for which the disk has no room.

    `body` is what the frozen pass starts from, in float32, since engines do their rounding themselves; `base` is what
    is trained: the same, or its like in bfloat16 where the frozen part stood the check in it.
    """

    backbone: Backbone
    base: keras.Model
    body: keras.Model
    state: list[NDArray[Any]]
    boundaries: dict[int, stages.Boundary]  # by the number of frozen stages
    kept: dict[int, ActivationStore]
    features: NDArray[np.float32]
    path: ProbePath
    scores: transferability.Scores | None  # where there is a fully frozen cell to go with them
    start: trainable_part.HeadInit
    ran: EngineReport
    pass_seconds: float
    probe_seconds: float
    # What was last trained of it, by the number of frozen stages, with its compiled steps.
    tails: dict[int, keras.Model] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """What `base` computes in."""
        return "float32" if self.base is self.body else "bfloat16"


def pass_through(job: Job, backbone: Backbone, wanted: list[PlannedCell], clock: Clock) -> Network:
    """Build a backbone, send all images through it once and fit the probe.

    Raises FloatingPointError where activations at a boundary cannot be kept, or features hold NaN.
    """
    data, pixels = job.dataset, job.images()
    body, boundaries, kept, frozen = _built(job, backbone, wanted, clock)
    train, views = data.indices("train"), views_of(job)
    before = clock.spent(Phase.FROZEN_PASS)
    with clock.phase(Phase.FROZEN_PASS) as report:
        features, passed = frozen_pass(
            frozen,
            pixels,
            data.rows,
            key=features_key(job, backbone, wanted[0], kept),
            cache=job.cache,
            kept=list(kept.values()),
            progress=report,
        )
        if views > 1:  # by the same images, should the cache have had the features
            frozen.settle(sample(pixels, data.rows))
    clock.seconds[Phase.FROZEN_PASS] = before + passed  # what it took, should the cache have had it
    clock.seconds[Phase.ENGINE] = clock.spent(Phase.ENGINE) + frozen.ready_seconds
    probed, labels, rows = features, data.labels, train
    if views > 1:
        with clock.phase(Phase.AUGMENTED_VIEWS) as report:
            probed = augmented_pass(
                frozen,
                pixels,
                data.rows,
                features=features,
                train=train,
                views=views,
                flips=data.flips,
                folder=job.cache / "activations",
                kept=list(kept.values()),
                progress=report,
            )
        labels = np.concatenate([labels, np.tile(labels[train], views - 1)])
        rows = np.concatenate([train, np.arange(len(features), len(probed))])
    before, classes, scores = clock.spent(Phase.PROBE), len(data.class_names), None
    with clock.phase(Phase.PROBE) as report:
        of_train = eigenbasis.decompose(features, train, scratch=job.cache) if views == 1 else None
        path = fit_path(
            probed,
            labels,
            train=rows,
            val=data.indices("val"),
            classes=classes,
            spectrum=of_train,
            likelihood=where_it_fits,
            scratch=job.cache,
            progress=report,
        )
    if any(cell.frozen == cell.stages for cell in wanted):
        with clock.phase(Phase.SCORES):
            of_train = of_train or eigenbasis.decompose(features, train, scratch=job.cache)
            scores = transferability.score(of_train, features, data.labels, rows=train, classes=classes)
    base = body
    # What is too coarse for the frozen part is so for the rest. Of cells that train nothing only Keras's own need it.
    used = job.engine == "keras" or any(cell.frozen < cell.stages for cell in wanted)
    if used and job.precision == frozen.ran.precision == "bfloat16":
        with clock.phase(Phase.BUILDING):
            base = keras_engine.in_bfloat16(body)
        own = stages.boundaries(base, [boundary.stride for boundary in boundaries.values()])
        boundaries = dict(zip(boundaries, own, strict=True))
    if job.pretrained:
        head = path.heads[path.gentle(len(data.indices("val")))]
        start = trainable_part.start_from(head, features, train)
    else:
        start = trainable_part.start_at_random(features.shape[1], len(data.class_names), seed=wanted[0].seed)
    return Network(
        backbone,
        base,
        body,
        fine_tuning.state_of(base),
        boundaries,
        {depth: boundary for depth, boundary in kept.items() if boundary.files},
        features,
        path,
        scores,
        start,
        frozen.ran,
        passed,
        clock.spent(Phase.PROBE) - before,
    )
