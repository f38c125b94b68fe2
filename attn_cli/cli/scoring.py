"""What `attn score` does: reads lines, has them scored, prints the figures."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable, Sequence

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
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.reading import LineReader, display_name
from attn_cli.lines.unusable import HeldBadLines
from attn_cli.lines.writing import LineWriter
from attn_cli.metrics.base import Score, Segment
from attn_cli.metrics.confusion import Confusion
from attn_cli.metrics.perplexity import perplexity
from attn_cli.metrics.scoring import CorpusScorer, chosen_metrics, problem_finder, score_line
from attn_cli.metrics.segments import SegmentFiles, SegmentReader, sentences
from attn_cli.metrics.squad import is_squad, read_squad
from attn_cli.threads import at_hand
from attn_cli.wording import plural

_REFERENCES = "name the references' file with --ref, or give lines hypothesis<TAB>reference"
_SOURCE = "give lines source<TAB>hypothesis"


def score_against_references(hyp: str, options: ScoreCommand) -> None:
    """Scores lines, each or all; lines that can't be used are left out, named, and end with 3.

    Raises:
        DataError: a file can't be read, no line can be scored, or lines were unusable and
            `--skip-bad` was not given.
        UsageError: answers in JSON shall be scored line by line.
    """
    scoring, console = options.scoring, Console(options.speech)
    if scoring.confusion:
        from attn_cli.viz.figures import check_picture

        check_picture(scoring.confusion)
    files = SegmentFiles(hyp, scoring.ref, scoring.baseline, options.stream.columns)
    remedy = "" if scoring.ref else _REFERENCES
    bad = _bad_lines(options, console, remedy)
    if scoring.squad and is_squad(files):
        if scoring.per_line:
            raise UsageError("--per-line answers lines; score answers as TSV, not as JSON")
        questions = read_squad(files, scoring.metrics, console.warn)
        _score_corpus(hyp, options, questions, console, bad)
        return
    metrics = chosen_metrics(scoring)
    reader = SegmentReader(
        files,
        bad,
        problem_finder(metrics),
        blank_ends=scoring.labels_only,
        conll=scoring.labels_only and not scoring.per_line,
        spaces=scoring.by_word,
    )
    if not scoring.per_line:
        gc.disable()  # n-gram counts hold no cycles; looking for some costs a fifth of the time
        usable = sentences(reader.words()) if scoring.by_word else (each for each in reader if each)
        _score_corpus(hyp, options, usable, console, bad)
        return
    out = LineWriter()
    for segment in reader:
        figures = score_line(metrics, segment) if segment else {}
        print_line_scores(figures, out, as_json=scoring.json)
        if not reader.ready():
            out.flush()
    out.flush()
    bad.finish("answered with an empty line")


def compare(hyp: str, options: ScoreCommand) -> None:
    """Tells where two systems differ; see `score_compare`."""
    from attn_cli.cli.score_compare import compare_systems

    remedy = "" if options.scoring.ref else _REFERENCES
    compare_systems(hyp, options, _bad_lines(options, Console(options.speech), remedy))


def score_by_model(hyp: str, options: ScoreCommand) -> None:
    """Prints log-probabilities line by line, or the perplexity exp(-sum log P / sum tokens) of all.

    Raises:
        DataError: the model or a file can't be read, or lines were unusable.
    """
    from attn_cli.systems.generation.scorer import score_stream

    scoring, device, console = options.scoring, options.device, Console(options.speech)
    runtime = RuntimeOptions(seed=scoring.seed, threads=device.threads, device=device.device)
    bad = _bad_lines(options, console, _SOURCE)
    reader, out = LineReader(hyp), LineWriter()
    log_prob, tokens, n_left_out = 0.0, 0, 0
    for scored in score_stream(options.model.path, reader, options.stream.columns, runtime, bad):
        if scored:
            bad.used()
        else:
            n_left_out += 1
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
    if n_blank := n_left_out - bad.total:
        console.warn(f"{plural(n_blank, 'blank line')} left out of the perplexity")
    if tokens:
        details = {"log_prob": log_prob, "tokens": tokens}
        value = perplexity(log_prob, tokens)
        score = Score("PPL", value, "", details=details, lower_is_better=True)
        _print_scores(scoring, [score])
    bad.finish("left out of the perplexity")
    if not tokens:
        raise DataError(f"{reader.name}: no tokens, no perplexity")


def _bad_lines(options: ScoreCommand, console: Console, remedy: str) -> HeldBadLines:
    """Names lines that can't be used; of a file without a second column, what is needed."""
    lacks_column = re.compile(r"\d+ columns?, but")
    return HeldBadLines(
        console.warn,
        lambda cause: remedy if lacks_column.match(cause) and not options.stream.columns else "",
        skip_bad=options.stream.skip_bad,
    )


def _score_corpus(
    name: str,
    command: ScoreCommand,
    segments: Iterable[Segment],
    console: Console,
    bad: HeldBadLines,
) -> None:
    """One figure per metric over all lines that can be used; of none of them there is none."""
    options = command.scoring
    scorer, confusion = CorpusScorer(options), Confusion(by_word=options.by_word)
    watched = confusion.watch(segments) if options.confusion else segments
    scorer.add(watched, at_hand(command.device.threads))
    counts = scorer.n_references
    if len(counts) > 1:
        console.say(f"lines have from {min(counts)} to {plural(max(counts), 'reference')}")
    if options.verbose:
        console.say(plural(scorer.n_lines, "line") + " to score")
    for note in scorer.notes():
        console.warn(note)
    if scorer.n_lines:
        scores = scorer.scores()
        for score in scores:
            if score.undefined:
                console.warn(f"{score.name} is undefined: {score.undefined}")
        _print_scores(options, scores)
        if options.confusion:
            _draw_confusion(options.confusion, confusion, scores[0])
    bad.finish("left out of the score")
    if not scorer.n_lines:
        raise DataError(f"{display_name(name)}: no lines, no score")


def _draw_confusion(path: str, confusion: Confusion, score: Score) -> None:
    from attn_cli.viz.confusion import MOST_LABELS, draw_confusion

    matrix = confusion.matrix(MOST_LABELS)
    n_items = sum(map(sum, matrix.counts))
    title = f"{score.name} {score.value:.4f} of {plural(n_items, 'label')}"
    draw_confusion(path, title, matrix.labels, matrix.counts)


def _print_scores(options: ScoreOptions, scores: Sequence[Score]) -> None:
    if options.json:
        print_json(scores, LineWriter())
    elif sys.stdout.isatty():
        print_table(scores, signature=options.signature)
    else:
        print_lines(scores, LineWriter(), signature=options.signature)
    if options.report and not options.json:
        print_report(scores, LineWriter())
