"""What was asked for, as it is meant; and one line for whatever cannot be meant."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

from backbench.backbones import parse_backbones
from backbench.core.cells import parse_freeze
from backbench.core.errors import RequestError
from backbench.core.request import Request
from backbench.core.timing import seconds_of
from backbench.data import decoding

# What can be asked for; the command line offers the same.
ENGINES = ("auto", "keras", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16")
EXECUTORS = ("local", "ray")
AUGMENTS = (None, "light", "none")
KEPT_MODELS = (None, "best", "all", "none")


@dataclass(frozen=True)
class Budget:
    """What a sweep may take: seconds, or a share of what all of it would take."""

    seconds: float | None = None
    share: float | None = None


def check(request: Request) -> None:
    """Raise RequestError for whatever is wrong with the options themselves."""
    for name, least in (
        ("seeds", 1),
        ("epochs", 1),
        ("batch_size", 1),
        ("views", 1),
        ("workers", 1),
        ("min_per_class", 1),
    ):
        value = getattr(request, name)
        if value is not None and value < least:
            option = name.replace("_", "-")
            raise RequestError(f"--{option} {value} means nothing: at least {least}")
    if request.limit is not None and request.limit < 1:
        raise RequestError(
            f"--limit {request.limit} leaves no images: at least 1 per split, and one per class in train"
        )
    if not 0 <= request.keep_gb < math.inf:
        raise RequestError(f"--keep-gb {request.keep_gb} means nothing: 0 keeps no activations, 20 is the default")
    choices = {
        "resize": decoding.RESIZES,
        "augment": AUGMENTS,
        "keep_models": KEPT_MODELS,
        "engine": ENGINES,
        "precision": PRECISIONS,
        "executor": EXECUTORS,
    }
    for name, known in choices.items():
        if getattr(request, name) not in known:
            option = name.replace("_", "-")
            raise RequestError(
                f"--{option} {getattr(request, name)} is unknown: use one of {', '.join(filter(None, known))}"
            )
    timeout_of(request)
    budget_of(request)
    pretrained_of(request)
    parse_freeze(request.freeze)
    for backbone in parse_backbones(request.backbones):
        least, name = backbone.min_size, backbone.name
        if request.image_size is not None and request.image_size < least:
            raise RequestError(
                f"{name} needs images of at least {least} px, not {request.image_size}:"
                f" use --image-size {least} or more, or take it out with --backbones {request.backbones},-{name}"
            )


def timeout_of(request: Request) -> float | None:
    """Most seconds that a cell may take. Raises RequestError for what is no duration."""
    try:
        return None if request.timeout is None else seconds_of(request.timeout)
    except ValueError:
        raise RequestError(f"--timeout {request.timeout} is no duration: write 90s, 30m or 2h") from None


def budget_of(request: Request) -> Budget | None:
    """What the sweep may take. Raises RequestError for what is neither a duration nor a share."""
    if request.budget is None:
        return None
    with suppress(ValueError):
        return Budget(seconds=seconds_of(request.budget))
    with suppress(ValueError):
        if 0 < (share := float(request.budget)) <= 1:
            return Budget(share=share)
    raise RequestError(
        f"--budget {request.budget} is neither a duration nor a share: write 30m or 2h, or 0.25 for a quarter of what"
        " everything would take"
    )


def pretrained_of(request: Request) -> tuple[bool, ...]:
    """Which kinds of weights were asked for, whether they are pretrained. Raises RequestError for others."""
    kinds = tuple(dict.fromkeys(part.strip() for part in request.weights.split(",") if part.strip()))
    if not kinds or set(kinds) - {"imagenet", "none"}:
        raise RequestError(f"--weights {request.weights or '(empty)'} is unknown: use imagenet, none, or imagenet,none")
    return tuple(kind == "imagenet" for kind in kinds)
