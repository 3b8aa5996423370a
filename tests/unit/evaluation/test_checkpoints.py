"""Trained weights on disk: what was trained comes back into a fresh network, and into no other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from backbench.backbones import stages
from backbench.evaluation import checkpoints
from backbench.evaluation.linear_probe import Head


def network(width: int = 6, *, seed: int = 0) -> keras.Model:
    """Two stages with batch norm, every weight its own draw; names of layers count up from build to build."""
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for channels in (4, width):
        x = layers.BatchNormalization()(layers.Conv2D(channels, 3, strides=2, padding="same")(x))
    model = keras.Model(inputs, x, name="small")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weights.shape) for weights in model.get_weights()])
    return model


def boundary(model: keras.Model) -> stages.Boundary:
    (found,) = stages.boundaries(model, [2])
    return found


def test_all_weights_and_the_head_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, fresh = network(), network(seed=1)
    assert {layer.name for layer in model.layers} != {layer.name for layer in fresh.layers}
    head = Head(np.ones((6, 2), np.float32), np.array([0.5, -1], np.float32))
    checkpoints.save(tmp_path / "a.npz", model, head=head)
    found = checkpoints.load(tmp_path / "a.npz", fresh)
    assert found is not None
    np.testing.assert_array_equal(found.weights, head.weights)
    np.testing.assert_array_equal(found.bias, head.bias)
    for one, other in zip(model.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_a_tail_only_what_comes_after_the_boundary_is_written(tmp_path: Path) -> None:
    model, fresh = network(), network(seed=1)
    before = fresh.get_weights()
    checkpoints.save(tmp_path / "a.npz", model, after=boundary(model))
    assert checkpoints.load(tmp_path / "a.npz", fresh) is None, "there was no head"
    first = 2 + 4  # kernel and bias, and the four values of batch norm
    for position, found in enumerate(fresh.get_weights()):
        expected = before if position < first else model.get_weights()
        np.testing.assert_array_equal(found, expected[position])
    stored = sum(member.file_size for member in zipfile.ZipFile(tmp_path / "a.npz").infolist())
    numbers = 9 * 4 * 6 + 6 + 4 * 6
    assert 4 * numbers < stored < 4 * numbers + 6 * 256, "float32, and a header for each of six arrays"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "a.npz", network(), head=None)
    with pytest.raises(ValueError, match=r"a\.npz holds weights of another network than small"):
        checkpoints.load(tmp_path / "a.npz", network(7))
    np.savez(tmp_path / "b.npz", **{"00099": np.zeros(3)})
    with pytest.raises(ValueError, match="another network"):
        checkpoints.load(tmp_path / "b.npz", network())


def test_nothing_that_is_read_is_executed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"00000": np.array([print], dtype=object)}, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoints.load(tmp_path / "a.npz", network())
