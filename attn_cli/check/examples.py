"""The examples of a file, whatever its form: columns, CoNLL or SQuAD's JSON."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from attn_cli.lines.columns import Columns
from attn_cli.lines.conll import ConllParser, conll_rows, sentence_parts
from attn_cli.lines.reading import Line, LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.squad import SquadReader
from attn_cli.lines.unusable import BadLines

_HEAD = 1000  # lines that tell what a file is

Labels = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Kind:
    """What a task's examples are, by columns.

    Attributes:
        texts: how many columns are texts, from the first.
        inputs: how many of them are what a model reads.
        labels: whether a column of labels follows.
        several: whether it holds several, joined by commas.
        outputs: whether a column follows that is neither text nor label: numbers.
    """

    texts: int
    inputs: int
    labels: bool = False
    several: bool = False
    outputs: bool = False

    @property
    def columns(self) -> int:
        """How many columns are read."""
        return self.texts + (self.labels or self.outputs)


KINDS = {
    "translate": Kind(2, 1),
    "text": Kind(1, 1),
    "classify": Kind(1, 1, labels=True),
    "multilabel": Kind(1, 1, labels=True, several=True),
    "regress": Kind(1, 1, outputs=True),
    "pair": Kind(2, 2, labels=True),
    "tag": Kind(1, 1, labels=True),
    "qa": Kind(2, 1),
}


@dataclass(slots=True)
class Example:
    """An example, or a line that is none.

    Attributes:
        number: of its (first) line, from 1; of a question, its own.
        last: of its last line.
        texts: its texts, by columns.
        inputs: what a model reads, and the parts of the data may not share.
        asked: what has one answer: the inputs, or context and question.
        outputs: the answer.
        labels: the labels in it.
        lines: its lines; none of a question.
        name: of a question.
        usable: whether it can be used; its texts are empty otherwise.
    """

    number: int
    last: int
    texts: Sequence[str]
    inputs: str
    asked: str
    outputs: str
    labels: Sequence[str]
    lines: Sequence[Line]
    name: str = ""
    usable: bool = True


def examples(reader: LineReader, task: str, spec: str | None, bad: BadLines) -> Iterator[Example]:
    """The examples of a file, and its lines that are none, in order.

    Args:
        reader: the file.
        task: one of `KINDS`.
        spec: `--columns`.
        bad: is told of every line or question that can't be used.

    Raises:
        DataError: the file can't be read, or is no such file at all.
    """
    if task == "qa":
        return _questions(reader, bad)
    if task == "tag":
        return _sentences(reader, spec, bad)
    return _rows(reader, KINDS[task], spec, bad)


def _rows(reader: LineReader, kind: Kind, spec: str | None, bad: BadLines) -> Iterator[Example]:
    for row in Rows(reader, Columns.parse(spec, kind.columns), bad, count=kind.columns):
        fields = row.fields
        if not fields:  # blank, or unusable
            number = row.number
            texts = [""] * kind.texts
            usable = row.error is None
            yield Example(number, number, texts, "", "", "", (), [row.line], usable=usable)
            continue
        inputs = "\t".join(fields[: kind.inputs])
        outputs = "\t".join(fields[kind.inputs :])
        labels: Sequence[str] = ()
        if kind.labels:
            labels = fields[-1].split(",") if kind.several else (fields[-1],)
        number, texts = row.number, fields[: kind.texts]
        yield Example(number, number, texts, inputs, inputs, outputs, labels, [row.line])


def _sentences(reader: LineReader, spec: str | None, bad: BadLines) -> Iterator[Example]:
    parser = ConllParser(ragged=bool(spec))
    for part, begins in sentence_parts(conll_rows(reader, Columns.parse(spec, 2), bad)):
        words: list[str] = []
        tags: list[str] = []
        usable = True
        for row in parser.parse(part, begins=begins):
            cause = row.error or ("an empty tag" if _lacks_tag(row) else None)
            if cause:
                row.refuse(cause)
                usable = False
            elif row.fields:
                words.append(row.fields[0])
                tags.append(row.fields[1].strip())
        text = " ".join(words) if usable else ""
        lines = [row.line for row in part]
        numbers = part[0].number, part[-1].number
        if words or not usable:
            found = tags if usable else []
            tagged = " ".join(found)
            yield Example(*numbers, [text], text, text, tagged, found, lines, usable=usable)


def _lacks_tag(row: Row) -> bool:
    return len(row.fields) > 1 and not row.fields[1].strip()


def _questions(reader: LineReader, bad: BadLines) -> Iterator[Example]:
    for number, each in enumerate(SquadReader(reader, bad, answers=True), 1):
        texts = [each.context, each.question]
        answer = "\t".join(text for text, _ in each.answers)
        asked = "\t".join(texts)
        yield Example(number, number, texts, each.context, asked, answer, (), (), each.id)


def guess_task(reader: LineReader, spec: str | None, bad: BadLines) -> str:
    """What the first lines of a file look like."""
    if not spec and reader.begins_with(b"{"):
        return "qa"
    head = list(itertools.islice(Rows(reader, Columns.parse(spec, 1), bad), _HEAD))
    rows = [row for row in head if row.fields]
    if spec:
        columns = [row.fields for row in rows]
    else:
        columns = [[*row.fields, *row.rest] for row in rows]
        if _is_conll(head, columns):
            return "tag"
    width = min(map(len, columns), default=2)
    if width == 1:
        return "text"
    last = [fields[width - 1].strip() for fields in columns]
    if width > 3:
        return "translate"
    if 2 * len(set(last)) <= len(last):
        return "pair" if width == 3 else "classify"
    if width == 2 and last and all(map(_is_number, last)):
        return "regress"
    return "translate"


def _is_conll(rows: Sequence[Row], columns: Iterable[Sequence[str]]) -> bool:
    """Whether most lines are a word with its columns, and some between them are blank."""
    parted = [fields if len(fields) > 1 else fields[0].split(" ") for fields in columns]
    words = sum(len(fields) > 1 and " " not in fields[0].strip() for fields in parted)
    widths = {len(fields) for fields in parted if not fields[0].startswith("#")}
    has_blank = any(not row.fields and not row.error for row in rows)
    return has_blank and len(widths) == 1 and 4 * words > 3 * len(parted)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
