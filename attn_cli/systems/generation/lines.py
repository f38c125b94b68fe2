"""`attn decode`: lines in, lines out, in order, window by window."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.device import set_up, use_bf16
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.lines.writing import one_field, passed_through
from attn_cli.search.search import Hypothesis, Links
from attn_cli.systems.base import DecodeJob, load_generator
from attn_cli.systems.generation.generator import Generator, Source
from attn_cli.systems.generation.scorer import align, score_tokens

_NOTHING = Hypothesis((), 0.0, 0.0, True)


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
        self._bf16 = use_bf16(options.precision, generator.device)

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The output lines of each window of input lines."""
        options, generator = self._options, self._generator
        count = 1 + options.prefix + options.constraints
        check = self._problem if count > 1 else None
        rows = Rows(reader, self._columns, self._bad, count=count, check=check)
        for window in rows.windows(min(options.buffer, generator.most_lines)):
            sources: list[list[Source]] = []
            for number, row in enumerate(window):
                try:
                    sources.append(self._sources(row))
                except DataError as error:
                    window[number] = row.refuse(str(error))
                    sources.append([])
            parts = [part for several in sources for part in several]
            found = generator.generate(
                parts,
                self._search,
                batch_tokens=options.batch_tokens,
                seed=self._seed,
                bf16=self._bf16,
            )
            if options.align or options.scores or options.format != "text":
                found = self._completed(parts, found)
            outputs = iter(found)
            yield [
                text
                for row, several in zip(window, sources, strict=True)
                for text in self._format(row, several, [next(outputs) for _ in several])
            ]

    def _problem(self, fields: list[str]) -> str | None:
        if any(len(field) > 32 * self._max_input for field in fields[1:]):
            return "its prefix or constraints are longer than any input"
        return None

    def _sources(self, row: Row) -> list[Source]:
        """A line's parts: usually one; none of a blank line, and of one that can't be used.

        Raises:
            DataError: the line names a file that can't be used.
        """
        if not row.fields:
            return []
        text, *steering = row.fields
        sources = [Source(text)]
        if text.strip():
            folder = self._options.image_root or row.stream.folder
            sources = self._generator.sources(text, self._max_input, folder)
        if len(sources) > 1:
            self._say(f"{row.where}: long line, decoded in {len(sources)} parts")
        sources = [replace(source, key=row.number) for source in sources]
        if steering:
            prefix = steering.pop(0) if self._options.prefix else ""
            phrases = steering.pop(0).split(" ||| ") if self._options.constraints else []
            wanted = tuple(phrase for phrase in phrases if phrase.strip())
            sources[0] = replace(sources[0], prefix=prefix, phrases=wanted)
        return sources

    def _completed(
        self, sources: Sequence[Source], found: Sequence[Sequence[Hypothesis]]
    ) -> list[list[Hypothesis]]:
        """The same with log P of each output's text, and with alignments.

        The search scores the tokens it produced. A text has many segmentations; its score is that
        of the one the tokenizer gives, as in `score --log-prob`, so the few outputs that were
        produced in another one (or were cut before their end) are scored once more.
        """
        generator, options = self._generator, self._options
        pairs = [(i, hypothesis) for i, several in enumerate(found) for hypothesis in several]
        outputs = [hypothesis for _, hypothesis in pairs]
        if generator.has_likelihood and (options.scores or options.format != "text"):
            canonical = generator.tgt.encode([one_field(output.text) for output in outputs])
            other = [
                number
                for number, output in enumerate(outputs)
                if tuple(canonical[number]) != output.tokens or not output.finished
            ]
            src = generator.encoded([sources[pairs[number][0]] for number in other])
            scores = score_tokens(generator, src, [canonical[number] for number in other])
            for number, score in zip(other, scores, strict=True):
                outputs[number] = replace(outputs[number], log_prob=score.log_prob)
        if options.align:
            src = generator.encoded([sources[i] for i, _ in pairs])
            links = align(generator, src, [output.tokens for output in outputs])
            outputs = [
                replace(output, links=own) for output, own in zip(outputs, links, strict=True)
            ]
        ordered = iter(outputs)
        return [[next(ordered) for _ in several] for several in found]

    def _format(
        self, row: Row, sources: Sequence[Source], parts: Sequence[Sequence[Hypothesis]]
    ) -> list[str]:
        """The output lines for a line, of the hypotheses of its parts, best first."""
        options = self._options
        hypotheses = list(parts[0]) if len(parts) == 1 else []
        if len(parts) > 1 and any(parts):
            ranks = zip(*(several or [_NOTHING] for several in parts), strict=False)
            hypotheses = [_joined(sources, rank) for rank in ranks]
        if options.format == "json":
            return [_as_json(row, hypotheses)]
        if options.format == "moses":
            return [
                f"{row.number - 1} ||| {one_field(hypothesis.text)} ||| "
                f"logP={hypothesis.log_prob:.6f} ||| {hypothesis.score:.6f}"
                for hypothesis in hypotheses or [_NOTHING]
            ]
        best = hypotheses[0] if hypotheses else _NOTHING
        fields = [one_field(best.text)]
        if options.scores:
            fields.append(f"{best.log_prob:.6f}" if hypotheses else "")
        if options.align:
            fields.append(_pharaoh(best.links or ()))
        return ["\t".join([*fields, *map(passed_through, row.rest)])]


def _joined(sources: Sequence[Source], parts: Sequence[Hypothesis]) -> Hypothesis:
    """The outputs of a long line's parts as one."""
    links: list[tuple[int, int]] = []
    src = tgt = 0
    for source, part in zip(sources, parts, strict=True):
        links += [(src + i, tgt + j) for i, j in part.links or ()]
        src, tgt = src + len(source.text.split()), tgt + len(part.text.split())
    return Hypothesis(
        tokens=tuple(token for part in parts for token in part.tokens),
        log_prob=sum(part.log_prob for part in parts),
        score=sum(part.score for part in parts),
        finished=all(part.finished for part in parts),
        text=" ".join(part.text for part in parts if part.text),
        links=None if parts[0].links is None else tuple(links),
    )


def _as_json(row: Row, hypotheses: Sequence[Hypothesis]) -> str:
    entries: list[dict[str, object]] = []
    for hypothesis in hypotheses:
        entry: dict[str, object] = {"text": one_field(hypothesis.text)}
        entry |= {"log_prob": hypothesis.log_prob, "score": hypothesis.score}
        if hypothesis.links is not None:
            entry["align"] = _pharaoh(hypothesis.links)
        entries.append(entry)
    entries = entries or [{"text": "", "score": 0.0}]
    line = {"line": row.number, "hypotheses": entries, "columns": row.rest}
    return json.dumps(line, ensure_ascii=False)


def _pharaoh(links: Links) -> str:
    """Alignments as `i-j`."""
    return " ".join(f"{i}-{j}" for i, j in links)
