"""The metrics a user asked for, over a corpus or line by line."""

from __future__ import annotations

from collections.abc import Sequence

from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics import METRICS
from attn_cli.metrics.base import Metric, Resampling, Score, Segment

DEFAULT_METRICS = ("bleu", "chrf")


def chosen_metrics(options: ScoreOptions) -> list[Metric]:
    """The metrics of the options, ready to score; BLEU and chrF where none is named."""
    return [METRICS[name](options) for name in options.metrics or DEFAULT_METRICS]


def score_corpus(options: ScoreOptions, segments: Sequence[Segment]) -> list[Score]:
    """Scores a corpus by every chosen metric; no scores for no lines.

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


def score_line(metrics: Sequence[Metric], segment: Segment) -> dict[str, tuple[float, int]]:
    """One line's figures by name, each with the decimals worth printing."""
    return {
        name: (value, metric.decimals)
        for metric in metrics
        for name, value in zip(metric.names, metric.line(segment), strict=True)
    }
