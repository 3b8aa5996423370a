"""The columns of the table: name, type, unit and meaning, in their fixed order; `CellRow` declares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

# What a column may hold, and a file of it can: text without halves of characters, numbers that are finite.
Text = Annotated[str, Meta(pattern=r"\A[^\ud800-\udfff]*\Z")]
Count = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Meta(gt=-(2.0**63), lt=2.0**63)]

# What a row need not have: UNSET is what is not known (yet), None what was looked for and does not exist.
OptionalText = Text | None | UnsetType
OptionalCount = Count | None | UnsetType
OptionalNumber = Number | None | UnsetType


def meaning(text: str) -> Meta:
    """What a column means."""
    return Meta(description=text)


class CellRow(Struct, frozen=True, kw_only=True):
    """The columns of one cell, each with its type, and what it means."""

    dataset: Annotated[OptionalText, meaning("name of the dataset")] = UNSET
    backbone: Annotated[
        Text, meaning("name as in keras.applications, with its variant; `scratch` is the hand-made CNN")
    ]
    family: Annotated[OptionalText, meaning("family of the backbone")] = UNSET
    weights: Annotated[Text, meaning("imagenet, or none (random initialisation)")]
    weights_source: Annotated[OptionalText, meaning("where the weights came from")] = UNSET
    image_size: Annotated[Count, meaning("side of the square input, pixels")]
    freeze: Annotated[Text, meaning("freeze depth as asked: all, all-1, ..., none")]
    freeze_depth: Annotated[OptionalCount, meaning("number of frozen stages")] = UNSET
    stages: Annotated[OptionalCount, meaning("number of stages of the backbone")] = UNSET
    frozen_params_pct: Annotated[
        OptionalNumber, meaning("share of the backbone's parameters that is frozen, percent")
    ] = UNSET
    seed: Annotated[Count, meaning("seed of what is random in the cell")]
    status: Annotated[OptionalText, meaning("ok, failed, skipped or pruned")] = UNSET
    reason: Annotated[OptionalText, meaning("why the cell is not ok, or a note on one that is")] = UNSET
    train_acc: Annotated[
        OptionalNumber, meaning("top-1 accuracy on train after training, inference mode, no augmentation, 0..1")
    ] = UNSET
    val_acc: Annotated[OptionalNumber, meaning("top-1 accuracy on val, 0..1")] = UNSET
    test_acc: Annotated[OptionalNumber, meaning("top-1 accuracy on test, 0..1")] = UNSET
    gap: Annotated[OptionalNumber, meaning("train_acc - test_acc: the overfitting gap")] = UNSET
    val_nll: Annotated[OptionalNumber, meaning("mean negative log-likelihood on val, with the temperature, nats")] = (
        UNSET
    )
    selection_score: Annotated[OptionalNumber, meaning("what ranks the cells, from val alone")] = UNSET
    test_acc_lo: Annotated[OptionalNumber, meaning("lower end of the 95 % Wilson interval of test_acc")] = UNSET
    test_acc_hi: Annotated[OptionalNumber, meaning("upper end of the 95 % Wilson interval of test_acc")] = UNSET
    test_top5: Annotated[
        OptionalNumber, meaning("top-5 accuracy on test, 0..1; missing with five classes or fewer")
    ] = UNSET
    test_macro_f1: Annotated[OptionalNumber, meaning("mean F1 over the classes that occur in test")] = UNSET
    test_nll: Annotated[OptionalNumber, meaning("mean negative log-likelihood on test, with the temperature, nats")] = (
        UNSET
    )
    test_ece: Annotated[
        OptionalNumber, meaning("expected calibration error on test, with the temperature, 15 equal-width bins")
    ] = UNSET
    params: Annotated[OptionalCount, meaning("parameters of the exported model, head included")] = UNSET
    trainable_params: Annotated[OptionalCount, meaning("parameters that the cell trained")] = UNSET
    flops: Annotated[OptionalCount, meaning("floating-point operations per image, a multiply-add counted as two")] = (
        UNSET
    )
    latency_ms: Annotated[OptionalNumber, meaning("batch 1, median, milliseconds")] = UNSET
    throughput_ips: Annotated[OptionalNumber, meaning("images per second at the best batch size tried")] = UNSET
    peak_mem_mb: Annotated[
        OptionalNumber, meaning("peak host memory of one inference in a fresh process, framework included, MiB")
    ] = UNSET
    fit_seconds: Annotated[OptionalNumber, meaning("the cell's own training, seconds")] = UNSET
    wall_seconds: Annotated[
        OptionalNumber, meaning("fit_seconds plus the cell's share of what its job had in common, seconds")
    ] = UNSET
    engine: Annotated[OptionalText, meaning("what ran the frozen part")] = UNSET
    precision: Annotated[OptionalText, meaning("float32 or bfloat16")] = UNSET
    backend: Annotated[OptionalText, meaning("Keras backend")] = UNSET
    device: Annotated[OptionalText, meaning("processor that did the work")] = UNSET
    cell_id: Annotated[OptionalText, meaning("digest of everything that could change the numbers")] = UNSET
    imagenet_top1: Annotated[
        OptionalNumber, meaning("published ImageNet top-1 accuracy of the backbone's weights, 0..1")
    ] = UNSET
    ridge_loo_acc: Annotated[
        OptionalNumber, meaning("fully frozen: leave-one-out accuracy of ridge regression on train, 0..1")
    ] = UNSET
    knn_loo_acc: Annotated[
        OptionalNumber, meaning("fully frozen: leave-one-out accuracy of the nearest neighbours on train, 0..1")
    ] = UNSET
    logme: Annotated[OptionalNumber, meaning("fully frozen: LogME of train, log evidence in nats per image")] = UNSET
    h_score: Annotated[
        OptionalNumber, meaning("fully frozen: shrunk H-score of train, 0 to the number of classes - 1")
    ] = UNSET
    temperature: Annotated[
        OptionalNumber, meaning("what the logits are divided by, fitted on val; predictions and exports are with it")
    ] = UNSET

    def replace(self, **columns: Any) -> CellRow:
        """The row with other values in some columns."""
        return msgspec.structs.replace(self, **columns)

    def to_columns(self) -> dict[str, Any]:
        """The columns that are set, in their order."""
        values = ((name, getattr(self, name)) for name in COLUMN_NAMES)
        return {name: value for name, value in values if value is not UNSET}


def measured(value: OptionalNumber) -> float:
    """A number that every finished cell has. Raises ValueError where it is missing."""
    if value is None or value is UNSET:
        raise ValueError("a finished cell lacks a number that every finished cell has")
    return value


@dataclass(frozen=True)
class Column:
    """One declared column; `dtype` is a pandas dtype that allows missing values, a `required` one has none."""

    name: str
    dtype: str
    meaning: str
    required: bool


_DTYPES = {str: "string", int: "Int64", float: "Float64"}


def _column(field: msgspec.structs.FieldInfo) -> Column:
    kind = get_args(field.type)[0]  # without what is said of it
    plain = get_args(get_args(kind)[0])[0] if get_args(kind) else kind
    return Column(field.name, _DTYPES[plain], field.type.__metadata__[-1].description, field.required)


COLUMNS = tuple(map(_column, msgspec.structs.fields(CellRow)))

COLUMN_NAMES = tuple(column.name for column in COLUMNS)

# What tables of earlier versions lack.
ADDED = ("imagenet_top1", "ridge_loo_acc", "knn_loo_acc", "logme", "h_score", "temperature")
