"""`attn decode` with a tagger: CoNLL lines in, the same lines with a tag behind each word out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from attn_cli.device import use_bf16
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.tasks.conll import (
    SENTENCE_LINES,
    ConllParser,
    conll_rows,
    is_blank,
    sentence_parts,
)
from attn_cli.systems.tasks.predictor import Predictor


class SentenceAnswerer:
    """One line a word: the word, its tag, then the columns that were not read.

    Blank lines and comments stay as they are. Each sentence is answered as soon as it ends; one
    without an end, in parts (see `conll`).

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
        parser = ConllParser()
        waiting: list[Row] = []
        begins = True
        rows = conll_rows(reader, columns, self._job.bad)
        for window in rows.windows(self._job.decoding.buffer):
            waiting += window
            ends = [i for i, row in enumerate(waiting, 1) if is_blank(row)]
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
        sentences = [[row.fields[0] for row in part if row.fields] for part in parts]
        examples = [[json.dumps([words])] for words in sentences if words]
        answers = iter(self._predictor.answer(examples, bf16=self._bf16))
        lines: list[str] = []
        for part, words in zip(parts, sentences, strict=True):
            details = next(answers).details if words else {}
            tagged = zip(details.get("tags", ()), details.get("probs", ()), strict=True)
            lines += [self._line(row, next(tagged) if row.fields else None) for row in part]
        answered = iter(lines)
        return [self._line(row, None) if is_blank(row) else next(answered) for row in rows]

    def _line(self, row: Row, answer: tuple[str, float] | None) -> str:
        decoding = self._job.decoding
        text = "" if row.error or row.line.text.isspace() else row.line.text
        rest = [*row.fields[1:], *row.rest]
        if decoding.format == "json":
            entry: dict[str, object] = {"line": row.number}
            if answer:
                entry |= {"word": row.fields[0], "answer": answer[0], "probability": answer[1]}
            elif text:
                entry["comment"] = text
            return json.dumps({**entry, "columns": rest}, ensure_ascii=False)
        if answer is None:
            return text
        scores = [f"{answer[1]:.6f}"] if decoding.scores else []
        return "\t".join([row.fields[0], answer[0], *scores, *rest])
