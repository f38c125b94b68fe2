"""The metrics a user asked for, over a corpus or line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Metric, Score, Segment
from attn_cli.metrics.significance import Resampling

DEFAULT_METRICS = ("bleu", "chrf")


def chosen_metrics(options: ScoreOptions) -> list[Metric]:
    """The metrics of the options, ready to score; BLEU and chrF where none is named."""
    return [METRICS[name](options) for name in options.metrics or DEFAULT_METRICS]


def score_corpus(options: ScoreOptions, segments: Sequence[Segment]) -> list[Score]:
    """Scores a corpus by every chosen metric; no scores for no lines.

    Training's validation calls this on its own answers, `attn score` on the lines it read: the
    figures are the same, `score_corpus(ScoreOptions(accuracy=True), [Segment("no", ("yes",))])`.
    Tags of a sentence are joined by spaces, labels of a set by commas.

    Raises:
        UsageError: a metric needs something that is not installed here.
    """
    resampling = Resampling(options.seed, options.bootstrap)
    compare = options.baseline is not None
    return [
        score
        for metric in chosen_metrics(options)
        for score in (metric.corpus(segments, resampling, compare=compare) if segments else ())
    ]


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
