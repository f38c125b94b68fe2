"""`attn decode` with a tagger: CoNLL lines in, the same lines with a tag behind each word out.

Lines of text are tagged too, word by word: the tags of a line come out as one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import (
    SENTENCE_LINES,
    ConllParser,
    are_items,
    are_text,
    conll_rows,
    ends_sentence,
    sentence_parts,
)
from attn_cli.lines.reading import LineReader, legible
from attn_cli.lines.rows import Row, Rows
from attn_cli.systems.tasks.answers import Answerer, answer_as_json
from attn_cli.systems.tasks.base import Answer

_NO_TEXT = (
    "\N{REPLACEMENT CHARACTER}"  # stands for a line that is no text: a blank one ends sentences
)

TEXT_SAID = (
    "{}: lines of text, not CoNLL with one word a line: each is {} word by word (of CoNLL files, "
    "part the columns by tabs)"
)


def text_row(row: Row) -> Row:
    """A whole line of text by columns; none of a blank line. What can't be used is named."""
    columns = row.stream.columns or Columns(())
    if row.error:
        rest = legible(columns.others(row.line.escaped, 1))
        return Row(row.number, row.line, row.stream, [], rest).refuse(row.error)
    if not row.line.text.strip():
        return Row(row.number, row.line, row.stream, [], [])
    picked = columns.pick(row.line.text)
    if isinstance(picked, str):
        return row.refuse(picked)
    if not picked[0][0].strip():
        return row.refuse("an empty text: nothing to answer")
    return Row(row.number, row.line, row.stream, *picked)


@dataclass(frozen=True)
class _Part:
    """Lines that are answered together.

    Attributes:
        rows: the lines, whole.
        sentences: the words of each sentence among them; None: they are lines of text.
    """

    rows: list[Row]
    sentences: list[list[Row]] | None

    @classmethod
    def of(cls, rows: list[Row], parser: ConllParser, begins: bool) -> _Part:
        """Some sentences; `begins` is whether the first is there from its beginning."""
        sentences = [
            list(parser.parse(part, begins=first if number else begins and first))
            for number, (part, first) in enumerate(sentence_parts(rows))
        ]
        return cls(rows, sentences)


class SentenceAnswerer(Answerer):
    """One line a word: the word, its tag, then the columns that were not read.

    What is no word stays as it is. A line that can't be used keeps its place in the sentence, with
    an empty tag. Each sentence is answered as soon as it ends; one without an end, in parts (see
    `lines.conll`).
    """

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `Decoder.results`."""
        columns = Columns.parse(self._job.stream.columns, 1)
        rows = conll_rows(reader, columns, self._job.bad)
        parts = self._parts(rows, reader.name)
        return self._job.bad.answered(parts, self._answered, reader, self._crew, [rows])

    def _parts(self, rows: Rows, name: str) -> Iterator[_Part | None]:
        """What is answered together: whole sentences, parsed in their order."""
        parser = ConllParser(ragged=True)
        waiting: list[Row] = []
        begins = True
        text: bool | None = None
        for window in rows.windows(self._job.decoding.buffer, first=self._crew.first):
            if text is None:
                text = are_text(window, self.predictor.task.setting.labels)
                if text and not are_items(window):
                    self._job.say(TEXT_SAID.format(name, "tagged"))
                elif not text:
                    self._job.bad.outcome = "answered with an empty tag"
            if text:
                yield _Part([*waiting, *window], None)
                waiting = []
                continue
            waiting += window
            ends = [i for i, row in enumerate(waiting, 1) if ends_sentence(row)]
            if ends:
                yield _Part.of(waiting[: ends[-1]], parser, begins)
                waiting, begins = waiting[ends[-1] :], True
            if len(waiting) >= SENTENCE_LINES:
                cut = len(waiting) // SENTENCE_LINES * SENTENCE_LINES
                yield _Part.of(waiting[:cut], parser, begins)
                waiting, begins = waiting[cut:], False
            yield None
        if waiting:
            yield _Part.of(waiting, parser, begins)

    def _answered(self, part: _Part) -> list[str]:
        """The output lines of some lines, answered together."""
        if part.sentences is None:
            return self._of_text(part.rows)
        return self._of_sentences(part.rows, part.sentences)

    def _of_text(self, rows: list[Row]) -> list[str]:
        """The output lines for lines of text: the tags, then the columns that were not read."""
        rows = [text_row(row) for row in rows]
        examples = [[json.dumps([row.fields[0].split()])] for row in rows if row.fields]
        answers = iter(self.answers(examples))
        return [self._text_line(row, next(answers) if row.fields else None) for row in rows]

    def _text_line(self, row: Row, answer: Answer | None) -> str:
        decoding = self._job.decoding
        if decoding.format == "json":
            found = answer_as_json(answer) if answer else {}
            return json.dumps(
                {"line": row.number, **found, "columns": row.rest}, ensure_ascii=False
            )
        if answer is None:
            return "\t".join(["", *row.rest])
        scores = [" ".join(f"{prob:.6f}" for prob in answer.details["probs"])]
        return "\t".join([answer.text, *(scores if decoding.scores else []), *row.rest])

    def _of_sentences(self, rows: list[Row], parts: list[list[Row]]) -> list[str]:
        """The output lines for some sentences."""
        for row in (row for part in parts for row in part if row.error):
            row.refuse(row.error or "")
        sentences = [[row.fields[0] for row in part if row.fields] for part in parts]
        examples = [[json.dumps([words])] for words in sentences if words]
        answers = iter(self.answers(examples))
        lines: list[str] = []
        for part, words in zip(parts, sentences, strict=True):
            details = next(answers).details if words else {}
            tagged = zip(details.get("tags", ()), details.get("probs", ()), strict=True)
            lines += [self._line(row, next(tagged) if row.fields else None) for row in part]
        answered = iter(lines)
        return [self._line(row, None) if ends_sentence(row) else next(answered) for row in rows]

    def _line(self, row: Row, answer: tuple[str, float] | None) -> str:
        decoding = self._job.decoding
        word, *rest = [*row.fields, *row.rest] or [row.line.text]
        if row.error and not "".join([word, *rest]).strip():
            word = _NO_TEXT
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
