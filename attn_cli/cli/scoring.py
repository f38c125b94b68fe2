"""What `attn score` does: reads lines, has them scored, prints the figures."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from attn_cli.cli.console import Console
from attn_cli.cli.score_report import (
    print_json,
    print_line_scores,
    print_lines,
    print_report,
    print_table,
)
from attn_cli.config.runtime import RuntimeOptions
from attn_cli.config.scoring import ScoreCommand, ScoreOptions
from attn_cli.errors import UsageError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import LineWriter
from attn_cli.metrics.base import Score, Segment
from attn_cli.metrics.perplexity import perplexity
from attn_cli.metrics.scoring import chosen_metrics, problem_finder, score_corpus, score_line
from attn_cli.metrics.segments import SegmentFiles, SegmentReader, sentences
from attn_cli.metrics.squad import is_squad, read_squad
from attn_cli.wording import plural


def score_against_references(hyp: str, options: ScoreCommand) -> None:
    """Scores lines, each or all; no figure at all if a line had to be left out unasked.

    Raises:
        DataError: a file can't be read, or lines were unusable and `--skip-bad` was not given.
        UsageError: answers in JSON shall be scored line by line.
    """
    scoring, console = options.scoring, Console(options.speech)
    bad = BadLines(console.warn, skip_bad=options.stream.skip_bad)
    files = SegmentFiles(hyp, scoring.ref, scoring.baseline, options.stream.columns)
    if scoring.squad and is_squad(files):
        if scoring.per_line:
            raise UsageError("--per-line answers lines; score answers as TSV, not as JSON")
        _score_corpus(scoring, read_squad(files, scoring.metrics, console.warn), console)
        return
    metrics = chosen_metrics(scoring)
    reader = SegmentReader(files, bad, problem_finder(metrics), blank_ends=scoring.labels_only)
    if not scoring.per_line:
        gc.disable()  # n-gram counts hold no cycles; looking for some costs a fifth of the time
        segments = sentences(reader) if scoring.by_word else [each for each in reader if each]
        bad.finish("left out of the score")
        _score_corpus(scoring, segments, console)
        return
    out = LineWriter()
    for segment in reader:
        figures = score_line(metrics, segment) if segment else {}
        print_line_scores(figures, out, as_json=scoring.json)
        if not reader.ready():
            out.flush()
    out.flush()
    bad.finish("answered with an empty line")


def score_by_model(hyp: str, options: ScoreCommand) -> None:
    """Prints log-probabilities line by line, or the perplexity exp(-sum log P / sum tokens) of all.

    Raises:
        DataError: the model or a file can't be read, or lines were unusable.
    """
    from attn_cli.systems.generation.scorer import score_stream

    scoring, device, console = options.scoring, options.device, Console(options.speech)
    runtime = RuntimeOptions(seed=scoring.seed, threads=device.threads, device=device.device)
    bad = BadLines(console.warn, skip_bad=options.stream.skip_bad)
    reader, out = LineReader(hyp), LineWriter()
    log_prob, tokens = 0.0, 0
    for scored in score_stream(options.model.path, reader, options.stream.columns, runtime, bad):
        if scoring.log_prob:
            figures = {"log_prob": (scored.log_prob, 6)} if scored else {}
            print_line_scores(figures, out, as_json=scoring.json)
            if not reader.ready():
                out.flush()
        elif scored:
            log_prob, tokens = log_prob + scored.log_prob, tokens + scored.tokens
    out.flush()
    if scoring.log_prob:
        bad.finish("answered with an empty line")
        return
    bad.finish("left out of the perplexity")
    if not tokens:
        console.warn("no tokens, no perplexity")
        return
    details = {"log_prob": log_prob, "tokens": tokens}
    _print_scores(scoring, [Score("PPL", perplexity(log_prob, tokens), "", details=details)])


def _score_corpus(options: ScoreOptions, segments: Sequence[Segment], console: Console) -> None:
    """One figure per metric over all lines."""
    counts = {len(segment.references) for segment in segments}
    if len(counts) > 1:
        console.say(f"lines have from {min(counts)} to {plural(max(counts), 'reference')}")
    if options.verbose:
        console.say(plural(len(segments), "line") + " to score")
    if not segments:
        console.warn("no lines, no score")
    _print_scores(options, score_corpus(options, segments))


def _print_scores(options: ScoreOptions, scores: Sequence[Score]) -> None:
    if options.json:
        print_json(scores, LineWriter())
    elif sys.stdout.isatty():
        print_table(scores, signature=options.signature)
    else:
        print_lines(scores, LineWriter(), signature=options.signature)
    if options.report and not options.json:
        print_report(scores, LineWriter())
