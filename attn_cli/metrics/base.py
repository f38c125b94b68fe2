"""What a metric takes and gives, and the small base of metrics that are counts added over lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attn_cli import __version__
from attn_cli.config.scoring import MetricOptions


@dataclass(frozen=True, slots=True)
class Segment:
    """One line to score: a hypothesis, its references (at least one), another system's answer."""

    hypothesis: str
    references: tuple[str, ...]
    baseline: str = ""


@dataclass(frozen=True)
class Interval:
    """A bootstrap estimate: the mean, and half the width of the 95 % interval around it."""

    mean: float
    ci95: float


@dataclass(frozen=True)
class Comparison:
    """A baseline's score, and how likely chance alone makes a difference as large.

    Attributes:
        baseline: the other system's score.
        p_bootstrap: p-value of the paired bootstrap test (Koehn 2004).
        p_randomization: p-value of approximate randomization (Riezler and Maxwell 2005).
    """

    baseline: float
    p_bootstrap: float
    p_randomization: float


@dataclass(frozen=True)
class Resampling:
    """How often a corpus is resampled for an interval (None: not at all), and from which seed."""

    seed: int
    samples: int | None = None


@dataclass(frozen=True)
class Score:
    """One figure over a corpus.

    Attributes:
        name: the metric's name, as it is printed.
        value: the figure in its library's own unit: 0 to 100 for sacreBLEU's, fractions elsewhere.
        signature: everything needed to compute the same figure again, in sacreBLEU's form.
        interval: its bootstrap interval, where that was asked for.
        comparison: its significance test, where there is a baseline.
        details: the counts behind the figure.
        decimals: how many decimals are worth printing.
    """

    name: str
    value: float
    signature: str
    interval: Interval | None = None
    comparison: Comparison | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    decimals: int = 6


class Metric(ABC):
    """A metric, or a family that is computed at once (ROUGE-1, ROUGE-2, ROUGE-L).

    Attributes:
        names: what its scores are called, in order.
        decimals: how many decimals of its scores are worth printing.
    """

    names: tuple[str, ...]
    decimals = 6

    def __init__(self, options: MetricOptions) -> None:
        self._options = options

    @abstractmethod
    def corpus(
        self, segments: Sequence[Segment], resampling: Resampling, *, compare: bool = False
    ) -> list[Score]:
        """Scores a corpus of at least one line.

        Args:
            segments: the lines.
            resampling: whether to estimate intervals, and the seed of every random draw.
            compare: whether to test the difference to the segments' `baseline`.
        """

    @abstractmethod
    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""


class CountMetric(Metric):
    """A metric whose figures are a function of counts that are added over the lines."""

    @abstractmethod
    def counts(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        """Counts each line. Shape: one row per line, all rows of the same length."""

    @abstractmethod
    def values(self, totals: Sequence[float]) -> list[float]:
        """The figures, one for each name, of counts added over a corpus."""

    @abstractmethod
    def details(self, totals: Sequence[float]) -> dict[str, object]:
        """The counts worth telling a user, by name."""

    @abstractmethod
    def recipe(self) -> str:
        """The metric's own part of the signature, such as `case:mixed|tok:words`."""

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""
        return self.values(self.counts([segment.hypothesis], [segment.references])[0])

    def corpus(
        self, segments: Sequence[Segment], resampling: Resampling, *, compare: bool = False
    ) -> list[Score]:
        """Scores a corpus of at least one line; see `Metric.corpus`."""
        references = [segment.references for segment in segments]
        counts = self.counts([segment.hypothesis for segment in segments], references)
        totals = [sum(column) for column in zip(*counts, strict=True)]
        intervals: Sequence[Interval | None] = [None] * len(self.names)
        comparisons: Sequence[Comparison | None] = [None] * len(self.names)
        if resampling.samples:
            from attn_cli.metrics.significance import bootstrap

            intervals = bootstrap(counts, self.values, resampling.samples, resampling.seed)
        if compare:
            from attn_cli.metrics.significance import paired_tests

            baseline = self.counts([segment.baseline for segment in segments], references)
            comparisons = paired_tests(counts, baseline, self.values, resampling)
        signature = self._signature(references, resampling)
        values = self.values(totals)
        return [
            Score(*fields, details=self.details(totals), decimals=self.decimals)
            for fields in zip(
                self.names,
                values,
                [signature] * len(values),
                intervals,
                comparisons,
                strict=True,
            )
        ]

    def _signature(self, references: Sequence[tuple[str, ...]], resampling: Resampling) -> str:
        counts = {len(line) for line in references}
        parts = [f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"]
        if resampling.samples:
            parts += [f"bs:{resampling.samples}", f"seed:{resampling.seed}"]
        return "|".join([*parts, self.recipe(), f"attn:{__version__}"])


def case_signature(*, lowercase: bool) -> str:
    """`case:lc` or `case:mixed`, as sacreBLEU writes it."""
    return f"case:{'lc' if lowercase else 'mixed'}"
