"""What is known of every backbone, as JSON and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backbench.backbones.registry import BACKBONES
from backbench.backbones.weights.resolve import locate
from backbench.core.backbone import Stage


def as_json(cache: Path) -> list[dict[str, Any]]:
    """One record a backbone, with its stages and where its weights are or would come from."""
    return [
        {
            "name": backbone.name,
            "family": backbone.family,
            "params": backbone.params,
            "input_size": backbone.native_size,
            "min_size": backbone.min_size,
            "preprocessing": backbone.preprocessing,
            "imagenet_top1": backbone.imagenet_top1,
            "imagenet_top1_source": backbone.top1_source,
            "weights": locate(backbone, cache),
            "stages": _stages(backbone.stages),
        }
        for backbone in BACKBONES
    ]


def as_lines(cache: Path) -> Iterator[str]:
    """A header and a line a backbone."""
    yield f"{'backbone':24} {'family':14} {'params':>8} {'input':>6} {'ImageNet':>9} {'stages':>6}  weights"
    for backbone in BACKBONES:
        top1 = "-" if backbone.imagenet_top1 is None else f"{backbone.imagenet_top1:.1%}"
        size, params = f"{backbone.native_size} px", f"{backbone.params / 1e6:.1f} M"
        place, stages = locate(backbone, cache), len(backbone.stages)
        yield f"{backbone.name:24} {backbone.family:14} {params:>8} {size:>6} {top1:>9} {stages:>6}  {place}"


def _stages(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """From input to output; `output_shapes` are those at the native size, shares are of the whole backbone."""
    params, flops = sum(stage.params for stage in stages), sum(stage.flops for stage in stages)
    return [
        {
            "name": stage.name,
            "stride": stage.stride,
            "output_shapes": stage.shapes,
            "params_pct": round(100 * stage.params / params, 2),
            "flops_pct": round(100 * stage.flops / flops, 2),
        }
        for stage in stages
    ]
