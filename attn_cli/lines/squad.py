"""SQuAD's JSON, v1.1 and v2.0: articles with paragraphs with questions, strictly read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from attn_cli.errors import DataError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.unusable import BadLines

SIZE_LIMIT = 512 << 20  # bytes of a file, which is read whole; SQuAD's largest has 42 MB


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a text.

    Attributes:
        id: the file's own name for it.
        question: what is asked.
        context: where the answer stands.
        answers: gold answers: text, and where it begins in the context. None if unanswerable.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()

    def to_row(self) -> str:
        """As one line of JSON."""
        row = [self.id, self.question, self.context, self.answers]
        return json.dumps(row, ensure_ascii=False)

    @classmethod
    def from_row(cls, row: str) -> Question:
        """From what `to_row` gives."""
        number, question, context, answers = json.loads(row)
        return cls(number, question, context, tuple((text, start) for text, start in answers))


class SquadReader:
    """Iterates over the questions of a SQuAD file.

    Args:
        reader: the file, of which nothing has been read.
        bad: is told of every article, paragraph and question that can't be used.
        answers: whether the gold answers are read and checked; without, they may be missing.
        seen: ids of questions that other files of the same corpus have.

    Raises:
        DataError: the file is no JSON, or no SQuAD at all.
    """

    def __init__(
        self,
        reader: LineReader,
        bad: BadLines,
        *,
        answers: bool,
        seen: set[str] | None = None,
    ) -> None:
        self._name = reader.name
        self._bad = bad
        self._answers = answers
        self._seen = set() if seen is None else seen
        bad.noun = "question"
        self._articles = _articles(reader)

    def __iter__(self) -> Iterator[Question]:
        for number, article in enumerate(self._articles, 1):
            where = f"{self._name}: article {number}"
            paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
            if not isinstance(paragraphs, list):
                self._bad.add_at(where, "no list of paragraphs")
                continue
            for place, paragraph in enumerate(paragraphs, 1):
                yield from self._paragraph(paragraph, f"{where}, paragraph {place}")

    def _paragraph(self, paragraph: object, where: str) -> Iterator[Question]:
        value = paragraph if isinstance(paragraph, dict) else {}
        context, questions = value.get("context"), value.get("qas")
        if not _is_text(context):
            self._bad.add_at(where, _text_problem("context", context))
        elif not isinstance(questions, list):
            self._bad.add_at(where, "no list of questions (qas)")
        else:
            for place, question in enumerate(questions, 1):
                name = question.get("id") if isinstance(question, dict) else None
                shown = repr(name[:80]) if isinstance(name, str) else str(place)
                read = self._question(question, context)
                if isinstance(read, str):
                    self._bad.add_at(f"{where}, question {shown}", read)
                else:
                    yield read

    def _question(self, value: object, context: str) -> Question | str:
        """A question, or what is wrong with it."""
        if not isinstance(value, dict):
            return "not an object"
        name, text = value.get("id"), value.get("question")
        if not _is_text(name):
            return _text_problem("id", name)
        if not _is_text(text):
            return _text_problem("question", text)
        if name in self._seen:
            return "another question has the same id"
        answers = _answers(value, context) if self._answers else ()
        if isinstance(answers, str):
            return answers
        self._seen.add(name)
        return Question(name, text, context, answers)


def _articles(reader: LineReader) -> list[object]:
    raw = reader.rest(SIZE_LIMIT)
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{reader.name}: not JSON: {error}") from error
    articles = value.get("data") if isinstance(value, dict) else None
    if not isinstance(articles, list):
        raise DataError(f"{reader.name}: not SQuAD's JSON: no list of articles called data")
    return articles


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text with something in it, which can be written as UTF-8."""
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _text_problem(name: str, value: object) -> str:
    """What is wrong with a value that is no text."""
    if not isinstance(value, str):
        return f"no {name}" if value is None else f"{name} is no text"
    return f"{name} holds half a character" if value.strip() else f"an empty {name}"


def _answers(value: dict[str, object], context: str) -> tuple[tuple[str, int], ...] | str:
    """The gold answers of a question, or what is wrong with them."""
    impossible, answers = value.get("is_impossible", False), value.get("answers")
    if not isinstance(impossible, bool):
        return "is_impossible is neither true nor false"
    if not isinstance(answers, list):
        return "no list of answers"
    if impossible == bool(answers):
        return "answers, but is_impossible" if answers else "no answer, and not is_impossible"
    gold = []
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not _is_text(text):
            return _text_problem("text of an answer", text)
        if type(start) is not int or start < 0:
            return "answer_start is no number from 0"
        if context[start : start + len(text)] != text:
            there = context[start : start + len(text)]
            return f"answer {text[:60]!r} is not at answer_start {start}, where {there[:60]!r} is"
        gold.append((text, start))
    return tuple(gold)
