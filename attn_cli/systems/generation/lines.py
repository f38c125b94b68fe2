"""`attn decode`: lines in, lines out, in order, window by window."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attn_cli.config.decoding import MAX_INPUT, DecodeOptions, SearchOptions
from attn_cli.config.generation import GenerationDefaults
from attn_cli.data.sentences import split_sentences
from attn_cli.device import crew_for, set_up, use_bf16
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.notices import Notices
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows, is_blank
from attn_cli.lines.writing import one_field, passed_through
from attn_cli.models.directory import CONFIG, read_config
from attn_cli.search.search import Hypothesis, Links, Times, Watch
from attn_cli.systems.base import DecodeJob, load_generator
from attn_cli.systems.generation.generator import Generator, Source
from attn_cli.systems.generation.joining import NOTHING, whole
from attn_cli.systems.generation.promises import broken, refusal
from attn_cli.systems.generation.scorer import align, score_tokens
from attn_cli.wording import plural
from attn_cli.workers import Crew

_UNFINISHED = "have an output that stops before its end"
_MOST_HELD = 1 << 18  # places of what was read from files, before it is decoded


def open_line_decoder(job: DecodeJob) -> LineDecoder:
    """The decoder of models that generate: translation and language models.

    Raises:
        UsageError: options that a model of this kind can't keep.
    """
    search, decoding, seed = _search(job), job.decoding, job.runtime.seed
    if search.too_narrow:
        raise UsageError(search.too_narrow)
    device, precision = set_up(job.runtime), decoding.precision
    generator = load_generator(
        job.model, device, precision=precision, say=job.say, way=search.way, kept=job.kept
    )
    generator.check(search, decoding)
    generator.use_engine(search, decoding)
    if search.n_best > 1 and decoding.format == "text":
        raise UsageError(f"--n-best {search.n_best} needs --format moses or --format json")
    if decoding.markup is not None:  # its texts are passages, whose tags stand by alignment
        decoding = replace(decoding, split=True, align=generator.aligns)
    columns = Columns.parse(job.stream.columns, 1 + decoding.prefix + decoding.constraints)
    return LineDecoder(generator, search, decoding, job.bad, seed, columns)


def _search(job: DecodeJob) -> SearchOptions:
    """The options of the search: what was not given as the first model's files say."""
    path = Path(job.model.split(",")[0])
    own = read_config(path).options.get("generation")
    defaults = GenerationDefaults.read(own, f"{path / CONFIG}: generation")
    search, said = defaults.fill(job.search, job.given)
    if said:
        job.say(f"{path}: written with {said}, as its files say; options that are given win")
    return search


