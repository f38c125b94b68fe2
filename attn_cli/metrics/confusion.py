"""Which label was given for which: the counts of a confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attn_cli.metrics.base import Segment
from attn_cli.metrics.classification import NO_TAG, label, tag_pair

NONE = "(none)"  # stands for a blank label, and for the tags of an unanswered sentence


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each label was given for each gold one.

    Attributes:
        labels: numbers by size, then words by the alphabet; rarer ones may be one, the last.
        counts: a row for each gold label, a column for each given one. Shape: (labels, labels).
    """

    labels: list[str]
    counts: list[list[int]]


class Confusion:
    """Counts labels, or the tags of sentences, as segments pass; nothing of their text is kept.

    Args:
        by_word: whether a segment is a sentence of tags.
    """

    def __init__(self, *, by_word: bool) -> None:
        self._by_word = by_word
        self._counts: Counter[tuple[str, str]] = Counter()  # (gold, given)

    def watch(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The segments, each counted on its way."""
        for segment in segments:
            self._counts.update(self._pairs(segment))
            yield segment

    def _pairs(self, segment: Segment) -> Iterator[tuple[str, str]]:
        gold, given = [segment.references[0]], [segment.hypothesis]
        if self._by_word:
            given, gold = tag_pair(segment.hypothesis, segment.references[0])
        for left, right in zip(gold, given, strict=True):
            yield _name(left), _name(right)

    def matrix(self, most: int) -> ConfusionMatrix:
        """The matrix of at most so many labels, of which the last stands for all rarer ones."""
        sizes: Counter[str] = Counter()
        for (gold, given), count in self._counts.items():
            sizes[gold] += count
            sizes[given] += count
        ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
        rare = set(ranked[most - 1 :]) if len(ranked) > most else set()
        labels = sorted((name for name in ranked if name not in rare), key=_order)
        if rare:
            labels.append(f"{len(rare)} others")
        places = {name: place for place, name in enumerate(labels)}
        places |= dict.fromkeys(rare, len(labels) - 1)
        counts = [[0] * len(labels) for _ in labels]
        for (gold, given), count in self._counts.items():
            counts[places[gold]][places[given]] += count
        return ConfusionMatrix(labels, counts)


def _name(text: str) -> str:
    name = label(text)
    return NONE if name in ("", NO_TAG) else name


def _order(name: str) -> tuple[int, float, str, str]:
    is_number = name.isascii() and name.removeprefix("-").replace(".", "", 1).isdigit()
    return (0, float(name), "", name) if is_number else (1, 0.0, name.casefold(), name)
