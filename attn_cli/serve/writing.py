"""Models that write texts, translators and language models, as the server asks them.

What answers is `decode`'s own line decoder; here stands what a request may ask of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.errors import AttnError, DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import Line
from attn_cli.lines.rows import Row, is_blank
from attn_cli.search.search import Hypothesis, Links, Watch
from attn_cli.systems.generation.generator import Generator, Source
from attn_cli.systems.generation.lines import LineDecoder
from attn_cli.systems.generation.scorer import word_weights


@dataclass(frozen=True)
class Ask:
    """What is asked of a line; lines of which the same is asked are answered together.

    Attributes:
        search: how outputs are looked for.
        seed: for sampling.
        align: whether words are aligned, by models that can.
        by_sentence: whether a line is read sentence by sentence.
    """

    search: SearchOptions
    seed: int
    align: bool = False
    by_sentence: bool = False


@dataclass(frozen=True)
class Input:
    """A line.

    Attributes:
        text: what stands there.
        number: its place in the request, from 1, which sampling is seeded by, too.
        told: is told the output so far, where one alone is searched, from the model's thread.
    """

    text: str
    number: int
    told: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Written:
    """An output.

    Attributes:
        text: what was written; without the prompt of a language model.
        finished: whether it ended by itself.
        n_read: how many tokens its line has.
        n_written: how many tokens it has itself.
        links: pairs of source word and target word, where asked for.
        weights: of each target word on each source word, in sum 1; None where they were not asked
            for, or the line was read in parts. Shape: (target words, source words).
    """

    text: str
    finished: bool
    n_read: int
    n_written: int
    links: Links | None = None
    weights: list[list[float]] | None = None


class HeardNotices(Notices):
    """Keeps why a line can't be used, for whoever sent it; what is said of others goes nowhere.

    Args:
        say: is told what is true of the model.

    Attributes:
        causes: where a line stands -> why it can't be used.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say, skip_bad=True)
        self.causes: dict[str, str] = {}

    def add_at(self, where: str, cause: str) -> None:
        """See `BadLines.add_at`."""
        self.causes.setdefault(where, cause)

    def add_in_part(self, where: str, cause: str) -> None:
        """An answer with less than was asked for says so by itself."""

    def remark(self, kind: str, where: str, text: str, *, shown: int | None = None) -> None:
        """Nothing: a server would say it again and again."""


@dataclass(frozen=True)
class _Request:
    """What a row is of; a `lines.rows.Stream`."""

    name: str
    bad: Notices
    folder: str = ""
    columns: Columns | None = None


class Writer:
    """Writes outputs for lines; for one thread.

    Args:
        decoder: of the model.
        options: how it reads.
        bad: what the decoder tells of lines.
    """

    def __init__(self, decoder: LineDecoder, options: DecodeOptions, bad: HeardNotices) -> None:
        self._decoder = decoder
        self._options = options
        self._bad = bad

    @property
    def search(self) -> SearchOptions:
        """How outputs are looked for where a request does not say."""
        return self._decoder.search

    @property
    def translates(self) -> bool:
        """Whether outputs are of other texts than their inputs."""
        return self._decoder.generator.has_source

    def answer(self, ask: Ask, inputs: Sequence[Input]) -> list[list[Written] | AttnError]:
        """The outputs for each line, best first, or why there are none.

        Raises:
            UsageError: the model can't keep what is asked of all of them.
        """
        ask = replace(ask, align=ask.align and self._decoder.generator.aligns)
        options = replace(self._options, align=ask.align, split=ask.by_sentence)
        decoder = self._decoder.like(ask.search, options, ask.seed)
        self._bad.causes = {}
        rows = [self._row(place, each) for place, each in enumerate(inputs)]
        watch = self._watch(inputs) if any(line.told for line in inputs) else None
        found = decoder.hypotheses(rows, watch)
        answers: list[list[Written] | AttnError] = []
        for row, line, outputs in zip(rows, inputs, found, strict=True):
            cause = self._bad.causes.get(row.where)
            answers.append(DataError(cause) if cause else self._written(line.text, outputs, ask))
        return answers

    def _watch(self, inputs: Sequence[Input]) -> Watch:
        """Tells each input what is written for it so far."""
        generator, limit = self._decoder.generator, self._decoder.max_input

        def watch(number: int, tokens: Sequence[int]) -> None:
            line = inputs[number]
            if line.told:
                begun = Hypothesis(tuple(tokens), 0.0, 0.0, False)
                (text,) = generator.texts(Source(line.text, limit=limit), [begun])
                line.told(text[0 if generator.has_source else len(line.text) :])

        return watch

    def _row(self, place: int, line: Input) -> Row:
        """A line as `decode` reads it; lines of several requests may have one number."""
        fields = [] if self.translates and is_blank(line.text) else [line.text]
        stream = _Request(f"input {place}", self._bad)
        return Row(line.number, Line(line.number, line.text), stream, fields, [])

    def _written(self, text: str, outputs: Sequence[Hypothesis], ask: Ask) -> list[Written]:
        """The outputs for a line, as a request is told of them."""
        generator = self._decoder.generator
        source = Source(text, limit=self._decoder.max_input)
        n_read = len(generator.tgt.encode([text])[0])
        skipped = 0 if generator.has_source else len(text)  # a prompt stands in its outputs
        whole = ask.align and not ask.by_sentence
        whole = whole and len(generator.sources(text, self._decoder.max_input, "")) == 1
        return [
            Written(
                text=output.text[skipped:],
                finished=output.finished,
                n_read=n_read,
                n_written=generator.n_written(source, output),
                links=output.links,
                weights=_weights(generator, source, output) if whole else None,
            )
            for output in outputs
        ]


def _weights(generator: Generator, source: Source, output: Hypothesis) -> list[list[float]]:
    """What each word of an output attends to, of a line that was read whole."""
    (table,) = word_weights(generator, generator.encoded([source]), [output.tokens])
    if not table.numel():
        return []
    shares = table / table.sum(1, keepdim=True).clamp(min=1e-9)
    return [[round(value, 4) for value in row] for row in shares.tolist()]


def settled(search: SearchOptions, n_best: int) -> SearchOptions:
    """The search, asked for so many outputs, as wide as they need.

    Raises:
        UsageError: the options exclude each other.
    """
    if search.sample or n_best <= search.width:
        return changed_search(search, n_best=n_best)
    groups = search.diversity_groups
    beam = n_best if groups is None else -(-n_best // groups) * groups
    return changed_search(search, n_best=n_best, greedy=False, beam=max(beam, search.beam))


def changed_search(search: SearchOptions, **changes: object) -> SearchOptions:
    """The search with other options.

    Raises:
        UsageError: they exclude each other.
    """
    try:
        return replace(search, **changes)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from error
