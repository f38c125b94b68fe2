"""One part of the data: what of its examples is kept, at most 50 bytes each and no text."""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from attn_cli.check.examples import Example, Kind
from attn_cli.check.findings import BITS, LEAKS, SHOWN, Found
from attn_cli.check.nearness import Place
from attn_cli.check.scripts import NO_SCRIPT, script_of
from attn_cli.lines.reading import Line
from attn_cli.lines.rows import is_blank

_MOST_LABELS = 1 << 16
_SHORT = 12  # characters: lengths of short texts say little of each other
_MAIN = 0.5  # of a column's texts with letters are in its script

_PLACES = 1000  # of near leaks that are kept


class Part:
    """Collects examples, and says in the end what was found.

    Args:
        name: train, dev or test.
        file: what messages call its file.
        kind: what its examples are.
        ratio: how far lengths may be from what is usual.

    Attributes:
        near_places: index of an example that is nearly one of another part -> where that is; of the
            first few alone.
        labels: label -> how often it was seen, and where first.
    """

    def __init__(self, name: str, file: str, kind: Kind, ratio: float) -> None:
        self.name = name
        self.file = file
        self.labels: dict[str, list[int]] = {}
        self.near_places: dict[int, Place] = {}
        self._too_many_labels = False
        self._kind = kind
        self._ratio = ratio
        self._names: list[str] = []
        self._numbers, self._lasts = array("q"), array("q")
        self._flags = array("I")
        self._rows, self._inputs, self._asked = array("q"), array("q"), array("q")
        self._ratios = array("f")  # of the logarithms of lengths
        self._scripts = [array("B") for _ in range(kind.texts)]
        self._script_ids: dict[str, int] = {NO_SCRIPT: 0}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, example: Example) -> int:
        """Takes an example; returns the hash of its inputs, 0 if it has none."""
        flags = _line_flags(example.lines)
        is_read = bool(example.texts) and example.usable and any(example.texts)
        if not example.usable:
            flags |= BITS["unusable"]
        elif not is_read:
            flags |= BITS["blank"]
        else:
            flags |= self._text_flags(example)
        self._numbers.append(example.number)
        self._lasts.append(example.last)
        self._flags.append(flags)
        self._ratios.append(self._log_ratio(example.texts) if is_read else math.nan)
        for column, text in zip(self._scripts, example.texts, strict=True):
            column.append(self._script(text))
        if example.name:
            self._names.append(example.name)
        inputs = hash(example.inputs) if is_read and not is_blank(example.inputs) else 0
        self._inputs.append(inputs)
        self._asked.append(hash(example.asked) if is_read else 0)
        self._rows.append(hash((example.asked, example.outputs)) if is_read else 0)
        self._count_labels(example)
        return inputs

    def mark(self, index: int, finding: str) -> None:
        """Notes a finding of an example."""
        self._flags[index] |= BITS[finding]

    def mark_near(self, index: int, place: Place) -> None:
        """Notes that an example is nearly what stands at a place of another part."""
        self.mark(index, "leak_near")
        if len(self.near_places) < _PLACES:
            self.near_places.setdefault(index, place)

    def keep_strongest_leak(self) -> None:
        """Leaves each example the first kind of leak that it has."""
        flags = np.frombuffer(self._flags, np.uint32).copy()
        stronger = np.zeros(len(flags), bool)
        for name in LEAKS:
            has = (flags & BITS[name]) != 0
            flags[has & stronger] &= ~np.uint32(BITS[name])
            stronger |= has
        self._flags = array("I", flags.tobytes())

    def mark_inputs(self, places: dict[int, Place]) -> None:
        """Notes that texts with these hashes are nearly some of another part."""
        if not places:
            return
        keys = np.fromiter(places, np.int64, len(places))
        for index in np.flatnonzero(np.isin(self.inputs, keys)).tolist():
            self.mark_near(index, places[self._inputs[index]])

    @property
    def rows(self) -> NDArray[np.int64]:
        """Hashes of whole examples; 0 of those without a text. Shape: (examples,)."""
        return np.frombuffer(self._rows, np.int64)

    @property
    def inputs(self) -> NDArray[np.int64]:
        """Hashes of their inputs, likewise. Shape: (examples,)."""
        return np.frombuffer(self._inputs, np.int64)

    def number(self, index: int) -> int:
        """The line's, or the question's, from 1."""
        return self._numbers[index]

    def close(self) -> None:
        """Finds what can be told when all examples are known."""
        flags = np.frombuffer(self._flags, np.uint32).copy()
        usual = np.frombuffer(self._ratios, np.float32)
        if np.isfinite(usual).any():
            far = np.abs(usual - np.nanmedian(usual)) > math.log(self._ratio)
            flags[far & np.isfinite(usual)] |= BITS["odd_length"]
        for column in self._scripts:
            flags[_strange(np.frombuffer(column, np.uint8))] |= BITS["script"]
        again = _seen_before(self.rows)
        flags[again] |= BITS["duplicate"]
        asked_again = _seen_before(np.frombuffer(self._asked, np.int64))
        flags[asked_again & ~again] |= BITS["contradiction"]
        if self._kind.outputs or not (self._kind.labels or self._names):
            flags &= ~np.uint32(BITS["contradiction"])  # a source has many translations
        self._flags = array("I", flags.tobytes())

    def found(self, finding: str, place: Callable[[int, str], str]) -> Found:
        """How often an example has a finding.

        Args:
            finding: its name.
            place: number and name of the finding of an example -> what is said of its place.
        """
        flags = np.frombuffer(self._flags, np.uint32)
        has = np.flatnonzero(flags & BITS[finding])
        first = [place(index, finding) for index in has[:SHOWN].tolist()]
        return Found(len(has), len(self), first)

    def label_findings(self, others: Sequence[Part]) -> dict[str, Found]:
        """What is told of labels, beside those of the other parts."""
        if not self._kind.labels or self._too_many_labels:
            return {}
        once = [label for label, (count, _) in self.labels.items() if count == 1]
        found = {"label_once": once}
        if others:
            elsewhere = {label for other in others for label in other.labels}
            found["label_alone"] = [label for label in self.labels if label not in elsewhere]
        return {
            name: Found(
                len(labels),
                len(self.labels),
                [f"{label} ({self.labels[label][1]})" for label in labels[:SHOWN]],
            )
            for name, labels in found.items()
        }

    def place(self, index: int) -> str:
        """What is said of where an example stands."""
        return self._names[index] if self._names else str(self._numbers[index])

    def bad_lines(self, bits: int) -> Iterator[tuple[int, int]]:
        """First and last line of the examples with one of these findings, in order."""
        for first, last, flags in zip(self._numbers, self._lasts, self._flags, strict=True):
            if flags & bits:
                yield first, last

    def _text_flags(self, example: Example) -> int:
        flags = 0
        texts, outputs = example.texts, example.outputs
        # No blank answer but that of a question without one.
        answered = bool(example.name) or not (self._kind.labels or self._kind.outputs)
        if any(map(is_blank, texts)) or not (answered or not is_blank(outputs)):
            flags |= BITS["empty"]
        elif len(texts) > 1 and texts[0].strip() == texts[1].strip():
            flags |= BITS["copied"]
        for text in texts:
            if not text.isascii():
                if "\ufffd" in text:
                    flags |= BITS["replaced"]
                if not unicodedata.is_normalized("NFC", text):
                    flags |= BITS["not_nfc"]
        return flags

    def _log_ratio(self, texts: Sequence[str]) -> float:
        if self._kind.texts != 2 or self._kind.labels or self._names:
            return math.nan
        source, target = (len(text.strip()) for text in texts)
        if min(source, target) == 0 or max(source, target) <= _SHORT:
            return math.nan
        return math.log(target / source)

    def _script(self, text: str) -> int:
        script = script_of(text)
        known = self._script_ids.get(script)
        if known is None:
            known = self._script_ids[script] = min(255, len(self._script_ids))
        return known

    def _count_labels(self, example: Example) -> None:
        if self._too_many_labels:
            return
        for label in example.labels:
            if is_blank(label):
                continue
            seen = self.labels.setdefault(label, [0, example.number])
            seen[0] += 1
        if len(self.labels) > _MOST_LABELS:
            self._too_many_labels = True
            self.labels.clear()


def _line_flags(lines: Sequence[Line]) -> int:
    """What is found in lines as they lie in the file."""
    flags = 0
    for line in lines:
        if line.number == 1 and line.start:
            flags |= BITS["bom"]
        text = line.text
        if not line.error and line.size > (
            len(text) if text.isascii() else len(text.encode("utf-8"))
        ):
            flags |= BITS["crlf"]
    return flags


def _seen_before(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of them stand there before; 0 never does. Shape: (n,) -> (n,)."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    again = np.zeros(len(hashes), bool)
    again[order[1:]] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    return again


def _strange(scripts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which texts are in another script than most of those that have letters."""
    counts = np.bincount(scripts, minlength=2)
    counts[0] = 0
    if counts.max() <= _MAIN * counts.sum():
        return np.zeros(len(scripts), bool)
    strange: NDArray[np.bool_] = (scripts != 0) & (scripts != counts.argmax())
    return strange
