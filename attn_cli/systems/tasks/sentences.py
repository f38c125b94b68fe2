"""`attn decode` with a tagger: CoNLL lines in, the same lines with a tag behind each word out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from attn_cli.device import use_bf16
from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import (
    SENTENCE_LINES,
    ConllParser,
    conll_rows,
    ends_sentence,
    sentence_parts,
)
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.tasks.predictor import Predictor

_NO_TEXT = (
    "\N{REPLACEMENT CHARACTER}"  # stands for a line that is no text: a blank one ends sentences
)


class SentenceAnswerer:
    """One line a word: the word, its tag, then the columns that were not read.

    What is no word stays as it is. A line that can't be used keeps its place in the sentence, with
    an empty tag. Each sentence is answered as soon as it ends; one without an end, in parts (see
    `lines.conll`).

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
        parser = ConllParser(ragged=True)
        waiting: list[Row] = []
        begins = True
        rows = conll_rows(reader, columns, self._job.bad)
        for window in rows.windows(self._job.decoding.buffer):
            waiting += window
            ends = [i for i, row in enumerate(waiting, 1) if ends_sentence(row)]
            if ends:
                yield self._answered(waiting[: ends[-1]], parser, begins)
                waiting, begins = waiting[ends[-1] :], True
            if len(waiting) >= SENTENCE_LINES:
                cut = len(waiting) // SENTENCE_LINES * SENTENCE_LINES
                yield self._answered(waiting[:cut], parser, begins)
                waiting, begins = waiting[cut:], False
        if waiting:
            yield self._answered(waiting, parser, begins)

    def _answered(self, rows: list[Row], parser: ConllParser, begins: bool) -> list[str]:
        """The output lines for some sentences."""
        parts = [
            list(parser.parse(part, begins=first if number else begins and first))
            for number, (part, first) in enumerate(sentence_parts(rows))
        ]
        for row in (row for part in parts for row in part if row.error):
            row.refuse(row.error or "")
        sentences = [[row.fields[0] for row in part if row.fields] for part in parts]
        examples = [[json.dumps([words])] for words in sentences if words]
        answers = iter(self._predictor.answer(examples, bf16=self._bf16))
        lines: list[str] = []
        for part, words in zip(parts, sentences, strict=True):
            details = next(answers).details if words else {}
            tagged = zip(details.get("tags", ()), details.get("probs", ()), strict=True)
            lines += [self._line(row, next(tagged) if row.fields else None) for row in part]
        answered = iter(lines)
        return [self._line(row, None) if ends_sentence(row) else next(answered) for row in rows]

    def _line(self, row: Row, answer: tuple[str, float] | None) -> str:
        decoding = self._job.decoding
        word, *rest = [*row.fields, *row.rest] or [row.line.text or _NO_TEXT]
        if decoding.format == "json":
            entry: dict[str, object] = {"line": row.number}
            if answer:
                entry |= {"word": word, "answer": answer[0], "probability": answer[1]}
            elif not row.error and row.line.text.strip():
                entry["comment"] = row.line.text
            return json.dumps({**entry, "columns": rest}, ensure_ascii=False)
        if answer is None and not row.error:
            return row.line.text
        tag, score = (answer[0], f"{answer[1]:.6f}") if answer else ("", "")
        return "\t".join([word, tag, *([score] if decoding.scores else []), *rest])
