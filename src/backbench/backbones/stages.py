"""Stages of a backbone, found from its graph: where it can be cut into a frozen part and a trainable rest.

    python -m backbench.backbones.stages     # renews stages.json, which the listing and the planning read

A tensor is a place to cut when little else is needed beside it to go on: one tensor in most backbones, two in NASNet,
whose cells read the two cells before them. A stage ends at the last such place before each halving of the spatial
size. Strides name the stages, not sizes: padding makes odd sizes in between, and strides are the same at every input.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from typing import Any

import keras

from backbench.backbones import scratch_cnn
from backbench.backbones.flops import flops, flops_of
from backbench.backbones.registry import BACKBONES, SCRATCH_CNN, STAGES_FILE
from backbench.core.backbone import Stage
from backbench.core.files import write_text

# A stage that holds less than both of these is no choice of its own: it belongs to the next one.
LEAST_PARAMS, LEAST_FLOPS = 0.01, 0.05

# An inverted bottleneck widens its input right before the convolution that halves it. The boundary stands before a
# convolution that widens at least this much: the block stays whole and its activations take a third or less.
WIDENING = 3.0


@dataclass(frozen=True)
class Boundary:
    """The end of a stage: all that comes after it needs only `tensors`; `inside` are the operations up to it."""

    stride: int
    name: str
    tensors: tuple[keras.KerasTensor, ...]
    inside: tuple[Any, ...]


class _Graph:
    """Operations of a functional model in an order in which inputs come first, and who needs whom, as bit masks."""

    def __init__(self, model: keras.Model) -> None:
        self.operations = list(model.operations)
        self.outputs = [_only(operation.output) for operation in self.operations]
        position = {id(tensor): index for index, tensor in enumerate(self.outputs)}
        self.inputs = [
            [] if isinstance(operation, keras.layers.InputLayer) else [position[id(t)] for t in _many(operation.input)]
            for operation in self.operations
        ]
        self.strides: list[int] = []
        self.before: list[int] = []  # the operation itself and all that it needs
        self.readers = [0] * len(self.operations)
        for index, (operation, sources) in enumerate(zip(self.operations, self.inputs, strict=True)):
            self.strides.append(max((self.strides[source] for source in sources), default=1) * _stride(operation))
            self.before.append(reduce(or_, (self.before[source] for source in sources), 1 << index))
            for source in sources:
                self.readers[source] |= 1 << index

    def crossing(self, index: int) -> list[int]:
        """What the rest of the graph reads of everything up to operation `index`."""
        inside = self.before[index]
        return [i for i in range(index + 1) if inside >> i & 1 and self.readers[i] & ~inside]

    def boundary(self, stride: int) -> Boundary:
        """The last place to cut at this stride, of those with the fewest tensors."""
        places = [
            (index, self.crossing(index))
            for index, operation in enumerate(self.operations)
            if self.strides[index] == stride and not isinstance(operation, keras.layers.ZeroPadding2D)
        ]
        places = [(index, crossing) for index, crossing in places if crossing]
        fewest = min(len(crossing) for _, crossing in places)
        line = [place for place in places if len(place[1]) == fewest]
        last = line[-1]
        near = [place for place in line if self._convolutions(place[0], last[0]) <= 1]
        leanest = min(near, key=lambda place: (self._width(place[1]), -place[0]))
        index, crossing = leanest if self._width(leanest[1]) * WIDENING <= self._width(last[1]) else last
        inside = tuple(op for i, op in enumerate(self.operations) if self.before[index] >> i & 1)
        tensors = tuple(self.outputs[i] for i in crossing)
        return Boundary(stride, self.operations[index].name, tensors, inside)

    def _width(self, crossing: Sequence[int]) -> float:
        """Values per input pixel, whatever the size of the input."""
        return sum(float(self.outputs[i].shape[-1]) / self.strides[i] ** 2 for i in crossing)

    def _convolutions(self, start: int, end: int) -> int:
        between = self.before[end] & ~self.before[start]
        return sum(_weighted(op) for i, op in enumerate(self.operations[: end + 1]) if between >> i & 1)


def boundaries(model: keras.Model, strides: Sequence[int]) -> tuple[Boundary, ...]:
    """The boundaries at the given strides of a functional model without its classifier, in their order."""
    graph = _Graph(model)
    return tuple(graph.boundary(stride) for stride in strides)


def find_stages(model: keras.Model) -> tuple[Stage, ...]:
    """All stages of a functional model without its classifier, small ones merged into the next."""
    graph = _Graph(model)
    strides = sorted(set(graph.strides))
    ends = [graph.boundary(stride) for stride in strides[:-1]]
    whole = Boundary(strides[-1], graph.operations[-1].name, tuple(model.outputs), tuple(graph.operations))
    total = _stage(whole, ())
    kept: list[Boundary] = []
    for end in ends:
        if _worth(_stage(end, kept[-1].inside if kept else ()), total):
            kept.append(end)
    while kept and not _worth(_stage(whole, kept[-1].inside), total):
        kept.pop()
    kept.append(whole)
    return tuple(
        _stage(end, start.inside if start else ()) for start, end in zip([None, *kept[:-1]], kept, strict=True)
    )


def rest(model: keras.Model, boundary: Boundary) -> keras.Model:
    """What comes after a boundary as a model of its own: its tensors in, the model's output out, variables shared."""
    return keras.Model(list(boundary.tensors), model.output, name=f"{model.name}_after_{boundary.name}")