class LineDecoder:
    """Turns lines into output lines by a model.

    Args:
        generator: the model.
        search: how outputs are looked for.
        options: what is read and written.
        bad: is told of unusable lines and of long ones.
        seed: for sampling.
        columns: which columns of a line are its source, prefix and constraints.

    Attributes:
        generator: the model.
        search: how outputs are looked for.
        max_input: tokens of a line that is read whole.
        crew: who decodes.
    """

    def __init__(
        self,
        generator: Generator,
        search: SearchOptions,
        options: DecodeOptions,
        bad: Notices,
        seed: int,
        columns: Columns,
    ) -> None:
        self._columns = columns
        self.generator = generator
        generator.say = bad.say
        self.search = search
        self._options = options
        self.max_input = generator.input_limit(options.max_input, options.max_seconds)
        self._bad = bad
        self.crew = Crew() if generator.has_threads else crew_for(generator.device)
        self._seed = seed
        self._bf16 = use_bf16(options.precision, generator.device)

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """The output lines of each window of input lines."""
        options, generator = self._options, self.generator
        count = 1 + options.prefix + options.constraints
        check = self._problem if count > 1 else None
        rows = Rows(reader, self._columns, self._bad, count=count, check=check)
        most = min(options.buffer, generator.most_lines)
        windows = rows.windows(most, first=self.crew.first)
        return self._bad.answered(windows, self._answered, reader, self.crew, [rows])

    def like(self, search: SearchOptions, options: DecodeOptions, seed: int) -> LineDecoder:
        """A decoder with the same model that is asked for something else.

        Raises:
            UsageError: the model can't keep it.
        """
        if search.too_narrow:
            raise UsageError(search.too_narrow)
        self.generator.check(search, options)
        return LineDecoder(self.generator, search, options, self._bad, seed, self._columns)

    def _answered(self, window: list[Row]) -> list[str]:
        """The output lines of some rows, decoded together."""
        lines: list[str] = []
        for row, hypotheses in zip(window, self.hypotheses(window), strict=True):
            lines += self._format(row, hypotheses)
        return lines

    def hypotheses(
        self, window: Sequence[Row], watch: Watch | None = None
    ) -> list[list[Hypothesis]]:
        """The outputs of some rows, decoded together, those of each best first.

        Args:
            window: the rows; one that is blank, or can't be used, which is named, has no output.
            watch: is told of the tokens of each row's first beam as they come.
        """
        outputs: list[list[Hypothesis]] = []
        read: list[tuple[Row, list[Source]]] = []
        held = 0
        for row in window:
            try:
                read.append((row, self._sources(row)))
            except DataError as error:
                row.refuse(error)
                read.append((row, []))
            held += sum(len(part.file) for part in read[-1][1] if part.file is not None)
            if held > _MOST_HELD:  # a few long recordings fill the memory
                outputs += self._searched(read, watch, len(outputs))
                read, held = [], 0
        return outputs + self._searched(read, watch, len(outputs))

    def _searched(
        self, read: Sequence[tuple[Row, list[Source]]], watch: Watch | None, first: int
    ) -> list[list[Hypothesis]]:
        """The outputs of some rows and their parts; `first` is the number of the first row."""
        options = self._options
        sources = [several for _, several in read]
        parts = [part for several in sources for part in several]
        found = self.generator.generate(
            parts,
            self.search,
            batch_tokens=options.batch_tokens,
            seed=self._seed,
            bf16=self._bf16,
            watch=_of_rows(watch, sources, first) if watch else None,
        )
        if options.align or options.scores or options.format != "text":
            found = self._completed(parts, found)
        outputs = iter(found)
        return [
            self._answer(row, several, [next(outputs) for _ in several]) for row, several in read
        ]

    def _problem(self, fields: list[str]) -> str | None:
        if any(len(field) > 32 * max(self.max_input, MAX_INPUT) for field in fields[1:]):
            return "its prefix or constraints are longer than any input"
        return None

    def _sources(self, row: Row) -> list[Source]:
        """A line's parts: usually one; none of a blank line, and of one that can't be used.

        Raises:
            DataError: the line names a file that can't be used, or asks for what can't be given.
        """
        if not row.fields:
            return []
        text, *steering = row.fields
        sentences = [[Source(text)]]
        if not is_blank(text):
            folder = self._options.image_root or row.stream.folder
            sentences = self._sentences(text, folder)
        parts = [part for several in sentences for part in several]
        sources = [replace(part, key=_key(row.number, i)) for i, part in enumerate(parts)]
        if steering:
            prefix = steering.pop(0) if self._options.prefix else ""
            phrases = steering.pop(0).split(" ||| ") if self._options.constraints else []
            wanted = tuple(phrase for phrase in phrases if phrase.strip())
            sources[0] = replace(sources[0], prefix=prefix, phrases=wanted)
        if cause := refusal(self.generator, sources, self.search):
            raise DataError(cause)
        if len(sources) > len(sentences):
            flag = self.generator.limit_flag
            said = f"long line, decoded in {len(sources)} parts ({flag})"
            self._bad.remark(f"are long and decoded in parts ({flag})", row.where, said)
        if not is_blank(text) and (unread := self.generator.unread(sources[0])):
            self._bad.remark("hold more than what is read of them", row.where, unread)
        return sources

    def _sentences(self, text: str, folder: str) -> list[list[Source]]:
        """A line's sentences (all of it, unless they are asked for), and the parts of each."""
        generator, limit = self.generator, self.max_input
        if not self._options.split:
            return [generator.sources(text, limit, folder)]
        sentences = []
        for gap, sentence in split_sentences(text):
            first, *others = generator.sources(sentence, limit, folder)
            sentences.append([replace(first, gap=gap), *others])
        return sentences

    def _answer(
        self, row: Row, sources: Sequence[Source], parts: Sequence[Sequence[Hypothesis]]
    ) -> list[Hypothesis]:
        """The outputs for a line; one whose outputs are not what was asked for is named."""
        search = self.search
        for source, found in zip(sources, parts, strict=True):
            if cause := broken(self.generator, source, found, search):
                row.refuse(cause)
                return []
        text = row.fields[0] if row.fields else ""
        hypotheses = whole(text, sources, parts)
        if hypotheses and len(hypotheses) < search.n_best:
            self._bad.add_in_part(
                row.where,
                f"{plural(len(hypotheses), 'output')} found of {search.n_best:,} (--n-best); "
                "--max-len, --beam or --diversity leave no more",
            )
        for source, found in zip(sources, parts, strict=True):
            if found and not found[0].finished:
                said = self.generator.cut(source, found[0], search)
                if said is not None:
                    self._bad.remark(_UNFINISHED, row.where, said, shown=1)
                    break
        return hypotheses

    def _completed(
        self, sources: Sequence[Source], found: Sequence[Sequence[Hypothesis]]
    ) -> list[list[Hypothesis]]:
        """The same with log P of each output's text, and with alignments.

        The search scores the tokens it produced. A text has many segmentations; its score is that
        of the one the tokenizer gives, as in `score --log-prob`, so the few outputs that were
        produced in another one (or were cut before their end) are scored once more; all of them
        where another program searched, or others than the model had a say.
        """
        generator, options = self.generator, self._options
        has_log_prob = generator.has_log_prob(self.search)
        pairs = [(i, hypothesis) for i, several in enumerate(found) for hypothesis in several]
        outputs = [hypothesis for _, hypothesis in pairs]
        if generator.has_likelihood and (options.scores or options.format != "text"):
            canonical = generator.tgt.encode([one_field(output.text) for output in outputs])
            other = [
                number
                for number, output in enumerate(outputs)
                if not (has_log_prob and output.finished)
                or tuple(canonical[number]) != output.tokens
            ]
            src = generator.encoded([sources[pairs[number][0]] for number in other])
            scores = score_tokens(generator, src, [canonical[number] for number in other])
            for number, score in zip(other, scores, strict=True):
                outputs[number] = replace(outputs[number], log_prob=score.log_prob)
        if options.align:
            src = generator.encoded([sources[i] for i, _ in pairs])
            tokens = [output.tokens for output in outputs]
            if generator.reads_sound:
                times = generator.word_times(src, tokens)
                outputs = [replace(o, times=own) for o, own in zip(outputs, times, strict=True)]
            else:
                links = align(generator, src, tokens)
                outputs = [replace(o, links=own) for o, own in zip(outputs, links, strict=True)]
        ordered = iter(outputs)
        return [[next(ordered) for _ in several] for several in found]

    def _format(self, row: Row, hypotheses: Sequence[Hypothesis]) -> list[str]:
        """The output lines for a line, of its hypotheses, best first."""
        options = self._options
        if options.format == "json":
            return [_as_json(row, hypotheses)]
        if options.format == "moses":
            return [
                f"{row.number - 1} ||| {one_field(hypothesis.text)} ||| "
                f"logP={hypothesis.log_prob:.6f} ||| {hypothesis.score:.6f}"
                for hypothesis in hypotheses or [NOTHING]
            ]
        best = hypotheses[0] if hypotheses else NOTHING
        fields = [one_field(best.text)]
        if options.scores:
            fields.append(f"{best.log_prob:.6f}" if hypotheses else "")
        if options.align:
            aligned = best.times if self.generator.reads_sound else best.links
            fields.append(_pairs(aligned or ()))
        return ["\t".join([*fields, *map(passed_through, row.rest)])]


