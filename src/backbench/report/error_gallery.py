"""What the recommended candidate got wrong, to look at: its surest mistakes, and the classes that it confuses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbench.analysis import ByCell, Recommendation
from backbench.analysis.errors import Confusion, Prediction, confusions, most_confident_errors
from backbench.core import formatting
from backbench.report.duplicates import Copies, copies
from backbench.report.loader import ReportData, first_seed
from backbench.results import store, thumbnails
from backbench.results.run_record import RunRecord

# With both images of the look-alikes (`copies.PAIRS`) the page shows at most 72; at 4,000 bytes each they are 384 kB as
# base64.
MISTAKES, CONFUSED, EACH = 12, 6, 3

Predictions = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Example:
    """One image, its class, what it was taken for and how surely."""

    item: str
    truth: str
    said: str
    confidence: str

    @property
    def right(self) -> bool:
        """Whether it was recognised."""
        return self.truth == self.said


@dataclass(frozen=True)
class Side:
    """One class of a confused pair: how often it was taken for the other, and examples."""

    name: str
    mistaken: int
    items: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Gallery:
    """What the page shows of single images.

    `candidate` got `wrong` of `items` test images wrong. `sources` are pictures as data: URIs, by item id; where they
    were `left_out` on purpose, or are not stored, there are none.
    """

    candidate: str = ""
    wrong: int = 0
    items: int = 0
    mistakes: tuple[Example, ...] = ()
    confused: tuple[tuple[Side, Side], ...] = ()
    copies: Copies = field(default_factory=Copies)
    sources: Mapping[str, str] = field(default_factory=dict)
    left_out: bool = False

    @property
    def shown(self) -> tuple[str, ...]:
        """Ids of the items that there should be a picture of, each once."""
        examples = [*self.mistakes, *(one for pair in self.confused for side in pair for one in side.examples)]
        alike = (member.item for pair in self.copies.pairs for member in pair.members)
        return tuple(dict.fromkeys([*(example.item for example in examples), *alike]))


def gallery(directory: Path, stored: ReportData, facts: Recommendation) -> Gallery:
    """What there is to show of a results folder, without the pictures. What is not stored is not shown."""
    run, rows, answers = stored.run, stored.rows, stored.answers
    found = Gallery(copies=copies(run, rows, _test_items(directory, answers), {c: a.hits for c, a in answers.items()}))
    if facts.best is None or facts.best.cell_id not in answers:
        return found
    predicted = store.read_predictions(directory, facts.best.cell_id)
    probabilities, truth = predicted["test_probs"], predicted["test_labels"]
    names = _class_names(run, probabilities.shape[1])
    ids = [str(item) for item in predicted["test_ids"]]
    return replace(
        found,
        candidate=facts.best.label + first_seed({"seeds": facts.best.seeds}),
        wrong=int((probabilities.argmax(axis=1) != truth).sum()),
        items=len(truth),
        mistakes=_examples(most_confident_errors(probabilities, truth, most=MISTAKES), ids, names),
        confused=tuple(
            _sides(confusion, ids, names) for confusion in confusions(probabilities, truth, most=CONFUSED, each=EACH)
        ),
    )


def with_pictures(found: Gallery, directory: Path) -> Gallery:
    """The gallery with the thumbnails that are stored in the folder."""
    stored = thumbnails.read(directory, found.shown)
    pictures = {item: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for item, jpeg in stored.items()}
    return replace(found, sources=pictures)


def _test_items(directory: Path, answers: ByCell) -> NDArray[np.str_]:
    """Ids of the test items that all answers are on, none where there are no answers."""
    for cell_id in answers:
        return store.read_predictions(directory, cell_id)["test_ids"]
    return np.array([], dtype=np.str_)


def _class_names(run: RunRecord, classes: int) -> Sequence[str]:
    known = run.dataset.classes
    return known if len(known) == classes else [f"class {number}" for number in range(classes)]


def _examples(answers: Sequence[Prediction], ids: Sequence[str], names: Sequence[str]) -> tuple[Example, ...]:
    return tuple(
        Example(ids[one.item], names[one.truth], names[one.predicted], formatting.percent(one.confidence))
        for one in answers
    )


def _sides(confusion: Confusion, ids: Sequence[str], names: Sequence[str]) -> tuple[Side, Side]:
    first, second = (
        Side(names[label], mistaken, items, _examples(examples, ids, names))
        for label, mistaken, items, examples in zip(
            confusion.classes, confusion.errors, confusion.items, confusion.examples, strict=True
        )
    )
    return first, second
