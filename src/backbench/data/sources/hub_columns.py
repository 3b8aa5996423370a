"""Which column of a hub dataset holds the images and which the labels, read off its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backbench.core.errors import RequestError

# Names under which a column of plain numbers or words may be taken for the label.
LABEL_NAMES = ("label", "labels", "class", "classes", "category", "class_name", "class_label", "target", "species")

MOST_CLASSES = 5_000  # of a column of words: more distinct values are captions or ids


def find_image_column(features: Any, wanted: str | None, dataset: str) -> str:
    """The image column: the one asked for, else the only one of its type. Raises RequestError, naming candidates."""
    import datasets as hub_datasets

    typed = [name for name, feature in features.items() if isinstance(feature, hub_datasets.Image)]
    # Parquet written without the library's metadata still has the shape of its images.
    shaped = [
        name for name, feature in features.items() if isinstance(feature, dict) and {"bytes", "path"} == {*feature}
    ]
    return _only(typed or shaped, wanted, features, dataset=dataset, kind="image")


def find_label_column(features: Any, wanted: str | None, dataset: str) -> str:
    """The label column: the one asked for, else the only ClassLabel, else the only one with a label's name."""
    import datasets as hub_datasets

    typed = [name for name, feature in features.items() if isinstance(feature, hub_datasets.ClassLabel)]
    plain = [name for name, feature in features.items() if name.lower() in LABEL_NAMES and _is_plain(feature)]
    column = _only(typed or plain, wanted, features, dataset=dataset, kind="label")
    if column not in typed and not _is_plain(features[column]):
        raise RequestError(
            f"column '{column}' of '{dataset}' cannot be the label ({features[column]}): "
            "--label-column needs a column of class labels, whole numbers or words"
        )
    return column


def name_classes(
    feature: Any, values: Sequence[Sequence[Any]], *, column: str, dataset: str
) -> tuple[tuple[str, ...], list[list[int]]]:
    """Class names, and the label of each value (-1 where it is hidden); `values` has one sequence per split.

    Declared classes that label no image are left out; words are sorted, numbers ascend.
    """
    present = {value for split in values for value in split if value is not None and value != -1}
    if len(present) > MOST_CLASSES:
        raise RequestError(
            f"column '{column}' of '{dataset}' has {len(present)} distinct values, too many for classes: "
            "name the right one with --label-column"
        )
    declared = getattr(feature, "names", None)
    ordered = sorted(present)
    number = {value: label for label, value in enumerate(ordered)}
    names = tuple(declared[value] if declared else str(value) for value in ordered)
    return names, [[number.get(value, -1) for value in split] for split in values]


def _only(candidates: list[str], wanted: str | None, features: Any, *, dataset: str, kind: str) -> str:
    if wanted is not None:
        if wanted in features:
            return wanted
        raise RequestError(
            f"'{dataset}' has no column '{wanted}': --{kind}-column can be one of {', '.join(sorted(features))}"
        )
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise RequestError(
            f"no {kind} column found in '{dataset}' (its columns: {', '.join(sorted(features))}): "
            f"name one with --{kind}-column"
        )
    raise RequestError(
        f"'{dataset}' has several columns that could be the {kind} ({', '.join(candidates)}): "
        f"choose one with --{kind}-column"
    )


def _is_plain(feature: Any) -> bool:
    dtype = str(getattr(feature, "dtype", ""))
    return dtype in ("string", "large_string", "bool") or dtype.startswith(("int", "uint"))
