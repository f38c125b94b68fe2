"""Hypotheses against references: the figures of `attn score`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat, zip_longest

from attn_cli.api.speaking import Say, Voice
from attn_cli.config.keywords import Keywords, Value
from attn_cli.config.scoring import ScoreCommand, ScoreOptions
from attn_cli.errors import DataError
from attn_cli.metrics.base import Score, Segment
from attn_cli.metrics.scoring import CorpusScorer, chosen_metrics, problem_finder

# What is read, printed, or asked of a model.
_NOT = frozenset(
    {
        *("ref", "baseline", "json", "signature", "report", "verbose", "per_line"),
        *("log_prob", "ppl", "model", "columns", "skip_bad", "threads", "device", "quiet"),
    }
)
_SCORES = Keywords(ScoreCommand, _NOT)


@_SCORES.documented
def score_corpus(
    hypotheses: Iterable[str],
    references: Iterable[str | Sequence[str]],
    *,
    baseline: Iterable[str] | None = None,
    say: Say | None = None,
    **metrics: Value,
) -> dict[str, Score]:
    """Scores texts (or labels, or tags of sentences) against references, as `attn score` does.

    BLEU and chrF where no metric is named; the figures are those of sacreBLEU, jiwer, rouge-score.

    >>> scores = attn_cli.score_corpus(["the cat sat"], ["the cat sat"], chrf=True, ter=True)
    >>> {name: score.value for name, score in scores.items()}
    {'chrF2': 100.0, 'TER': 0.0}

    Args:
        hypotheses: what is scored.
        references: what each is compared with: a text, or several.
        baseline: another system's texts: `comparison` of each figure tells whether the difference
            is significant.
        say: is told what a user should know of the lines. None: that is a warning of Python's.
        metrics: which metrics, and how text is taken.

    Returns:
        Each figure by its name.

    Raises:
        UsageError: unknown or impossible options; the message names the nearest right one.
        DataError: there are not as many of one as of the other, none at all, or one that can't be
            scored.
    """
    texts = None if baseline is None else {"baseline": "given"}
    options = _SCORES.resolve(metrics, texts).scoring
    voice, scorer = Voice(say), CorpusScorer(options)
    scorer.add(_segments(hypotheses, references, baseline, options))
    if not scorer.n_lines:
        raise DataError("no lines, no score")
    for note in scorer.notes():
        voice.warn(note)
    scores = scorer.scores()
    for score in scores:
        if score.undefined:
            voice.warn(f"{score.name} is undefined: {score.undefined}")
    return {score.name: score for score in scores}


def _segments(
    hypotheses: Iterable[str],
    references: Iterable[str | Sequence[str]],
    baseline: Iterable[str] | None,
    options: ScoreOptions,
) -> Iterator[Segment]:
    """The lines side by side, each looked at."""
    problem = problem_finder(chosen_metrics(options))
    others = repeat("") if baseline is None else chain(baseline, repeat(None))
    sides = zip(zip_longest(hypotheses, references), others, strict=False)
    for number, ((hypothesis, golds), other) in enumerate(sides, start=1):
        if hypothesis is None or golds is None or other is None:
            side = "hypotheses" if hypothesis is None else "references"
            side = "the baseline" if other is None else side
            raise DataError(f"{side} end after {number - 1:,}, and the others go on")
        texts = (golds,) if isinstance(golds, str) else tuple(golds)
        segment = Segment(hypothesis, texts, other, number)
        if cause := problem(segment) if texts else "no reference":
            raise DataError(f"line {number:,}: {cause}")
        yield segment
    if baseline is not None and next(others) is not None:
        raise DataError("the baseline goes on, where the others end")
