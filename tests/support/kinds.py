"""Backbones by kind: `make test-slow` takes the smallest of each, `make test-nightly` all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from backbench.backbones.registry import BACKBONES
from backbench.core.backbone import Backbone

# Parameters of a network above which converting it takes most of a minute.
LARGE = 2.5e7


def smallest() -> list[Backbone]:
    """One of each kind of graph."""
    kinds: dict[str, Backbone] = {}
    for backbone in sorted(BACKBONES, key=lambda one: one.params):
        kinds.setdefault(backbone.module, backbone)
    return list(kinds.values())


def each(backbones: Sequence[Backbone] = BACKBONES) -> Any:
    """A test for each of them, slow or nightly."""
    soon = [backbone for backbone in smallest() if backbone.params <= LARGE]
    marked = [
        pytest.param(backbone, marks=pytest.mark.slow if backbone in soon else pytest.mark.nightly, id=backbone.name)
        for backbone in backbones
    ]
    return pytest.mark.parametrize("backbone", marked)
