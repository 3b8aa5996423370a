"""Every family as one model: Keras alone, in safe mode, loads what computes the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from support.kinds import smallest

from backbench.analysis import metrics
from backbench.backbones import graph
from backbench.core.backbone import Backbone
from backbench.evaluation import classifier
from backbench.evaluation.linear_probe import Head

# One for each way of preprocessing, and one whose rescaling layer is ours to insert.
FEW = ("mobilenet", "densenet", "vgg16", "efficientnet")


def labels(count: int) -> list[str]:
    """As hostile as names of folders can be, and some that Keras has a meaning for."""
    odd = ["relu", "</script>", "__lambda__", "äpfel 🍏", "a/b", "", "None", "1"]
    return [*odd, *(f"class {number}" for number in range(count - len(odd)))]


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(row, id=row.name, marks=[] if row.module in FEW else pytest.mark.slow) for row in smallest()],
)
def test_it_is_loaded_by_keras_alone_and_computes_the_same(backbone: Backbone, tmp_path: Path) -> None:
    size = backbone.min_size
    base = graph.build(backbone, image_size=size, weights=None, cache=tmp_path)
    body = graph.frozen_part(base, backbone)
    rng = np.random.default_rng(0)
    photos = np.stack([image[:200, :300] for image in load_sample_images().images])
    squares = np.stack(
        [np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR)) for photo in photos]
    )
    features = np.asarray(body.predict_on_batch(squares))
    weights = rng.normal(size=(features.shape[1], 12)).astype(np.float32)
    weights /= np.std(features @ weights)
    head = Head(weights, rng.normal(size=12).astype(np.float32))
    model = classifier.assembled(body, head, labels=labels(12), temperature=2.0, resize="stretch", name="a")
    model.save(tmp_path / "a.keras")
    assert not keras.saving.get_custom_objects(), "nothing of ours helps"
    loaded = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
    assert loaded.get_layer("labels").seed == labels(12)
    found = np.asarray(loaded.predict_on_batch(photos))
    np.testing.assert_allclose(found, metrics.tempered(head(features), 2.0), atol=1e-4)
    assert found.max() < 0.999
    assert np.abs(found[0] - found[1]).max() > 1e-5, "there is something to compare"
    assert loaded.count_params() == base.count_params() + head.weights.size + head.bias.size


def test_labels_outlive_being_saved_once_more_and_training(tmp_path: Path) -> None:
    """A layer that drops nothing is none in training either."""
    images = keras.Input((6, 6, 3), dtype="uint8")
    body = keras.Model(images, keras.layers.Flatten()(keras.ops.cast(images, "float32")))
    head = Head(np.zeros((108, 12), np.float32), np.arange(12, dtype=np.float32))
    model = classifier.assembled(body, head, labels=labels(12), temperature=2.0, resize="crop", name="a")
    photos = np.zeros((4, 9, 9, 3), np.uint8)
    np.testing.assert_array_equal(model(photos, training=True), model(photos, training=False))
    for _ in range(2):
        model.compile(loss="sparse_categorical_crossentropy")
        model.fit(photos, np.arange(4), verbose=0)
        model.save(tmp_path / "a.keras")
        model = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
        assert classifier.load(tmp_path / "a.keras").labels == tuple(labels(12))
