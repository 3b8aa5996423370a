"""Images classified by an exported model, which is all that is needed: no results folder, no dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.core.errors import RequestError
from backbench.core.formatting import printable
from backbench.core.hardware import cores
from backbench.data import decoding
from backbench.data.sources.image_files import is_image_name, read_image, readable

# Images that are decoded and classified together; the last ones are filled up to as many.
BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file: its likeliest classes with their probabilities, or why it could not be read."""

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


def predict(
    model: Path, images: Sequence[Path], *, top: int = 3, progress: Callable[[int, int], None] | None = None
) -> list[Prediction]:
    """The `top` likeliest classes of every image, in order; a folder stands for all images below it.

    A file that cannot be read is a prediction with its reason. Raises RequestError for a file that is no model of
    `backbench export`, and for a folder without images.
    """
    if not model.is_file():
        raise RequestError(f"{model} is not there: name the file that `backbench export` wrote")
    files = [file for image in images for file in _files(image)]
    from backbench.evaluation.classifier import load  # knows Keras, which takes seconds
    from backbench.features.engines import keras_engine

    classifier = load(model)
    square = (classifier.size, classifier.size, 3)

    def decoded(file: Path) -> tuple[NDArray[np.uint8], str]:
        try:
            return decoding.load_square(read_image(file), classifier.size, classifier.resize), ""
        except Exception as error:  # decoders of damaged files raise anything
            return np.zeros(square, np.uint8), decoding.why_unreadable(error)

    errors: list[str] = []

    def batches(pool: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
        """Squares of the model's own size: they pass its resize unchanged, and all have one shape."""
        for start in range(0, len(files), BATCH):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd files
                found = list(pool.map(decoded, files[start : start + BATCH]))
            errors.extend(error for _, error in found)
            yield np.stack([image for image, _ in found])

    rows: list[NDArray[np.float32]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for (probabilities,) in keras_engine.forward(classifier.model, batches(pool)):
            rows.extend(probabilities)
            if progress:
                progress(len(rows), len(files))
    return [
        Prediction(readable(str(file)), () if error else _likeliest(row, classifier.labels, top), error)
        for file, error, row in zip(files, errors, rows, strict=True)
    ]


def _files(image: Path) -> list[Path]:
    """The image files that a path stands for: itself, or all below it that are called images."""
    if not image.is_dir():
        return [image]
    found = sorted(
        path
        for path in image.rglob("*")
        if is_image_name(path.name) and not any(part.startswith(".") for part in path.relative_to(image).parts)
    )
    if not found:
        raise RequestError(f"{image} holds no images: name images, or a folder with images below it")
    return found


def _likeliest(probabilities: NDArray[np.float32], labels: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((labels[position], float(probabilities[position])) for position in order)


def as_table(predictions: Sequence[Prediction]) -> str:
    """One line for each image that could be read: the file, then its classes with their probabilities, aligned."""
    rows = [(row.file, *(f"{label} {share:.1%}" for label, share in row.classes)) for row in predictions if row.classes]
    plain = [[printable(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    lines = ("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)) for row in plain)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def as_json(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The same for scripts, with those that could not be read."""
    return [
        {"file": row.file, "error": row.error}
        if row.error
        else {"file": row.file, "classes": [{"label": label, "probability": share} for label, share in row.classes]}
        for row in predictions
    ]
