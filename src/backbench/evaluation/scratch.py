"""The hand-made CNN as a network like the others: without a frozen part and a probe, built anew for every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from backbench.backbones import scratch_cnn
from backbench.core.cells import PlannedCell, augment_of
from backbench.core.events import Phase
from backbench.core.job import JobSpec, Resources
from backbench.evaluation import inference_cost
from backbench.evaluation.batches import PixelBatches
from backbench.evaluation.trainable_part import TrainablePart


@dataclass(frozen=True)
class ScratchNetwork:
    """What `evaluation.job` asks of a network, as `SharedPass` answers it for backbones."""

    spec: JobSpec
    resources: Resources
    phase: ClassVar[Phase] = Phase.TRAINING
    probe_seconds: ClassVar[float] = 0.0
    goal: ClassVar[float] = 0.0

    @property
    def precision(self) -> str:
        """What it computes in, the head apart."""
        return self.spec.precision

    def deployed(self) -> tuple[keras.Model, str]:
        """The model as it would be used, and its precision."""
        return inference_cost.deployed(self._built()), self.precision

    def trainable(self, cell: PlannedCell) -> TrainablePart:
        """All of the network, at random weights, with its pixels."""
        model, data = self._built(), self.spec.dataset
        augment = augment_of(self.spec, cell.frozen) != "none"
        batches = PixelBatches(self.resources.images(), data.rows, augment=augment, flips=data.flips)
        return TrainablePart(model, batches, model)

    def announcement(self, *_: object) -> str:
        """Nothing: it is small."""
        return ""

    def trace(self, *_: object) -> dict[str, Any]:
        """Nothing beside the learning curve."""
        return {}

    def reason(self, *_: object) -> str:
        """Nothing was done in another way than asked for."""
        return ""

    def restore(self) -> None:
        """Nothing is shared with the next cell."""

    def _built(self) -> keras.Model:
        return scratch_cnn.build(image_size=self.spec.image_size, classes=len(self.spec.dataset.class_names))
