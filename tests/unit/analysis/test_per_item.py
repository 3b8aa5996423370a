"""From predictions to per-item results."""

from __future__ import annotations

import numpy as np
import pytest

from backbench.analysis.per_item import hits


def test_hits_are_the_items_whose_most_probable_class_is_right() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    assert hits(probabilities, np.array([0, 0, 0])).tolist() == [True, False, True]


def test_hits_refuse_predictions_of_other_items() -> None:
    with pytest.raises(ValueError, match="3 labels"):
        hits(np.zeros((2, 2)), np.zeros(3, dtype=int))
