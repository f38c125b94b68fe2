"""`attn decode`: lines in, lines out, in order, window by window."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.device import set_up, use_bf16
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import one_field, passed_through
from attn_cli.systems.base import DecodeJob, load_generator
from attn_cli.systems.generation.generator import Generator, Source, Translation
from attn_cli.systems.generation.scorer import Links, align, score_tokens
from attn_cli.systems.translation.translator import Translator


@dataclass(frozen=True)
class _Input:
    """A line's parts: usually one, several where the line is long; none where it is unusable."""

    number: int
    parts: list[Source]
    rest: list[str]


@dataclass(frozen=True)
class Output:
    """One output for a line.

    Attributes:
        text: without tabs and line ends.
        log_prob: log P(text | input) in nats, the sum over its parts; None if not asked for.
        score: what the search ranked by, the sum over its parts.
        links: word alignments (source word, target word); None if not asked for.
        source_words: words of the input.
    """

    text: str = ""
    log_prob: float | None = None
    score: float = 0.0
    links: Links | None = None
    source_words: int = 0

    @property
    def pharaoh(self) -> str | None:
        """The alignments as `i-j`."""
        return None if self.links is None else " ".join(f"{i}-{j}" for i, j in self.links)


def open_line_decoder(job: DecodeJob) -> LineDecoder:
    """The decoder of models that generate: translation and language models.

    Raises:
        UsageError: options that a model of this kind can't keep.
    """
    generator = load_generator(job.model, set_up(job.runtime))
    search, decoding, seed = job.search, job.decoding, job.runtime.seed
    generator.check(search, decoding)
    if search.n_best > 1 and decoding.format == "text":
        raise UsageError(f"--n-best {search.n_best} needs --format moses or --format json")
    columns = Columns.parse(job.stream.columns, 1 + decoding.prefix + decoding.constraints)
    return LineDecoder(generator, search, decoding, job.bad, job.say, seed, columns)


