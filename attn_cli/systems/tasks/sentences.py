"""`attn decode` with a tagger: CoNLL lines in, the same lines with a tag behind each word out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from attn_cli.device import use_bf16
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import Line, LineReader, windows
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.tasks.conll import (
    SENTENCE_LINES,
    ConllLine,
    ConllParser,
    is_blank,
    sentence_parts,
)
from attn_cli.systems.tasks.predictor import Predictor


class SentenceAnswerer:
    """One line a word: the word, its tag, then the columns that were not read.

    Blank lines and comments stay as they are. Each sentence is answered as soon as it ends; one
    without an end, in parts (see `data.conll`).

    Args:
        predictor: answers.
        job: what was asked for.
    """

    def __init__(self, predictor: Predictor, job: DecodeJob) -> None:
        self._predictor = predictor
        self._job = job
        self._bf16 = use_bf16(job.decoding.precision, predictor.device)

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `Decoder.results`."""
        columns = Columns.parse(self._job.stream.columns, 1)
        parser: ConllParser | None = None
        waiting: list[Line] = []
        begins = True
        for window in windows(reader, self._job.decoding.buffer):
            if parser is None:
                if columns.has_header:
                    columns = columns.read_header(window.pop(0), reader.name)
                parser = ConllParser(columns)
            waiting += window
            done, waiting = _whole_sentences(waiting)
            if done:
                yield self._answered(done, parser, begins, reader.name)
                begins = True
            if len(waiting) >= SENTENCE_LINES:
                cut = len(waiting) // SENTENCE_LINES * SENTENCE_LINES
                yield self._answered(waiting[:cut], parser, begins, reader.name)
                waiting, begins = waiting[cut:], False
        if waiting and parser:
            yield self._answered(waiting, parser, begins, reader.name)

    def _answered(
        self, lines: list[Line], parser: ConllParser, begins: bool, name: str
    ) -> list[str]:
        """The output lines for some sentences."""
        parts = [
            parser.parse(part, begins=first if number else begins and first)
            for number, (part, first) in enumerate(sentence_parts(lines))
        ]
        words = [[line.fields[0] for line in part if line.fields] for part in parts]
        rows = [[json.dumps([sentence])] for sentence in words if sentence]
        answers = iter(self._predictor.answer(rows, bf16=self._bf16))
        found: list[str] = []
        for part, sentence in zip(parts, words, strict=True):
            details = next(answers).details if sentence else {}
            found += self._lines(part, details, name)
        return _with_blanks(lines, found, self._job.decoding.format == "json")

    def _lines(self, part: Sequence[ConllLine], details: Any, name: str) -> list[str]:
        tagged = iter(zip(details.get("tags", ()), details.get("probs", ()), strict=True))
        found = []
        for line in part:
            if line.problem:
                self._job.bad.add(name, line.line.number, line.problem)
            found.append(self._line(line, next(tagged) if line.fields else None))
        return found

    def _line(self, line: ConllLine, answer: tuple[str, float] | None) -> str:
        decoding = self._job.decoding
        text = line.line.text if not line.problem else ""
        if decoding.format == "json":
            found: dict[str, object] = {"line": line.line.number}
            if answer:
                found |= {"word": line.fields[0], "answer": answer[0], "probability": answer[1]}
            elif text:
                found["comment"] = text
            return json.dumps({**found, "columns": self._rest(line)}, ensure_ascii=False)
        if answer is None:
            return text
        scores = [f"{answer[1]:.6f}"] if decoding.scores else []
        return "\t".join([line.fields[0], answer[0], *scores, *self._rest(line)])

    def _rest(self, line: ConllLine) -> list[str]:
        return [*line.fields[1:], *line.rest]


def _whole_sentences(lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """The lines up to the last blank one, and those behind it."""
    last = next((i for i in range(len(lines) - 1, -1, -1) if is_blank(lines[i])), -1)
    return lines[: last + 1], lines[last + 1 :]


def _with_blanks(lines: Sequence[Line], found: Sequence[str], as_json: bool) -> list[str]:
    """Results of the lines that are not blank, and blank ones between them."""
    answers = iter(found)
    return [
        next(answers)
        if not is_blank(line)
        else json.dumps({"line": line.number, "columns": []})
        if as_json
        else ""
        for line in lines
    ]
