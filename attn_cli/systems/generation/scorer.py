"""What a model thinks of given outputs: log-probabilities and attention, by teacher forcing.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from attn_cli.config.runtime import RuntimeOptions
from attn_cli.data.batching import cut_by_budget
from attn_cli.device import crew_for, set_up
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.ranks import Ranks
from attn_cli.search.search import Links
from attn_cli.systems.base import Kept, load_generator
from attn_cli.systems.generation.generator import Generator, Ids, Source
from attn_cli.tokenizers.words import words_of_tokens
from attn_cli.workers import Crew, in_order

_BATCH_TOKENS = 4096
_WINDOW = 256  # lines: what one worker takes
_WHOLE = 1 << 62  # tokens: no input is scored in parts
_LONGEST = 50_000  # characters; attention over all of it takes memory with the square


@dataclass(frozen=True)
class ScoredLine:
    """One line's score.

    Attributes:
        log_prob: log P(target | source) in nats, end of sentence included.
        tokens: what it is a sum over: the target's tokens and the end of sentence.
    """

    log_prob: float
    tokens: int


def load_scorer(paths: str, device: torch.device, kept: Kept | None = None) -> Generator:
    """Reads what scores lines: a model directory, or several joined by commas.

    Raises:
        DataError: a directory is missing or damaged, or its model has no probability of a text.
        UsageError: the model gives no probability of a given text.
    """
    generator = load_generator(paths, device, kept=kept)
    if not generator.has_likelihood:
        raise UsageError(
            f"{paths}: a mask-predict model has no P(target | source): it gives each token's "
            "probability in view of others, in an order of its own; use an autoregressive model"
        )
    return generator


def score_stream(
    path: str, reader: LineReader, spec: str | None, runtime: RuntimeOptions, bad: BadLines
) -> Iterator[ScoredLine | None]:
    """Scores the lines of an input as they come; see `score_lines`.

    Args:
        path: a model directory, or several joined by commas.
        reader: the lines.
        spec: `--columns`: which of their columns these are.
        runtime: device and threads.
        bad: is told of unusable lines.
    """
    with Ranks.all_together():
        generator = load_scorer(path, set_up(runtime))
    yield from score_lines(generator, reader, spec, bad, crew_for(generator.device))


def score_lines(
    generator: Generator, reader: LineReader, spec: str | None, bad: BadLines, crew: Crew
) -> Iterator[ScoredLine | None]:
    """Scores lines (source and target; the text alone for a language model) as they come.

    None stands for a line that can't be used, and for a blank one.

    Args:
        generator: of `load_scorer`.
        reader: the lines.
        spec: `--columns`: which of their columns these are.
        bad: is told of unusable lines.
        crew: who scores them.
    """
    columns, count = Columns.parse(spec, generator.n_scored), generator.n_scored
    rows = Rows(reader, columns, bad, count=count, check=_too_long)
    windows = rows.windows(min(_WINDOW, generator.most_lines))
    parts = ([_pair(generator, row) for row in window] for window in windows)
    for scores in in_order(partial(_scores, generator), parts, crew, reader):
        yield from scores


def _scores(
    generator: Generator, pairs: Sequence[tuple[Source, str] | None]
) -> list[ScoredLine | None]:
    scores = iter(score_pairs(generator, [pair for pair in pairs if pair is not None]))
    return [None if pair is None else next(scores) for pair in pairs]


def _too_long(fields: list[str]) -> str | None:
    if max(map(len, fields)) <= _LONGEST:
        return None
    return f"longer than {_LONGEST:,} characters: a model can't score that at once"


def _pair(generator: Generator, row: Row) -> tuple[Source, str] | None:
    """Input and output of a line; None of a blank line, and of one that can't be used."""
    if not row.fields:
        return None
    text, target = generator.scored(row.fields)
    try:
        source = generator.sources(text, _WHOLE, row.stream.folder)[0]
        cause = generator.refused(source, target)
    except DataError as error:
        row.refuse(error)
        return None
    if cause:
        row.refuse(cause)
        return None
    return source, target


def score_pairs(generator: Generator, pairs: Sequence[tuple[Source, str]]) -> list[ScoredLine]:
    """Log P(output | input) of each pair, of an ensemble by its mean probabilities."""
    src = generator.encoded([source for source, _ in pairs])
    return score_tokens(generator, src, generator.tgt.encode([text for _, text in pairs]))


@torch.inference_mode()
def score_tokens(
    generator: Generator, src: Sequence[Sized], tgt: Sequence[Ids]
) -> list[ScoredLine]:
    """The same for inputs that `Generator.encoded` gave, and targets without bos and eos."""
    scores = [ScoredLine(0.0, 0)] * len(src)
    for group in _groups(src, tgt):
        batch = [src[i] for i in group], [tgt[i] for i in group]
        each = [generator.token_log_probs(model, *batch) for model in generator.models]
        # p = (1/M) sum of the members' p, for each token
        log_probs = torch.stack(each).logsumexp(0) - math.log(len(each))
        for i, row in zip(group, log_probs, strict=True):
            size = len(tgt[i]) + 1
            scores[i] = ScoredLine(float(row[:size].double().sum()), size)
    return scores


def align(generator: Generator, src: Sequence[Sized], tgt: Sequence[Ids]) -> list[Links]:
    """Word alignments: pairs of source word (or region of an image) and target word, from 0.

    Each target word is linked to the source word that its tokens attend to most.
    """
    return [
        tuple((i, j) for j, i in enumerate(table.argmax(1).tolist())) if table.numel() else ()
        for table in word_weights(generator, src, tgt)
    ]


@torch.inference_mode()
def word_weights(generator: Generator, src: Sequence[Sized], tgt: Sequence[Ids]) -> list[Tensor]:
    """How much each target word's tokens attend to the tokens of each source word, in sum.

    Shape of each: (target words, source words); (0, 0) where a side has no words.
    """
    tables = [torch.zeros(0, 0)] * len(src)
    for group in _groups(src, tgt):
        weights = generator.alignment([src[i] for i in group], [tgt[i] for i in group])
        for row, i in enumerate(group):
            tables[i] = _word_table(generator, src[i], tgt[i], weights[row])
    return tables


def _word_table(generator: Generator, src: Sized, tgt: Ids, weights: Tensor) -> Tensor:
    src_words = generator.source_words(src)
    tgt_words = words_of_tokens(generator.tgt, tgt)
    if not src_words or not tgt_words:
        return torch.zeros(0, 0)
    table = torch.zeros(max(tgt_words) + 1, max(src_words) + 1, device=weights.device)
    by_token = weights[: len(tgt), : len(src_words)]
    by_word = torch.zeros(len(tgt), table.shape[1], device=weights.device)
    by_word.index_add_(1, torch.tensor(src_words, device=weights.device), by_token)
    return table.index_add_(0, torch.tensor(tgt_words, device=weights.device), by_word)


def _groups(src: Sequence[Sized], tgt: Sequence[Ids]) -> list[list[int]]:
    lengths = [(len(s), len(t) + 1) for s, t in zip(src, tgt, strict=True)]
    return cut_by_budget(lengths, _BATCH_TOKENS, seed=0)
