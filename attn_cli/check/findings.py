"""What can be wrong with data, in one table, and how often it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

SHOWN = 5  # places that are told of each finding


class Weight(Enum):
    """How bad a finding is.

    A leak lets a measurement lie, and ends with status 1; a fault is left out by `--filter` like
    lines that leak; a note is told and kept.
    """

    LEAK = "leak"
    FAULT = "fault"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Something that can be wrong with an example or a label.

    Attributes:
        weight: how bad it is.
        words: what holds for such an example.
    """

    weight: Weight
    words: str


# By the names that `--json` has. A line has one of the leaks, the first that holds.
FINDINGS = {
    "leak": Finding(Weight.LEAK, "the same in another part"),
    "leak_input": Finding(Weight.LEAK, "its input in another part"),
    "leak_near": Finding(Weight.LEAK, "nearly its input in another part"),
    "unusable": Finding(Weight.FAULT, "can't be read: bytes, columns, form"),
    "blank": Finding(Weight.FAULT, "blank"),
    "empty": Finding(Weight.FAULT, "an empty side"),
    "copied": Finding(Weight.FAULT, "both sides the same"),
    "odd_length": Finding(Weight.FAULT, "an odd ratio of lengths"),
    "script": Finding(Weight.FAULT, "another script than most of its column"),
    "replaced": Finding(Weight.FAULT, "a replacement character (U+FFFD)"),
    "duplicate": Finding(Weight.FAULT, "stands there before"),
    "contradiction": Finding(Weight.NOTE, "the input has another answer before"),
    "not_nfc": Finding(Weight.NOTE, "not in Unicode NFC"),
    "crlf": Finding(Weight.NOTE, "ends with a carriage return"),
    "bom": Finding(Weight.NOTE, "begins with a byte-order mark"),
    "label_once": Finding(Weight.NOTE, "a label seen once"),
    "label_alone": Finding(Weight.NOTE, "a label in no other part"),
}
LABEL_FINDINGS = ("label_once", "label_alone")
BITS = {name: 1 << i for i, name in enumerate(FINDINGS)}
LEAKS = tuple(name for name, each in FINDINGS.items() if each.weight is Weight.LEAK)


def mask(weights: Sequence[Weight]) -> int:
    """The bits of all findings of these weights."""
    return sum(BITS[name] for name, each in FINDINGS.items() if each.weight in weights)


@dataclass(frozen=True)
class Found:
    """How often something was found in a part.

    Attributes:
        count: of examples, or of labels.
        total: of how many.
        first: the first places: a number, `1200 = train:7`, an id, or `LABEL (number)`.
    """

    count: int
    total: int
    first: Sequence[str]

    @property
    def share(self) -> float:
        """The part of all of them."""
        return self.count / self.total if self.total else 0.0


@dataclass(frozen=True)
class PartReport:
    """What was found in a part.

    Attributes:
        name: train, dev or test.
        file: what messages call its file.
        examples: how many there are, those that can't be used, too.
        found: by name of the finding, those that apply to its kind.
    """

    name: str
    file: str
    examples: int
    found: dict[str, Found]

    @property
    def leaks(self) -> int:
        """How many examples stand in another part, or nearly so."""
        return sum(self.found[name].count for name in LEAKS if name in self.found)
