"""Every backbone cut at every boundary of the table, and the table against the graphs that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
from support.cut_models import check_values, check_variables, cut
from support.kinds import each

from backbench.backbones import graph, stages
from backbench.core.backbone import Backbone


@pytest.fixture(autouse=True)
def _from_the_start() -> Iterator[None]:
    """Names of layers count from the start, as they did when the table was written; the largest weigh gigabytes."""
    keras.backend.clear_session(free_memory=True)
    yield
    keras.backend.clear_session(free_memory=True)


@each()
def test_the_table_holds_what_is_found_at_native_size(backbone: Backbone) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = graph.build(backbone, image_size=backbone.native_size, weights=None, cache=Path())
    assert stages.find_stages(model) == backbone.stages


@each()
def test_prefix_then_rest_is_the_whole_at_every_boundary(backbone: Backbone) -> None:
    """At a small size: strides and parameters are those of the native one, odd sizes and paddings are not."""
    found = cut(backbone, max(backbone.min_size, 64))
    assert [boundary.name for boundary in found.boundaries] == [stage.name for stage in backbone.stages[:-1]]
    check_variables(found)
    check_values(found)
