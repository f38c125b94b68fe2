"""`attn score`: hypotheses against references, or a model's opinion of them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from attn_cli.cli.console import Console
from attn_cli.cli.options import with_options
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
from attn_cli.metrics.base import Metric, Score, Segment
from attn_cli.metrics.perplexity import perplexity
from attn_cli.metrics.scoring import chosen_metrics, problem_finder, score_corpus, score_line
from attn_cli.metrics.segments import SegmentFiles, SegmentReader, sentences
from attn_cli.metrics.squad import is_squad, read_squad
from attn_cli.wording import plural


@with_options(ScoreCommand)
def score_command(
    hyp: Annotated[str, typer.Argument(metavar="HYP", show_default=False)] = "-",
    *,
    options: ScoreCommand,
) -> None:
    """attn decode --beam 5 < test.tsv | attn score --bleu

    Score hypotheses against references. Without --ref the input is TSV: hypothesis,
    reference(s). A blank hypothesis counts as an empty one. BLEU and chrF if no metric is named;
    sacreBLEU, jiwer and rouge-score do the counting, and the numbers are theirs. Tags come
    one a line, with a blank line between sentences (CoNLL), or a sentence a line.

    \b
    attn score out.de --ref test.de --bleu --ter --signature
    attn score out.de --ref a.de --ref b.de --chrf++ --bootstrap 1000
    attn score new.de --ref test.de --bleu --baseline old.de
    attn score --wer --cer --json < transcripts.tsv
    attn decode test.tsv | attn score --accuracy --f1 --report
    attn decode test.conll | attn score --span-f1 --columns 2,3
    attn decode dev-v2.0.json | attn score --squad --ref dev-v2.0.json
    attn score --log-prob -m attn-model < pairs.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    scoring, stream, device = options.scoring, options.stream, options.device
    console = Console(options.speech)
    bad = BadLines(console.warn, skip_bad=stream.skip_bad)
    if scoring.log_prob or scoring.ppl:
        runtime = RuntimeOptions(seed=scoring.seed, threads=device.threads, device=device.device)
        _model_scores(
            scoring, options.model.path, LineReader(hyp), stream.columns, runtime, bad, console
        )
        return
    files = SegmentFiles(hyp, scoring.ref, scoring.baseline, stream.columns)
    if scoring.squad and is_squad(files):
        if scoring.per_line:
            raise UsageError("--per-line answers lines; score answers as TSV, not as JSON")
        _score_corpus(scoring, read_squad(files, scoring.metrics, console.warn), console)
    else:
        _score_lines_of(files, scoring, bad, console)


def _score_lines_of(
    files: SegmentFiles, options: ScoreOptions, bad: BadLines, console: Console
) -> None:
    """Scores lines, each or all; no figure at all if a line had to be left out unasked."""
    metrics = chosen_metrics(options)
    reader = SegmentReader(files, bad, problem_finder(metrics), blank_ends=options.labels_only)
    if options.per_line:
        _score_each_line(metrics, reader, bad, as_json=options.json)
        return
    gc.disable()  # n-gram counts hold no cycles, and looking for some costs a fifth of the time
    segments = sentences(reader) if options.by_word else [each for each in reader if each]
    bad.finish("left out of the score")
    _score_corpus(options, segments, console)


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


def _score_each_line(
    metrics: Sequence[Metric], reader: SegmentReader, bad: BadLines, *, as_json: bool
) -> None:
    """One line of figures for each input line, as soon as it is read."""
    out = LineWriter()
    for segment in reader:
        figures = score_line(metrics, segment) if segment else {}
        print_line_scores(figures, out, as_json=as_json)
        if not reader.ready():
            out.flush()
    out.flush()
    bad.finish("answered with an empty line")


def _model_scores(
    options: ScoreOptions,
    path: str,
    reader: LineReader,
    columns: str | None,
    runtime: RuntimeOptions,
    bad: BadLines,
    console: Console,
) -> None:
    """Log-probabilities line by line, or the perplexity exp(-sum log P / sum tokens) of all."""
    from attn_cli.systems.generation.scorer import score_stream

    out = LineWriter()
    log_prob, tokens = 0.0, 0
    for scored in score_stream(path, reader, columns, runtime, bad):
        if options.log_prob:
            figures = {"log_prob": (scored.log_prob, 6)} if scored else {}
            print_line_scores(figures, out, as_json=options.json)
            if not reader.ready():
                out.flush()
        elif scored:
            log_prob, tokens = log_prob + scored.log_prob, tokens + scored.tokens
    out.flush()
    if options.log_prob:
        bad.finish("answered with an empty line")
        return
    bad.finish("left out of the perplexity")
    if not tokens:
        console.warn("no tokens, no perplexity")
        return
    details = {"log_prob": log_prob, "tokens": tokens}
    _print_scores(options, [Score("PPL", perplexity(log_prob, tokens), "", details=details)])
