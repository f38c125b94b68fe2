"""What a metric takes and gives, and the small base of metrics that are counts added over lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attn_cli import __version__
from attn_cli.config.scoring import MetricOptions
from attn_cli.metrics.significance import Comparison, Interval, Resamples, Resampling, compare
from attn_cli.metrics.tally import CountTally, Tally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A window of lines to count: n-grams of a character take half a kilobyte while they are compared.
_WINDOW_LINES = 256
_WINDOW_CHARS = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """One line to score.

    Attributes:
        hypothesis: what is scored.
        references: at least one.
        baseline: another system's answer.
        number: the line's in its file, from 1; 0 of what comes from none.
    """

    hypothesis: str
    references: tuple[str, ...]
    baseline: str = ""
    number: int = 0


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
        lower_is_better: whether the figure counts errors.
        undefined: why there is no such figure of these lines, if so; then the value is 0.
    """

    name: str
    value: float
    signature: str
    interval: Interval | None = None
    comparison: Comparison | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    decimals: int = 6
    lower_is_better: bool = False
    undefined: str = ""


class Metric(ABC):
    """A metric, or a family that is computed at once (ROUGE-1, ROUGE-2, ROUGE-L).

    Attributes:
        names: what its scores are called, in order.
        decimals: how many decimals of its scores are worth printing.
        lower_is_better: whether its scores count errors.
        has_table: whether its first details have `classes`: the figures of each class.
        is_slow: whether to count a line takes long enough to be sent to another process.
    """

    names: tuple[str, ...]
    decimals = 6
    lower_is_better = False
    has_table = False
    is_slow = False

    def __init__(self, options: MetricOptions) -> None:
        self._options = options

    @property
    def sees_all_first(self) -> bool:
        """Whether all lines have to be in one window: what they are is told from all of them."""
        return False

    def prepare(self) -> None:  # noqa: B027 - most metrics need nothing
        """Loads what counting needs, before other processes are to have it.

        Raises:
            UsageError: it is not installed here.
        """

    def problem(self, segment: Segment) -> str | None:
        """The reason that a line can't be scored (no number, too many references); None: it can."""
        return None

    def notes(self, tally: Tally) -> list[str]:
        """What a user should know of the lines that were counted."""
        return []

    @abstractmethod
    def tally(self, *, systems: int = 1, keep: bool = False) -> Tally:
        """An empty tally of lines.

        Args:
            systems: 1, or 2 where the segments' `baseline` is scored too.
            keep: whether lines will be resampled.
        """

    @abstractmethod
    def signature(self, tally: Tally, resampling: Resampling) -> str:
        """Everything needed to compute the same figures of the counted lines again."""

    @abstractmethod
    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""

    def scores(self, tally: Tally, resampling: Resampling) -> list[Score]:
        """The scores of the lines, at least one, that its tally has counted."""
        import numpy as np

        n_lines, systems = tally.n_lines, tally.systems
        figures = [np.asarray(tally.figures(system), dtype=np.float64) for system in range(systems)]
        intervals: Sequence[Interval | None] = [None] * len(self.names)
        comparisons: Sequence[Comparison | None] = [None] * len(self.names)
        if tally.keep:
            resamples = Resamples(tally, n_lines, resampling, systems=systems)
            if resampling.samples:
                intervals = resamples.intervals()
            if systems == 2:
                both = figures[0], figures[1]
                comparisons = compare(tally, n_lines, resampling, resamples, both)
        signature = self.signature(tally, resampling)
        columns = (self.names, figures[0].tolist(), intervals, comparisons, tally.details())
        return [
            Score(
                name,
                value,
                signature,
                interval,
                comparison,
                details,
                self.decimals,
                self.lower_is_better,
                tally.undefined(),
            )
            for name, value, interval, comparison, details in zip(*columns, strict=True)
        ]

    def corpus(
        self, segments: Sequence[Segment], resampling: Resampling, *, compare: bool = False
    ) -> list[Score]:
        """Scores a corpus of at least one line.

        Args:
            segments: the lines.
            resampling: whether to estimate intervals, and the seed of every random draw.
            compare: whether to test the difference to the segments' `baseline`.
        """
        tally = self.tally(systems=2 if compare else 1, keep=compare or bool(resampling.samples))
        for window in [segments] if self.sees_all_first else windows(segments):
            count(tally, window)
        return self.scores(tally, resampling)


def windows(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Cuts lines into windows that are counted at once, small enough for n-grams to fit."""
    window: list[Segment] = []
    chars = 0
    for segment in segments:
        window.append(segment)
        chars += len(segment.hypothesis) + len(segment.baseline) + sum(map(len, segment.references))
        if len(window) == _WINDOW_LINES or chars > _WINDOW_CHARS:
            yield window
            window, chars = [], 0
    if window:
        yield window


def counts_of(tally: CountTally, window: Sequence[Segment]) -> list[NDArray[np.float64]]:
    """What `count` would add to a tally, for each system; the tally stays as it is."""
    answers, references = _sides(tally, window)
    return [tally.counted(lines, references) for lines in answers]


def count(tally: Tally, window: Sequence[Segment]) -> None:
    """Counts a window of lines, of the system and where the tally has two of the baseline."""
    tally.add(*_sides(tally, window))


def _sides(
    tally: Tally, window: Sequence[Segment]
) -> tuple[list[list[str]], list[tuple[str, ...]]]:
    answers = [[segment.hypothesis for segment in window]]
    if tally.systems == 2:
        answers.append([segment.baseline for segment in window])
    return answers, [segment.references for segment in window]


class OwnMetric(Metric):
    """A metric whose signature is ours."""

    @abstractmethod
    def recipe(self) -> str:
        """The metric's own part of the signature, such as `case:mixed|tok:words`."""

    def signature(self, tally: Tally, resampling: Resampling) -> str:
        """Everything needed to compute the same figures again, in sacreBLEU's form."""
        counts = tally.n_references
        parts = [f"nrefs:{next(iter(counts)) if len(counts) == 1 else 'var'}"]
        if resampling.samples:
            parts += [f"bs:{resampling.samples}", f"seed:{resampling.seed}"]
        return "|".join([*parts, self.recipe(), f"attn:{__version__}"])

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, a figure for each name."""
        tally = self.tally()
        count(tally, [segment])
        return [float(figure) for figure in tally.figures()]


class CountMetric(OwnMetric):
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

    def tally(self, *, systems: int = 1, keep: bool = False) -> Tally:
        """An empty tally of lines; see `Metric.tally`."""
        return CountTally(
            self.counts,
            self.values,
            lambda totals: [self.details(totals)] * len(self.names),
            systems=systems,
            keep=keep,
        )


def several_references(segment: Segment) -> str:
    """The problem of a line whose references are not one, where one is needed."""
    n_references = len(segment.references)
    return f"{n_references} references where one is needed; --columns picks hypothesis, reference"


def case_signature(*, lowercase: bool) -> str:
    """The part `case:lc` or `case:mixed` of a signature, as sacreBLEU writes it."""
    return f"case:{'lc' if lowercase else 'mixed'}"
