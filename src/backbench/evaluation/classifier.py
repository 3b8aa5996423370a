"""A cell as one Keras model: raw pixels in, class probabilities out, its labels inside. Keras alone can load it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from backbench.backbones import find_weights, graph, keras_cache, parse_backbones, scratch_cnn
from backbench.backbones.weights.package_wheels import tensors_digest
from backbench.core.backbone import Backbone
from backbench.core.cells import Cell
from backbench.core.errors import RequestError
from backbench.data.decoding import RESIZES
from backbench.evaluation import checkpoints
from backbench.evaluation.linear_probe import Head
from backbench.evaluation.resize_layer import resized

# Keras keeps no free text beside a model. A dropout layer that drops nothing keeps its seed as it is, through every
# saving, on every backend, and never looks at it: there the labels stand, as `model.get_layer("labels").seed`.
LABELS = "labels"


@dataclass(frozen=True)
class Classifier:
    """A loaded model with its labels, and the square that it makes of images first: its side in pixels, and how."""

    model: keras.Model
    labels: tuple[str, ...]
    size: int
    resize: str


def build(
    cell: Cell,
    learned: Path,
    *,
    labels: Sequence[str],
    name: str,
    cache: Path,
    mirrors: bool,
    progress: Callable[[int, int | None], None] | None = None,
) -> keras.Model:
    """The model of a cell; `learned` is the file with its trained weights or, of a fully frozen one, with its head.

    Raises UnavailableError when the backbone's pretrained weights cannot be had, RequestError when they are not those
    that the cell was measured with, ValueError for what another network has learned.
    """
    size = cell.row.image_size
    with graph.computing_in(_computed_in(cell)):
        (backbone,) = parse_backbones(cell.row.backbone)
        if backbone.from_scratch:
            body = scratch_cnn.build(image_size=size, classes=len(labels))
            head = checkpoints.load(learned, body)
        else:
            if cell.row.weights == "none":
                base = graph.build(backbone, image_size=size, weights=None, cache=cache)
            else:
                base = _pretrained(cell, backbone, cache=cache, mirrors=mirrors, progress=progress)
            head = checkpoints.load(learned, base)
            body = graph.frozen_part(base, backbone)
        temperature = cell.row.temperature or 1.0  # cells of earlier protocols have none
        return assembled(body, head, labels=labels, temperature=temperature, resize=cell.identity["resize"], name=name)


def _computed_in(cell: Cell) -> str:
    """The precision of the whole model: float32 where the frozen part ran in it, whatever its tail was trained in.

    An engine of its own rounds elsewhere than Keras in bfloat16 does; float32 is what it is checked against.
    """
    frozen = (cell.trace.get("engine") or {}).get("precision")
    exact = cell.identity.get("engine") == "openvino" or frozen == "float32"
    return "float32" if exact else str(cell.row.precision)


def assembled(
    body: keras.Model, head: Head | None, *, labels: Sequence[str], temperature: float, resize: str, name: str
) -> keras.Model:
    """Raw images uint8 [b, h, w, 3] of any size to class probabilities float32 [b, C], at a temperature.

    `body` maps squares uint8 [b, s, s, 3] to the features of the head, or to logits [b, C] where there is no head.
    """
    images = keras.Input((None, None, 3), dtype="uint8", name="images")
    found = body(resized(images, size=body.input_shape[1], resize=resize))
    if head:
        classify = keras.layers.Dense(head.bias.size, name="logits", dtype="float32")
        found = classify(found)
        classify.set_weights([head.weights, head.bias])
    found = keras.layers.Rescaling(1 / temperature, name="temperature", dtype="float32")(found)
    found = keras.layers.Dropout(0.0, seed=list(labels), name=LABELS, dtype="float32")(found)
    return keras.Model(images, keras.layers.Softmax(name="probabilities", dtype="float32")(found), name=name)


def load(path: Path) -> Classifier:
    """Read a model that `build` made, from its file alone. Raises RequestError for any other file."""
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):  # by the name, Keras would read older formats as well
        raise RequestError(f"{path} cannot be loaded as a Keras model: it is no .keras archive")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # readers of damaged archives raise anything
        reason = " ".join((str(error).strip() or type(error).__name__).split())[:200]
        raise RequestError(f"{path} cannot be loaded as a Keras model: {reason}") from None
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    labels = getattr(layers.get(LABELS), "seed", None)
    square = next((layers[resize] for resize in RESIZES if resize in layers), None)
    if square is None or not isinstance(labels, list) or model.output_shape != (None, len(labels)):
        raise RequestError(f"{path} is a Keras model, but not one that `backbench export` wrote")
    return Classifier(model, tuple(map(str, labels)), int(square.output.shape[1]), square.name)


def _pretrained(
    cell: Cell,
    backbone: Backbone,
    *,
    cache: Path,
    mirrors: bool,
    progress: Callable[[int, int | None], None] | None,
) -> keras.Model:
    """The backbone as the cell began with it."""
    weights = find_weights(backbone, cache=cache, mirrors=mirrors, unreachable=set(), progress=progress)
    base = graph.build(backbone, image_size=cell.row.image_size, weights=weights, cache=cache)
    # A mirror's digest is that of its tensors, which a file that Keras published may hold as well.
    if cell.identity["weights_digest"] not in (weights.digest, tensors_digest(base.get_weights())):
        raise RequestError(
            f"the weights of {backbone.name} that are here ({weights.source}) are not those that the cell was measured"
            f" with: put these into {keras_cache()}, or run the sweep again"
        )
    return base
