"""Half the bits: kept activations in float16 and training in bfloat16 give the accuracy of float32, within noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from backbench.backbones import graph, parse_backbones, stages
from backbench.core import recipe
from backbench.core.backbone import Weights
from backbench.core.events import CellFinished
from backbench.core.job import Job
from backbench.core.request import Request
from backbench.evaluation import fine_tuning, inference_cost, trainable_part
from backbench.evaluation import job as jobs
from backbench.evaluation.linear_probe import fit_path
from backbench.features.engines import keras_engine
from backbench.features.frozen_pass import batches
from backbench.sweep import plan

pytestmark = pytest.mark.slow

BACKBONE = "MobileNetV2:alpha=0.35"
FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
SIZE, PER_SPLIT, EPOCHS = 96, 340, 3

# One learning rate: on these photos two of the three that race are equal on val to half a thousandth and six points
# apart on test, so that the last bit of a CPU, in either precision, would decide which of them is compared.
RATES = (1e-4,)

# Of so many paired answers the share that only one of two equal candidates has right has this standard error at most.
NOISE = 2 * np.sqrt(0.1 / PER_SPLIT)


@pytest.fixture(scope="module")
def photos(grocery: Path, shared_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """340 photos a split of 34 classes, the genuine weights."""
    request = Request(
        dataset=str(grocery), backbones=BACKBONE, limit=PER_SPLIT, image_size=SIZE, epochs=EPOCHS, freeze="all,all-1"
    )
    cache = tmp_path_factory.mktemp("cache")

    def quiet(_name: str, _done: int, _total: int) -> None: ...

    listing = plan.listing_for(request, progress=quiet)
    dataset, _ = plan.dataset_for(request, listing, cache=cache, progress=quiet)
    resolved = {"engine": "keras", "precision": "float32", "backend": "tensorflow"}
    (job,) = plan.jobs_for(request, dataset, resolved=resolved, cache=cache)
    path = shared_weights / FILE
    weights = Weights(path, "h5", hashlib.sha256(path.read_bytes()).hexdigest(), "keras cache")
    return plan.with_pixels(job.with_spec(weights=weights), listing, progress=quiet)


@pytest.fixture(autouse=True)
def _afterwards_as_before() -> Iterator[None]:
    yield
    graph.plain_keras()


class Given:
    """Activations of all items as they are, without a detour over fewer bits."""

    threaded, kind, note, engine = True, "activations", "", None

    def __init__(self, activations: NDArray[Any]) -> None:
        self.activations = activations

    def training(self, items: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[Any]]:
        return self.clean(items)

    def clean(self, items: NDArray[np.int64]) -> list[NDArray[Any]]:
        return [self.activations[items]]


def _answers(job: Job) -> dict[str, tuple[dict[str, Any], NDArray[np.bool_]]]:
    """Rows and which test items are right, by freeze depth."""
    found = {}

    def take(event: Any) -> None:
        if isinstance(event, CellFinished):
            kept = event.predictions
            found[event.cell.row.freeze] = (
                event.cell.row.to_columns(),
                kept["test_probs"].argmax(axis=1) == kept["test_labels"],
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "LEARNING_RATES", RATES)
        patch.setattr(inference_cost, "speed", lambda *_, **__: inference_cost.Speed(1.0, 100.0))
        patch.setattr(inference_cost, "peak_memory", lambda *_, **__: 250.0)
        jobs.run(job, take)
    return found


def test_a_tail_on_float16_is_as_good_as_one_on_float32(photos: Job) -> None:
    _, kept = _answers(photos)["all-1"]
    graph.plain_keras()
    (backbone,) = parse_backbones(BACKBONE)
    data = photos.spec.dataset
    keras.utils.set_random_seed(0)
    base = graph.build(backbone, image_size=SIZE, weights=photos.spec.weights, cache=photos.resources.cache)
    (boundary,) = stages.boundaries(base, [backbone.stages[-2].stride])
    model = graph.frozen_part(base, backbone, boundary.tensors)
    outputs = list(keras_engine.forward(model, batches(photos.resources.images(), data.rows)))
    features, activations = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    train, val, test = (data.indices(name) for name in ("train", "val", "test"))
    path = fit_path(features, data.labels, train=train, val=val, classes=len(data.class_names))
    start = trainable_part.start_from(path.heads[path.gentle(len(val))], features, train)
    images = keras.Input(activations.shape[1:])
    tail = keras.Model(images, trainable_part._logits(stages.rest(base, boundary), [images], start, pretrained=True))
    source = Given(activations)
    recipe_of_the_cell = fine_tuning.TrainingPlan(EPOCHS, batch_size=32, learning_rates=RATES, seed=0)
    fine_tuning.train(tail, source, data.labels, train=train, val=val, plan=recipe_of_the_cell)
    exact = fine_tuning.predict(tail, source, test).argmax(axis=1) == data.labels[test]
    assert activations.dtype == np.float32
    assert exact.mean() > 0.4, "it has learned something: chance is 3 %"
    assert abs(exact.mean() - kept.mean()) < NOISE


def test_cells_in_bfloat16_are_as_good_as_those_in_float32(photos: Job) -> None:
    exact, rough = _answers(photos), _answers(photos.with_spec(precision="bfloat16"))
    for freeze in ("all", "all-1"):
        row, hits = rough[freeze]
        assert row["status"] == "ok"
        assert row["precision"] == "bfloat16"
        assert row["cell_id"] != exact[freeze][0]["cell_id"]
        assert hits.mean() > 0.4
        assert abs(hits.mean() - exact[freeze][1].mean()) < NOISE, freeze
        assert row["val_nll"] != exact[freeze][0]["val_nll"], "it did compute in another precision"


def test_weights_stay_float32_where_layers_compute_in_bfloat16(photos: Job) -> None:
    graph.plain_keras("bfloat16")
    (backbone,) = parse_backbones(BACKBONE)
    base = graph.build(backbone, image_size=SIZE, weights=photos.spec.weights, cache=photos.resources.cache)
    start = trainable_part.start_at_random(int(base.output_shape[-1]), 34, seed=0)
    model = trainable_part.trainable_model(base, backbone, start, pretrained=True)
    before = fine_tuning.state_of(model)
    model.compile(keras.optimizers.AdamW(1e-6), keras.losses.CategoricalCrossentropy(from_logits=True))
    images = photos.resources.images()[photos.spec.dataset.rows[:8]]
    model.train_on_batch(images, np.eye(34, dtype=np.float32)[photos.spec.dataset.labels[:8]])
    assert {layer.compute_dtype for layer in base.layers if isinstance(layer, keras.layers.Conv2D)} == {"bfloat16"}
    assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
    # Steps as small as these are lost in eight bits: the weights that take them have more.
    moved = [np.abs(new - old).max() for new, old in zip(fine_tuning.state_of(model), before, strict=True)]
    assert 0 < max(moved) < 2**-9
    assert model(images[:1]).dtype == "float32"
