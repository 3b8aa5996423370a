"""The columns of the table: name, type, unit and meaning, in their fixed order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One declared column; `dtype` is a pandas dtype that allows missing values."""

    name: str
    dtype: str
    meaning: str


COLUMNS = (
    Column("dataset", "string", "name of the dataset"),
    Column("backbone", "string", "name as in keras.applications, with its variant; `scratch` is the hand-made CNN"),
    Column("family", "string", "family of the backbone"),
    Column("weights", "string", "imagenet, or none (random initialisation)"),
    Column("weights_source", "string", "where the weights came from"),
    Column("image_size", "Int64", "side of the square input, pixels"),
    Column("freeze", "string", "freeze depth as asked: all, all-1, ..., none"),
    Column("freeze_depth", "Int64", "number of frozen stages"),
    Column("stages", "Int64", "number of stages of the backbone"),
    Column("frozen_params_pct", "Float64", "share of the backbone's parameters that is frozen, percent"),
    Column("seed", "Int64", "seed of what is random in the cell"),
    Column("status", "string", "ok, failed, skipped or pruned"),
    Column("reason", "string", "why the cell is not ok, or a note on one that is"),
    Column("train_acc", "Float64", "top-1 accuracy on train after training, inference mode, no augmentation, 0..1"),
    Column("val_acc", "Float64", "top-1 accuracy on val, 0..1"),
    Column("test_acc", "Float64", "top-1 accuracy on test, 0..1"),
    Column("gap", "Float64", "train_acc - test_acc: the overfitting gap"),
    Column("val_nll", "Float64", "mean negative log-likelihood on val, nats"),
    Column("selection_score", "Float64", "what ranks the cells, from val alone"),
    Column("test_acc_lo", "Float64", "lower end of the 95 % Wilson interval of test_acc"),
    Column("test_acc_hi", "Float64", "upper end of the 95 % Wilson interval of test_acc"),
    Column("test_top5", "Float64", "top-5 accuracy on test, 0..1; missing with five classes or fewer"),
    Column("test_macro_f1", "Float64", "mean F1 over the classes that occur in test"),
    Column("test_nll", "Float64", "mean negative log-likelihood on test, nats"),
    Column("test_ece", "Float64", "expected calibration error on test, 15 equal-width bins"),
    Column("params", "Int64", "parameters of the exported model, head included"),
    Column("trainable_params", "Int64", "parameters that the cell trained"),
    Column("flops", "Int64", "floating-point operations per image, a multiply-add counted as two"),
    Column("latency_ms", "Float64", "batch 1, median, milliseconds"),
    Column("throughput_ips", "Float64", "images per second at the best batch size tried"),
    Column("peak_mem_mb", "Float64", "peak host memory of one inference in a fresh process, framework included, MiB"),
    Column("fit_seconds", "Float64", "the cell's own training, seconds"),
    Column("wall_seconds", "Float64", "fit_seconds plus the cell's share of what its job had in common, seconds"),
    Column("engine", "string", "what ran the frozen part"),
    Column("precision", "string", "float32 or bfloat16"),
    Column("backend", "string", "Keras backend"),
    Column("device", "string", "processor that did the work"),
    Column("cell_id", "string", "digest of everything that could change the numbers"),
    Column("imagenet_top1", "Float64", "published ImageNet top-1 accuracy of the backbone's weights, 0..1"),
    Column("ridge_loo_acc", "Float64", "fully frozen: leave-one-out accuracy of ridge regression on train, 0..1"),
    Column("knn_loo_acc", "Float64", "fully frozen: leave-one-out accuracy of the nearest neighbours on train, 0..1"),
    Column("logme", "Float64", "fully frozen: LogME of train, log evidence in nats per image"),
    Column("h_score", "Float64", "fully frozen: shrunk H-score of train, 0 to the number of classes - 1"),
)

COLUMN_NAMES = tuple(column.name for column in COLUMNS)

# What tables of earlier versions lack.
ADDED = ("imagenet_top1", "ridge_loo_acc", "knn_loo_acc", "logme", "h_score")
