"""What all cells of one network share: its frozen pass, the linear probe on the features, and where training starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from backbench.backbones import graph, stages
from backbench.core.cells import PlannedCell, augment_of
from backbench.core.events import Phase
from backbench.core.job import JobSpec, Resources
from backbench.core.timing import Clock
from backbench.evaluation import eigenbasis, fine_tuning, inference_cost, trainable_part, transferability
from backbench.evaluation.batches import Batches, PixelBatches, RecomputedActivationBatches, StoredActivationBatches
from backbench.evaluation.cross_entropy_gpu import where_it_fits
from backbench.evaluation.linear_probe import ProbePath, fit_path
from backbench.evaluation.trainable_part import TrainablePart
from backbench.features.engines import keras_engine
from backbench.features.frozen_model import FrozenNetwork, build_frozen, features_key, frozen_up_to, views_of
from backbench.features.frozen_pass import augmented_pass, frozen_pass, sample

Features = NDArray[np.float32]


@dataclass(frozen=True)
class SharedPass:
    """A backbone after its frozen pass: features [n, d], the probe's path on them, and the network to be trained.

    The frozen pass starts from `frozen.body` in float32, since engines do their rounding themselves; `base` is what is
    trained: the same, or its like in bfloat16 where the frozen part passed the check in it.
    """

    spec: JobSpec
    resources: Resources
    frozen: FrozenNetwork
    features: Features
    probe: ProbePath
    scores: transferability.Scores | None  # where a fully frozen cell reports them
    base: keras.Model
    head: trainable_part.HeadInit
    state: list[NDArray[Any]]
    pass_seconds: float
    probe_seconds: float
    _models: dict[int, keras.Model] = field(default_factory=dict)  # by depth: what was trained last, compiled
    phase: ClassVar[Phase] = Phase.FINE_TUNING

    @property
    def precision(self) -> str:
        """What `base` computes in."""
        return "float32" if self.base is self.frozen.body else "bfloat16"

    @property
    def goal(self) -> float:
        """The accuracy on val that training has to reach: about that of the linear probe."""
        return self.probe.about_as_good(self.spec.dataset.sizes["val"])

    def deployed(self) -> tuple[keras.Model, str]:
        """The model as it would be used, and its precision: exports of what another engine ran are float32."""
        own = self.spec.engine == "keras"
        body = graph.frozen_part(self.base if own else self.frozen.body, self.spec.backbone)
        model = inference_cost.deployed(body, len(self.spec.dataset.class_names))
        return model, self.precision if own else "float32"

    def trainable(self, cell: PlannedCell) -> TrainablePart:
        """What is trained of the network for a cell, its head at its start, and what that reads."""
        batches, scales = self._batches(cell)
        if cell.frozen not in self._models:
            self._models.clear()  # each holds the memory of its compiled steps, and the cells come depth by depth
            with graph.computing_in(self.precision):
                self._models[cell.frozen] = self._model(cell, scales)
        model = self._models[cell.frozen]
        model.get_layer("head").set_weights([self.head.weights, self.head.bias])
        after = self._boundary(cell) if cell.frozen and self.spec.pretrained else None
        return TrainablePart(model, batches, self.base, self.head, after)

    def announcement(self, cell: PlannedCell, plan: fine_tuning.TrainingPlan) -> str:
        """How long training everything will take, by the frozen pass: a training step is about three of it."""
        if cell.frozen:
            return ""
        sizes = self.spec.dataset.sizes
        an_epoch = self.pass_seconds * (3 * sizes["train"] + sizes["val"]) / sum(sizes.values())
        minutes = max(1, round(an_epoch * plan.epochs / 60))
        return f"{self.spec.label} @ {cell.freeze}: training all of it takes about {minutes} min ({plan.epochs} epochs)"

    def trace(self, part: TrainablePart) -> dict[str, Any]:
        """What stands behind a trained cell beside its learning curve."""
        gentle = self.probe.steps[self.probe.gentle(self.spec.dataset.sizes["val"])]
        ran = part.batches.engine
        return {
            "start_strength": gentle.strength if self.spec.pretrained else None,
            "probe_score": self.probe.steps[self.probe.chosen].score,
            "inputs": part.batches.kind,
            "engine": asdict(ran) if ran else None,
        }

    def reason(self, part: TrainablePart, trained: fine_tuning.Trained) -> str:
        """What was done in another way than asked for, and what the training did not reach; empty where nothing."""
        ran, own = part.batches.engine, self.frozen.model.ran
        telling = ran if ran and ran.reason else own  # a prefix may pass a check that the features did not
        precision = self.precision if self.precision != self.spec.precision else ""
        reasons = [telling.instead(frozen=telling is ran, trained=precision)]
        if trained.last.score <= self.probe.steps[self.probe.chosen].score:
            reasons.append("training did not beat the frozen probe on val")
        return "; ".join(filter(None, [*reasons, part.batches.note]))

    def restore(self) -> None:
        """Put the network back to where training started."""
        fine_tuning.restore(self.base, self.state)

    def _boundary(self, cell: PlannedCell) -> stages.Boundary:
        boundary = self.frozen.boundaries[cell.frozen]
        return boundary if self.base is self.frozen.body else stages.boundaries(self.base, [boundary.stride])[0]

    def _model(self, cell: PlannedCell, scales: Sequence[float]) -> keras.Model:
        pretrained = self.spec.pretrained
        if cell.frozen:
            return trainable_part.trainable_tail(
                self.base, self._boundary(cell), scales, self.head, pretrained=pretrained
            )
        return trainable_part.trainable_model(self.base, self.spec.backbone, self.head, pretrained=pretrained)

    def _batches(self, cell: PlannedCell) -> tuple[Batches, Sequence[float]]:
        """The inputs of the trained part, and what they were divided by."""
        data, pixels = self.spec.dataset, self.resources.images()
        if cell.frozen == 0:
            augment = augment_of(self.spec, 0) != "none"
            return PixelBatches(pixels, data.rows, augment=augment, flips=data.flips), []
        store = self.frozen.stores.get(cell.frozen)
        if store and store.files:
            return StoredActivationBatches(store, engine=self.frozen.model.ran), store.scales
        prefix = frozen_up_to(self.spec, self.resources, self.frozen.body, [cell.frozen], seed=cell.seed, pooled=False)
        prefix.settle(sample(pixels, data.rows))
        views = views_of(self.spec)
        return RecomputedActivationBatches(prefix, pixels, data.rows, views=views, flips=data.flips), prefix.scales


def shared_pass(spec: JobSpec, resources: Resources, cells: Sequence[PlannedCell], clock: Clock) -> SharedPass:
    """Build the backbone, send all images through its frozen part once, fit the probe and prepare what is trained.

    Raises FloatingPointError where activations at a boundary cannot be stored, ValueError where features hold NaN.
    """
    with clock.phase(Phase.BUILDING):
        frozen = build_frozen(spec, resources, cells)
    features, pass_seconds = _features(frozen, spec, resources, cells, clock)
    views = _augmented(frozen, spec, resources, features, clock)
    before = clock.spent(Phase.PROBE)
    probe, basis = _probe(spec, resources, features, views, clock)
    probe_seconds = clock.spent(Phase.PROBE) - before
    scores = None
    if any(cell.fully_frozen for cell in cells):
        with clock.phase(Phase.SCORES):
            train, classes = spec.dataset.indices("train"), len(spec.dataset.class_names)
            basis = basis or eigenbasis.decompose(features, train, scratch=resources.cache)
            scores = transferability.score(basis, features, spec.dataset.labels, rows=train, classes=classes)
    base = _trained_network(frozen, spec, cells, clock)
    head, state = _head(spec, features, probe, seed=cells[0].seed), fine_tuning.state_of(base)
    return SharedPass(spec, resources, frozen, features, probe, scores, base, head, state, pass_seconds, probe_seconds)


def _features(
    frozen: FrozenNetwork, spec: JobSpec, resources: Resources, cells: Sequence[PlannedCell], clock: Clock
) -> tuple[Features, float]:
    """Features [n, d] of all items, from the feature cache or the frozen pass, and the seconds that the pass took."""
    before = clock.spent(Phase.FROZEN_PASS)
    with clock.phase(Phase.FROZEN_PASS) as report:
        features, seconds = frozen_pass(
            frozen.model,
            resources.images(),
            spec.dataset.rows,
            key=features_key(spec, resources, seed=cells[0].seed, stores=frozen.stores),
            cache=resources.cache,
            kept=list(frozen.stores.values()),
            progress=report,
        )
        if views_of(spec) > 1:  # by the same images, should the cache have had the features
            frozen.model.settle(sample(resources.images(), spec.dataset.rows))
    clock.seconds[Phase.FROZEN_PASS] = before + seconds  # what it took, should the cache have had it
    clock.seconds[Phase.ENGINE] = clock.spent(Phase.ENGINE) + frozen.model.ready_seconds
    return features, seconds


def _augmented(
    frozen: FrozenNetwork, spec: JobSpec, resources: Resources, features: Features, clock: Clock
) -> Features:
    """The features and, below them, those of the augmented views of train, a view at a time."""
    data, views = spec.dataset, views_of(spec)
    if views == 1:
        return features
    with clock.phase(Phase.AUGMENTED_VIEWS) as report:
        return augmented_pass(
            frozen.model,
            resources.images(),
            data.rows,
            features=features,
            train=data.indices("train"),
            views=views,
            flips=data.flips,
            folder=resources.cache / "activations",
            kept=list(frozen.stores.values()),
            progress=report,
        )


def _probe(
    spec: JobSpec, resources: Resources, features: Features, with_views: Features, clock: Clock
) -> tuple[ProbePath, eigenbasis.Spectrum | None]:
    """The path of linear probes on train and its views, and the eigenbasis of train where there are no views."""
    data = spec.dataset
    train, views = data.indices("train"), views_of(spec)
    labels = np.concatenate([data.labels, np.tile(data.labels[train], views - 1)])
    rows = np.concatenate([train, np.arange(len(features), len(with_views))])
    with clock.phase(Phase.PROBE) as report:
        basis = eigenbasis.decompose(features, train, scratch=resources.cache) if views == 1 else None
        path = fit_path(
            with_views,
            labels,
            train=rows,
            val=data.indices("val"),
            classes=len(data.class_names),
            spectrum=basis,
            likelihood=where_it_fits,
            scratch=resources.cache,
            progress=report,
        )
    return path, basis


def _trained_network(frozen: FrozenNetwork, spec: JobSpec, cells: Sequence[PlannedCell], clock: Clock) -> keras.Model:
    """The network in bfloat16 where the frozen part passed the check in it: what is too coarse there is so behind it.

    Of cells that train nothing only Keras's own need it.
    """
    used = spec.engine == "keras" or any(not cell.fully_frozen for cell in cells)
    if used and spec.precision == frozen.model.ran.precision == "bfloat16":
        with clock.phase(Phase.BUILDING):
            return keras_engine.in_bfloat16(frozen.body)
    return frozen.body


def _head(spec: JobSpec, features: Features, probe: ProbePath, *, seed: int) -> trainable_part.HeadInit:
    """Where the head starts: at a gentle probe on pretrained features, else at random."""
    if not spec.pretrained:
        return trainable_part.start_at_random(features.shape[1], len(spec.dataset.class_names), seed=seed)
    gentle = probe.heads[probe.gentle(spec.dataset.sizes["val"])]
    return trainable_part.start_from(gentle, features, spec.dataset.indices("train"))
