"""What models make of the same lines: figures of quality, and how many answers differ."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.runtime import RuntimeOptions, StreamOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.errors import DataError
from attn_cli.files import write_atomically
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import is_blank
from attn_cli.lines.unusable import BadLines, HeldBadLines
from attn_cli.metrics.base import Score
from attn_cli.metrics.perplexity import perplexity
from attn_cli.metrics.scoring import CorpusScorer, chosen_metrics, problem_finder
from attn_cli.metrics.segments import SegmentFiles, SegmentReader, sentences
from attn_cli.metrics.squad import read_squad
from attn_cli.models.directory import read_config
from attn_cli.systems.base import SYSTEMS, DecodeJob, open_decoder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What a model made of some lines.

    Attributes:
        lines: its answers; none of a language model, whose texts are scored.
        scores: their figures; none where the lines hold no references.
    """

    lines: Sequence[str]
    scores: Sequence[Score]


def require_answers(model: Path) -> None:
    """Raises DataError if a model can't be compared by what it makes of lines."""
    task = read_config(model).task
    if task not in SYSTEMS or SYSTEMS[task].decoder is None:
        raise DataError(f"--dev: {model} answers nothing by itself: nothing to compare")


def require_lines(dev: str) -> None:
    """Raises DataError if no line of a file can be read."""
    with LineReader(dev) as reader:
        if all(line.error or is_blank(line.text) for line in reader):
            raise DataError(f"--dev {dev}: no line that can be read: nothing to compare on")


def compare(folders: Sequence[Path], output: Path, dev: str, warn: Say, tell: Say) -> None:
    """Says what models before and after a change make of the same lines.

    Args:
        folders: the model before, or several.
        output: the model after.
        dev: the lines, as `decode` reads them, with references behind.
        warn: is told of lines that can't be used, once.
        tell: is told the figures.

    Raises:
        DataError: models of this kind answer nothing, or the lines can't be read.
    """
    models = list(dict.fromkeys([*folders, output]))
    trials: dict[Path, Trial] = {}
    for model in models:
        trials[model] = _tried(model, dev, warn if not trials else lambda text: None)
        figures = [f"{score.name} {_figure(score)}" for score in trials[model].scores]
        tell(f"{dev}: {model}: {', '.join(figures) or 'no references, no figure'}")
    after = trials[output].lines
    if after:
        before = trials[models[0]].lines
        count = sum(old != new for old, new in zip(before, after, strict=True))
        tell(f"{dev}: {count:,} of {len(after):,} lines are answered otherwise than by {models[0]}")


def _figure(score: Score) -> str:
    return f"{score.value:.{min(score.decimals, 4)}f}" if not score.undefined else "undefined"


def _tried(model: Path, dev: str, warn: Say) -> Trial:
    task = read_config(model).task
    if task == "continue":
        return Trial([], _likelihood(model, dev, warn))
    job = DecodeJob(
        model=str(model),
        search=SearchOptions(),
        decoding=DecodeOptions(),
        stream=StreamOptions(),
        runtime=RuntimeOptions(),
        bad=Notices(warn, skip_bad=True),
    )
    with LineReader(dev) as reader:
        lines = [line for part in open_decoder(job).results(reader) for line in part]
    job.bad.finish(job.bad.outcome)
    return Trial(lines, _scored(model, task, lines, dev))


def _likelihood(model: Path, dev: str, warn: Say) -> list[Score]:
    """The perplexity of texts by a language model."""
    from attn_cli.systems.generation.scorer import score_stream

    bad = BadLines(warn, skip_bad=True)
    with LineReader(dev) as reader:
        stream = score_stream(str(model), reader, None, RuntimeOptions(), bad)
        found = [each for each in stream if each]
    bad.finish("left out")
    n_tokens = sum(each.tokens for each in found)
    if not n_tokens:
        raise DataError(f"--dev {dev}: no tokens, no perplexity")
    value = perplexity(sum(each.log_prob for each in found), n_tokens)
    return [Score("PPL", value, "", decimals=2, lower_is_better=True)]


def _scored(model: Path, task: str, lines: Sequence[str], dev: str) -> list[Score]:
    """The figures of answers, where the lines that were answered hold references, too."""
    options, form = _measures(model, task)
    if options is None:
        return []
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "answers"
        write_atomically(file, "".join(f"{line}\n" for line in lines).encode("utf-8"))
        if form == "squad":
            files = SegmentFiles(str(file), (dev,))
            segments = read_squad(files, options.metrics, lambda text: None)
        else:
            columns = "2,3" if form == "blocks" else None
            if not any(line.count("\t") >= (2 if columns else 1) for line in lines):
                return []  # answers alone
            reader = SegmentReader(
                SegmentFiles(str(file), columns=columns),
                HeldBadLines(lambda text: None, lambda cause: "", skip_bad=True),
                problem_finder(chosen_metrics(options)),
                blank_ends=options.labels_only,
                conll=options.labels_only,
                spaces=options.by_word,
            )
            words = options.by_word
            segments = sentences(reader.words()) if words else [each for each in reader if each]
        scorer = CorpusScorer(options)
        scorer.add(segments)
        return scorer.scores()


def _measures(model: Path, task: str) -> tuple[ScoreOptions | None, str]:
    """What is measured of a model's answers, and how they lie in a file."""
    if task in ("translate", "mask-predict"):
        return ScoreOptions(bleu=True, chrf=True), "lines"
    if task != "predict":
        return None, ""

    import torch

    from attn_cli.systems.tasks.predictor import load_predictor

    found = load_predictor(model, torch.device("cpu"), None).task
    return found.measures, found.format