def _stage(end: Boundary, before: Sequence[Any]) -> Stage:
    known = {id(operation) for operation in before}
    own = [operation for operation in end.inside if id(operation) not in known]
    return Stage(
        name=end.name,
        stride=end.stride,
        shapes=tuple(tuple(int(side) for side in tensor.shape[1:]) for tensor in end.tensors),
        params=sum(math.prod(weight.shape) for op in own for weight in getattr(op, "weights", ())),
        flops=sum(flops_of(operation) for operation in own),
    )


def _worth(stage: Stage, total: Stage) -> bool:
    return stage.params >= LEAST_PARAMS * total.params or stage.flops >= LEAST_FLOPS * total.flops


def _stride(operation: Any) -> int:
    if isinstance(operation, keras.Model):
        return math.prod(_stride(layer) for layer in operation.layers)
    strides = getattr(operation, "strides", 1)
    return int(strides[0] if isinstance(strides, list | tuple) else strides)


def scratch_stage() -> Stage:
    """The hand-made CNN as one stage at its native size, with a head for ten classes; its last map is what crosses."""
    model = scratch_cnn.build(image_size=SCRATCH_CNN.native_size, classes=10)
    last = next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.MaxPooling2D))
    shape = tuple(int(side) for side in last.output.shape[1:])
    stride = SCRATCH_CNN.native_size // shape[0]
    return Stage("logits", stride, (shape,), model.count_params(), flops(model))


def _weighted(operation: Any) -> int:
    if isinstance(operation, keras.Model):
        return sum(_weighted(layer) for layer in operation.layers)
    return int(flops_of(operation) > 0)


def _many(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _only(tensors: Any) -> Any:
    (tensor,) = _many(tensors)
    return tensor


def _main() -> None:
    from pathlib import Path

    from backbench.backbones.graph import build

    table = {}
    for backbone in BACKBONES:
        keras.backend.clear_session(free_memory=True)  # names of layers count from the start again
        model = build(backbone, image_size=backbone.native_size, weights=None, cache=Path())
        table[backbone.name] = [asdict(stage) for stage in find_stages(model)]
        print(backbone.name, [(row["name"], row["stride"]) for row in table[backbone.name]], flush=True)
    table[SCRATCH_CNN.name] = [asdict(scratch_stage())]
    lines = ",\n".join(
        f' "{name}": [\n  {rows}\n ]'
        for name, rows in ((n, ",\n  ".join(map(json.dumps, r))) for n, r in table.items())
    )
    write_text(STAGES_FILE, "{\n" + lines + "\n}\n")


if __name__ == "__main__":
    _main()