def _of_rows(watch: Watch, sources: Sequence[Sequence[Source]], first: int) -> Watch:
    """The same, for the parts that rows have, from the one with the number `first` on."""
    owners = [row for row, several in enumerate(sources, first) for _ in several]
    return lambda part, tokens: watch(owners[part], tokens)


def _key(number: int, part: int) -> int:
    """What a part of a line is sampled by: the line's number, or one that no line has."""
    return number if part == 0 else -(number << 32 | part)


def _as_json(row: Row, hypotheses: Sequence[Hypothesis]) -> str:
    entries: list[dict[str, object]] = []
    for hypothesis in hypotheses:
        entry: dict[str, object] = {"text": one_field(hypothesis.text)}
        entry |= {"log_prob": hypothesis.log_prob, "score": hypothesis.score}
        if hypothesis.links is not None:
            entry["align"] = _pairs(hypothesis.links)
        if hypothesis.times is not None:
            words = zip(hypothesis.text.split(), hypothesis.times, strict=False)
            entry["words"] = [
                {"word": word, "start": round(start, 2), "end": round(end, 2)}
                for word, (start, end) in words
            ]
        entries.append(entry)
    entries = entries or [{"text": "", "score": 0.0}]
    line = {"line": row.number, "hypotheses": entries, "columns": row.rest}
    return json.dumps(line, ensure_ascii=False)


def _pairs(aligned: Links | Times) -> str:
    """Alignments as `i-j` (Pharaoh's format), or seconds."""
    return " ".join(f"{i:.2f}-{j:.2f}" if isinstance(i, float) else f"{i}-{j}" for i, j in aligned)
