"""The metrics a user asked for, over a corpus or line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attn_cli.config.scoring import DEFAULT_METRICS, ScoreOptions
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Metric, Score, Segment, count, counts_of, windows
from attn_cli.metrics.remarks import Remarks
from attn_cli.metrics.significance import Resampling
from attn_cli.metrics.tally import CountTally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def chosen_metrics(options: ScoreOptions) -> list[Metric]:
    """The metrics of the options, ready to score; BLEU and chrF where none is named."""
    return [METRICS[name](options) for name in options.metrics or DEFAULT_METRICS]


class CorpusScorer:
    """Scores lines window by window by every chosen metric; their text is not kept.

    Args:
        options: the metrics, and what of their figures is asked for.

    Attributes:
        n_lines: how many lines were counted.
        n_references: how many references they have.
    """

    def __init__(self, options: ScoreOptions) -> None:
        self._resampling = Resampling(options.seed, options.bootstrap)
        systems = 1 if options.baseline is None else 2
        keep = systems == 2 or bool(options.bootstrap)
        self._metrics = chosen_metrics(options)
        self._tallies = [metric.tally(systems=systems, keep=keep) for metric in self._metrics]
        self._remarks = Remarks(options)
        self.n_lines = 0
        self.n_references: set[int] = set()

    def add(self, segments: Iterable[Segment], processes: int = 1) -> None:
        """Counts lines.

        Args:
            segments: the lines.
            processes: how many may count what takes long: figures are the same.

        Raises:
            UsageError: a metric needs something that is not installed here.
        """
        whole = any(metric.sees_all_first for metric in self._metrics)
        if not whole and processes > 1 and any(metric.is_slow for metric in self._metrics):
            self._add_together(segments, processes)
            return
        for part in [list(segments)] if whole else windows(segments):
            for metric, tally in zip(self._metrics, self._tallies, strict=True):
                for window in [part] if metric.sees_all_first else windows(part):
                    count(tally, window)
            self._note(part)

    def _add_together(self, segments: Iterable[Segment], processes: int) -> None:
        from attn_cli.workers import Crew, in_order

        for metric in self._metrics:
            metric.prepare()
        slow = [
            tally
            for metric, tally in zip(self._metrics, self._tallies, strict=True)
            if metric.is_slow and isinstance(tally, CountTally)
        ]
        read: deque[list[Segment]] = deque()

        def parts() -> Iterator[list[Segment]]:
            for part in windows(segments):
                read.append(part)
                yield part

        def work(part: list[Segment]) -> list[list[NDArray[np.float64]]]:
            return [counts_of(tally, part) for tally in slow]

        for found in in_order(work, parts(), Crew(processes), _Ready()):
            part = read.popleft()
            rows = iter(found)
            for tally in self._tallies:
                if tally in slow:
                    tally.add_counted(next(rows), [each.references for each in part])
                else:
                    count(tally, part)
            self._note(part)

    def _note(self, part: Sequence[Segment]) -> None:
        self._remarks.add(part)
        self.n_lines += len(part)
        self.n_references.update(len(segment.references) for segment in part)

    def scores(self) -> list[Score]:
        """The scores of all lines; none of no lines."""
        if not self.n_lines:
            return []
        pairs = zip(self._metrics, self._tallies, strict=True)
        return [
            score for metric, tally in pairs for score in metric.scores(tally, self._resampling)
        ]

    def notes(self) -> list[str]:
        """What a user should know of the lines."""
        pairs = zip(self._metrics, self._tallies, strict=True)
        own = [note for metric, tally in pairs for note in metric.notes(tally)]
        return list(dict.fromkeys([*self._remarks.notes(), *own]))


class _Ready:
    """Of lines of which none is answered: there is no haste, and they may be waited for."""

    def ready(self) -> bool:
        return True

    def fileno(self) -> int:
        raise ValueError("what is ready is not waited for")


def score_corpus(options: ScoreOptions, segments: Sequence[Segment]) -> list[Score]:
    """Scores a corpus by every chosen metric; no scores for no lines.

    Training's validation calls this on its own answers, `attn score` on the lines it read: the
    figures are the same, `score_corpus(ScoreOptions(accuracy=True), [Segment("no", ("yes",))])`.
    Tags of a sentence are joined by spaces, labels of a set by commas.

    Raises:
        UsageError: a metric needs something that is not installed here.
    """
    scorer = CorpusScorer(options)
    scorer.add(segments)
    return scorer.scores()


def problem_finder(metrics: Sequence[Metric]) -> Callable[[Segment], str | None]:
    """A function that says why a segment can't be scored by all of the metrics, if it can't."""

    def problem(segment: Segment) -> str | None:
        return next((cause for metric in metrics if (cause := metric.problem(segment))), None)

    return problem


def score_line(metrics: Sequence[Metric], segment: Segment) -> dict[str, tuple[float, int]]:
    """One line's figures by name, each with the decimals worth printing."""
    return {
        name: (value, metric.decimals)
        for metric in metrics
        for name, value in zip(metric.names, metric.line(segment), strict=True)
    }
