"""Where two systems differ: BLEU by length, F1 of words by frequency, lines (Neubig et al. 2019).

As `compare-mt` does. Words are those of BLEU's tokenizer; lengths and frequencies are those of the
first references. Memory grows with the vocabulary, not with the lines.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.base import Segment, counts_of, windows
from attn_cli.metrics.sacre import Bleu
from attn_cli.metrics.tally import CountTally

LENGTHS = (10, 20, 30, 40, 50)  # words from which the next bucket of lines begins
FREQUENCIES = (2, 5, 10, 100, 1000)  # likewise of words
BIN = 10  # BLEU points of a bar in the histogram of differences


@dataclass(frozen=True)
class Bucket:
    """The figures of some lines, or of some words.

    Attributes:
        name: which they are.
        count: how many lines, or how many times one of the words stands in the references.
        system: the figure of the system, 0 to 100.
        other: that of the other one.
    """

    name: str
    count: int
    system: float
    other: float

    @property
    def difference(self) -> float:
        """The system's figure minus the other's."""
        return self.system - self.other


@dataclass(frozen=True)
class LineContrast:
    """A line, and the sentence BLEU of either system."""

    segment: Segment
    system: float
    other: float

    @property
    def difference(self) -> float:
        """The system's figure minus the other's."""
        return self.system - self.other


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        bleu: of all lines.
        lengths: BLEU of the lines of each length.
        frequencies: F1 of the words of each frequency.
        better: the lines that the system does best, compared with the other, best first.
        worse: those that the other one does best.
        histogram: lines whose sentence BLEU differs from k `BIN` - `BIN`/2 up, by k.
    """

    bleu: Bucket
    lengths: list[Bucket]
    frequencies: list[Bucket]
    better: list[LineContrast]
    worse: list[LineContrast]
    histogram: Mapping[int, int]


@dataclass
class _Extremes:
    """The lines of the largest keys so far, the first ones of equal keys."""

    most: int
    heap: list[tuple[float, int, LineContrast]] = field(default_factory=list)
    count: int = 0

    def add(self, key: float, line: LineContrast) -> None:
        self.count += 1
        if key > 0 and self.most:
            heapq.heappush(self.heap, (key, -self.count, line))
            if len(self.heap) > self.most:
                heapq.heappop(self.heap)

    def ranked(self) -> list[LineContrast]:
        return [line for _, _, line in sorted(self.heap, key=lambda entry: entry[:2], reverse=True)]


class Contrast:
    """Compares a system with another, whose answers are the segments' `baseline`.

    Args:
        options: how BLEU counts.
        most: lines of either kind that are told.
    """

    def __init__(self, options: MetricOptions, most: int) -> None:
        self._bleu = Bleu(options)
        self._all = self._bleu.tally(systems=2)
        self._by_length: dict[int, CountTally] = {}
        self._words: list[Counter[str]] = [Counter(), Counter()]  # of either system
        self._matches: list[Counter[str]] = [Counter(), Counter()]  # those that a reference has
        self._gold: Counter[str] = Counter()
        self._extremes = _Extremes(most), _Extremes(most)
        self._histogram: Counter[int] = Counter()

    @property
    def n_lines(self) -> int:
        """How many lines were compared."""
        return self._all.n_lines

    def add(self, segments: Iterable[Segment]) -> None:
        """Takes in lines."""
        for window in windows(segments):
            rows = counts_of(self._all, window)
            references = [segment.references for segment in window]
            self._all.add_counted(rows, references)
            buckets: dict[int, list[int]] = {}
            for place, segment in enumerate(window):
                length = self._count_words(segment)
                buckets.setdefault(bisect.bisect_right(LENGTHS, length), []).append(place)
                scores = [self._bleu.line_of(own[place].tolist()) for own in rows]
                self._note(LineContrast(segment, *scores))
            for bucket, places in buckets.items():
                tally = self._by_length.setdefault(bucket, self._bleu.tally(systems=2))
                chosen = [own[places] for own in rows]
                tally.add_counted(chosen, [references[place] for place in places])

    def report(self) -> Report:
        """The figures of all lines, at least one."""
        lengths = [
            _of_tally(_range(LENGTHS, bucket), tally)
            for bucket, tally in sorted(self._by_length.items())
        ]
        better, worse = (extremes.ranked() for extremes in self._extremes)
        whole = _of_tally("all", self._all)
        return Report(whole, lengths, self._frequencies(), better, worse, self._histogram)

    def _note(self, line: LineContrast) -> None:
        self._histogram[round(line.difference / BIN)] += 1
        for extremes, key in zip(self._extremes, (line.difference, -line.difference), strict=True):
            extremes.add(key, line)

    def _count_words(self, segment: Segment) -> int:
        """Counts the words of a line; returns how many its first reference has."""
        gold = Counter(self._bleu.words(segment.references[0]))
        self._gold.update(gold)
        for system, text in enumerate((segment.hypothesis, segment.baseline)):
            said = Counter(self._bleu.words(text))
            self._words[system].update(said)
            self._matches[system].update(said & gold)
        return gold.total()

    def _frequencies(self) -> list[Bucket]:
        groups: dict[int, list[str]] = {}
        for word, count in self._gold.items():
            groups.setdefault(bisect.bisect_right(FREQUENCIES, count), []).append(word)
        return [
            Bucket(
                _range(FREQUENCIES, group),
                sum(self._gold[word] for word in words),
                *(self._f1(system, words) for system in range(2)),
            )
            for group, words in sorted(groups.items())
        ]

    def _f1(self, system: int, words: Sequence[str]) -> float:
        """200 Σ matches / Σ (said + gold) of some words: 0 to 100."""
        matches = sum(self._matches[system][word] for word in words)
        there = sum(self._words[system][word] + self._gold[word] for word in words)
        return 200.0 * matches / there if there else 0.0


def _of_tally(name: str, tally: CountTally) -> Bucket:
    system, other = (float(tally.figures(number)[0]) for number in range(2))
    return Bucket(name, tally.n_lines, system, other)


def _range(edges: Sequence[int], bucket: int) -> str:
    """The numbers of a bucket: `1-9`, `10-19`, `50+`."""
    low = edges[bucket - 1] if bucket else 1
    if bucket == len(edges):
        return f"{low:,}+"
    high = edges[bucket] - 1
    return f"{low}" if low == high else f"{low}-{high}"
