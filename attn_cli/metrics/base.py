"""What a metric takes and gives, and the small base of metrics that are counts added over lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attn_cli import __version__
from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.significance import Comparison, Interval, Resampling, bootstrap, paired_tests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Segment:
    """One line to score: a hypothesis, its references (at least one), another system's answer."""

    hypothesis: str
    references: tuple[str, ...]
    baseline: str = ""


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
        has_table: whether its first details have `classes`: the figures of each class.
    """

    names: tuple[str, ...]
    decimals = 6
    has_table = False

    def __init__(self, options: MetricOptions) -> None:
        self._options = options

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored (no number, too many references); None: it can."""
        return None

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


@dataclass(frozen=True)
class Measure:
    """The figures of some lines. Each weighting of the lines is a corpus.

    A corpus weighs each line 1, a bootstrap sample as often as it was drawn, and of two systems
    with their lines one after the other, a swap weighs either line of a pair 1 and the other 0.

    Attributes:
        figures: weights -> the figures, one for each name. Shape: (lines,) -> (names,).
        details: weights -> what is worth telling a user behind each figure. Shape: likewise.
    """

    figures: Callable[[NDArray[np.float64]], Sequence[float]]
    details: Callable[[NDArray[np.float64]], Sequence[Mapping[str, object]]]


class ResampledMetric(Metric):
    """A metric whose figures are a function of weighted lines; it can be resampled exactly."""

    @abstractmethod
    def measure(self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]) -> Measure:
        """Reads the lines, once for all figures that are computed of them."""

    @abstractmethod
    def recipe(self) -> str:
        """The metric's own part of the signature, such as `case:mixed|tok:words`."""

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""
        import numpy as np

        measure = self.measure([segment.hypothesis], [segment.references])
        return [float(figure) for figure in measure.figures(np.ones(1))]

    def corpus(
        self, segments: Sequence[Segment], resampling: Resampling, *, compare: bool = False
    ) -> list[Score]:
        """Scores a corpus of at least one line; see `Metric.corpus`."""
        import numpy as np

        n_lines, systems = len(segments), 2 if compare else 1
        hypotheses = [segment.hypothesis for segment in segments]
        hypotheses += [segment.baseline for segment in segments] if compare else []
        references = [segment.references for segment in segments]
        measure = self.measure(hypotheses, references * systems)
        intervals: Sequence[Interval | None] = [None] * len(self.names)
        comparisons: Sequence[Comparison | None] = [None] * len(self.names)
        if resampling.samples:
            seed = resampling.seed
            intervals = bootstrap(measure.figures, n_lines, resampling.samples, seed, systems)
        if compare:
            comparisons = paired_tests(measure.figures, n_lines, resampling)
        ours = np.repeat([1.0, 0.0], n_lines)[: systems * n_lines]
        counts = {len(line) for line in references}
        parts = [f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"]
        if resampling.samples:
            parts += [f"bs:{resampling.samples}", f"seed:{resampling.seed}"]
        signature = "|".join([*parts, self.recipe(), f"attn:{__version__}"])
        figures, details = measure.figures(ours), measure.details(ours)
        columns = (self.names, figures, intervals, comparisons, details)
        return [
            Score(name, float(value), signature, interval, comparison, counted, self.decimals)
            for name, value, interval, comparison, counted in zip(*columns, strict=True)
        ]


class CountMetric(ResampledMetric):
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

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""
        return self.values(self.counts([segment.hypothesis], [segment.references])[0])

    def measure(self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]) -> Measure:
        """Counts the lines; a weighting adds up their counts."""
        import numpy as np

        rows = np.asarray(self.counts(hypotheses, references), dtype=np.float64)
        return Measure(
            lambda weights: self.values((weights @ rows).tolist()),
            lambda weights: [self.details((weights @ rows).tolist())] * len(self.names),
        )


def several_references(segment: Segment) -> str:
    """The problem of a line whose references are not one, where one is needed."""
    n_references = len(segment.references)
    return f"{n_references} references where one is needed; --columns picks hypothesis, reference"


def case_signature(*, lowercase: bool) -> str:
    """The part `case:lc` or `case:mixed` of a signature, as sacreBLEU writes it."""
    return f"case:{'lc' if lowercase else 'mixed'}"