class LineDecoder:
    """Turns lines into output lines by a model.

    Args:
        generator: the model.
        search: how outputs are looked for.
        options: what is read and written.
        bad: is told of unusable lines.
        say: is told of long lines.
        seed: for sampling.
        columns: which columns of a line are its source, prefix and constraints.
    """

    def __init__(
        self,
        generator: Generator,
        search: SearchOptions,
        options: DecodeOptions,
        bad: BadLines,
        say: Callable[[str], None],
        seed: int,
        columns: Columns,
    ) -> None:
        self._columns = columns
        self._generator = generator
        generator.say = say
        self._search = search
        self._options = options
        self._max_input = options.max_input or generator.longest_input
        self._bad = bad
        self._say = say
        self._seed = seed

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The output lines of each window of input lines."""
        options, generator = self._options, self._generator
        count = 1 + options.prefix + options.constraints
        rows = Rows(reader, self._columns, self._bad, count=count, check=self._problem)
        for window in rows.windows(min(options.buffer, generator.most_lines)):
            inputs = [self._input(row) for row in window]
            outputs = self._decode(inputs)
            yield [
                text
                for item, found in zip(inputs, outputs, strict=True)
                for text in self._format(item, found)
            ]

    def _problem(self, fields: list[str]) -> str | None:
        if any(len(field) > 32 * self._max_input for field in fields[1:]):
            return "its prefix or constraints are longer than any input"
        return None

    def _input(self, row: Row) -> _Input:
        if not row.fields:
            return _Input(row.number, [], [])
        text, *steering = row.fields
        prefix = steering.pop(0) if self._options.prefix else ""
        phrases = steering.pop(0) if self._options.constraints else ""
        constraints = tuple(phrase for phrase in phrases.split(" ||| ") if phrase.strip())
        try:
            parts = [Source(text)]
            if text.strip():
                folder = self._options.image_root or row.stream.folder
                parts = self._generator.sources(text, self._max_input, folder)
        except DataError as error:
            row.refuse(str(error))
            return _Input(row.number, [], [])
        if len(parts) > 1:
            self._say(f"{row.where}: long line, decoded in {len(parts)} parts")
        parts = [dataclasses.replace(part, key=row.number) for part in parts]
        parts[0] = dataclasses.replace(parts[0], prefix=prefix, phrases=constraints)
        return _Input(row.number, parts, row.rest)

    def _decode(self, inputs: Sequence[_Input]) -> list[list[Output]]:
        """The outputs of each input, best first."""
        sources = [part for item in inputs for part in item.parts]
        found = iter(self._decode_parts(sources))
        return [
            [_joined(outputs) for outputs in zip(*(next(found) for _ in item.parts), strict=False)]
            for item in inputs
        ]

    def _decode_parts(self, sources: Sequence[Source]) -> list[list[Output]]:
        generator, options = self._generator, self._options
        found = generator.generate(
            sources,
            self._search,
            batch_tokens=options.batch_tokens,
            seed=self._seed,
            bf16=use_bf16(options.precision, generator.device),
        )
        pairs = [
            (source, one) for source, several in zip(sources, found, strict=True) for one in several
        ]
        log_probs = self._log_probs(pairs) if self._wants_scores else [None] * len(pairs)
        links = self._links(pairs) if options.align else [None] * len(pairs)
        outputs = iter(
            Output(one_field(one.text), log_prob, one.score, link, len(source.text.split()))
            for (source, one), log_prob, link in zip(pairs, log_probs, links, strict=True)
        )
        return [[next(outputs) for _ in several] or [Output()] for several in found]

    @property
    def _wants_scores(self) -> bool:
        return self._options.scores or self._options.format != "text"

    def _log_probs(self, pairs: Sequence[tuple[Source, Translation]]) -> list[float | None]:
        """Log P of each output's text.

        The search scores the tokens it produced. A text has many segmentations; its score is that
        of the one the tokenizer gives, as in `score --log-prob`, so the few outputs that were
        produced in another one (or were cut before their end) are scored once more.
        """
        log_probs: list[float | None] = [one.log_prob for _, one in pairs]
        if not self._generator.has_likelihood:
            return log_probs
        canonical = self._generator.tgt.encode([one_field(one.text) for _, one in pairs])
        other = [
            i
            for i, (_, one) in enumerate(pairs)
            if tuple(canonical[i]) != one.tokens or not one.finished
        ]
        src = self._generator.encoded([pairs[i][0] for i in other])
        scored = score_tokens(self._generator, src, [canonical[i] for i in other])
        for i, score in zip(other, scored, strict=True):
            log_probs[i] = score.log_prob
        return log_probs

    def _links(self, pairs: Sequence[tuple[Source, Translation]]) -> list[Links]:
        src = self._generator.encoded([source for source, _ in pairs])
        assert isinstance(self._generator, Translator)
        return align(self._generator, src, [one.tokens for _, one in pairs])

    def _format(self, item: _Input, outputs: Sequence[Output]) -> list[str]:
        found = list(outputs) or [Output()]
        if self._options.format == "json":
            return [_as_json(item, found)]
        if self._options.format == "moses":
            return [
                f"{item.number - 1} ||| {one.text} ||| logP={one.log_prob or 0.0:.6f} ||| "
                f"{one.score:.6f}"
                for one in found
            ]
        return ["\t".join([*self._fields(found[0]), *map(passed_through, item.rest)])]

    def _fields(self, output: Output) -> list[str]:
        fields = [output.text]
        if self._options.scores:
            fields.append("" if output.log_prob is None else f"{output.log_prob:.6f}")
        if self._options.align:
            fields.append(output.pharaoh or "")
        return fields


def _joined(parts: Sequence[Output]) -> Output:
    """The outputs of a long line's parts as one."""
    if len(parts) == 1:
        return parts[0]
    log_probs = [part.log_prob for part in parts if part.log_prob is not None]
    links: list[tuple[int, int]] = []
    src = tgt = 0
    for part in parts:
        links += [(src + i, tgt + j) for i, j in part.links or ()]
        src, tgt = src + part.source_words, tgt + len(part.text.split())
    return Output(
        " ".join(part.text for part in parts if part.text),
        sum(log_probs) if log_probs else None,
        sum(part.score for part in parts),
        None if parts[0].links is None else tuple(links),
        src,
    )


def _as_json(item: _Input, outputs: Sequence[Output]) -> str:
    hypotheses = [
        {
            key: value
            for key, value in (
                ("text", one.text),
                ("log_prob", one.log_prob),
                ("score", one.score),
                ("align", one.pharaoh),
            )
            if value is not None
        }
        for one in outputs
    ]
    entry = {"line": item.number, "hypotheses": hypotheses, "columns": item.rest}
    return json.dumps(entry, ensure_ascii=False)
