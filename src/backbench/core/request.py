"""What was asked of one sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Everything that was asked of one sweep; field names are those of the options."""

    dataset: str = "digits"
    backbones: str = "starter,scratch"
    freeze: str = "all,all-1"
    seeds: int = 1
    weights: str = "imagenet"
    image_size: int | None = None
    resize: str = "stretch"
    augment: str | None = None
    views: int = 4
    limit: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    keep_gb: float = 20.0
    keep_models: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    mirrors: bool = True
    executor: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    timeout: str | None = None
    budget: str | None = None
    out: Path | None = None
    fresh: bool = False
    image_column: str | None = None
    label_column: str | None = None
    min_per_class: int = 3
    images: bool | None = None
