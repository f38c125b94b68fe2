"""Models that label, tag or answer, as the server asks them: JSON in, JSON out.

What answers is what `decode` answers with; the entries are those of `decode --format json`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from attn_cli.errors import AttnError, DataError
from attn_cli.systems.pretraining.detector import ReplacedDetector
from attn_cli.systems.tasks.answers import GUESSED, Answerer, answer_as_json

Entry = dict[str, object]
_NOTHING = "an empty text: nothing to answer"


class Answers(ABC):
    """Answers inputs, each a value of JSON; for one thread.

    Attributes:
        wants: what an input is, in words.
    """

    wants: ClassVar[str]

    def answer(self, how: None, inputs: Sequence[object]) -> list[Entry | AttnError]:
        """The entry for each input, or why there is none."""
        read = [self._read(value) for value in inputs]
        entries = iter(self._entries([fields for fields in read if isinstance(fields, list)]))
        return [next(entries) if isinstance(fields, list) else fields for fields in read]

    def _read(self, value: object) -> list[str] | DataError:
        """The texts of an input, or what is wrong with it."""
        fields = self._fields(value)
        if fields is None:
            return DataError(f"an input of this model is {self.wants}")
        cause = self._problem(fields)
        return DataError(cause) if cause else fields

    @abstractmethod
    def _fields(self, value: object) -> list[str] | None:
        """An input as texts; None if it is none."""

    @abstractmethod
    def _problem(self, fields: list[str]) -> str | None:
        """What is wrong with the texts of an input, if anything is."""

    @abstractmethod
    def _entries(self, inputs: Sequence[list[str]]) -> list[Entry]:
        """The entry for the texts of each input."""


class LineAnswers(Answers):
    """What a model of a task says of one text, or of several: a pair, a context and its choices.

    Args:
        answerer: of `decode`.
    """

    wants: ClassVar[str] = "a text, or a list of as many texts as the task reads"

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._task = answerer.predictor.task

    def _fields(self, value: object) -> list[str] | None:
        fields = _texts([value] if isinstance(value, str) else value)
        wanted = self._task.n_answered
        return fields if fields and (not wanted or len(fields) == wanted) else None

    def _problem(self, fields: list[str]) -> str | None:
        return self._task.question_problem(fields)

    def _entries(self, inputs: Sequence[list[str]]) -> list[Entry]:
        found: list[Entry] = []
        for answer in self._answerer.answers_to_fields(inputs):
            entry = answer_as_json(answer)
            found.append(entry if answer.known else {**entry, "warning": GUESSED})
        return found


class TagAnswers(LineAnswers):
    """A tag for each word: of a list of words, or of a text whose white space parts them."""

    wants: ClassVar[str] = "a text, or a list of words, none of them blank or with white space"

    def _fields(self, value: object) -> list[str] | None:
        words = value.split() if isinstance(value, str) else _texts(value)
        if words is None or any(word.split() != [word] for word in words):
            return None
        return [" ".join(words)]

    def _entries(self, inputs: Sequence[list[str]]) -> list[Entry]:
        entries = super()._entries(inputs)
        return [
            {"words": text.split(), **entry} for (text,), entry in zip(inputs, entries, strict=True)
        ]


class SpanAnswers(LineAnswers):
    """The answer to a question, from the text that it stands in."""

    wants: ClassVar[str] = '{"question": …, "context": …}, or a list of these two texts'

    def _fields(self, value: object) -> list[str] | None:
        if isinstance(value, dict):
            value = [value.get("question"), value.get("context")]
        fields = _texts(value)
        return fields if fields and len(fields) == 2 else None


# By `Task.format`.
ANSWERS: dict[str, type[LineAnswers]] = {
    "lines": LineAnswers,
    "blocks": TagAnswers,
    "squad": SpanAnswers,
}


class DetectorAnswers(Answers):
    """How likely each word of a text is a replacement.

    Args:
        detector: of `decode`.
    """

    wants: ClassVar[str] = "a text"

    def __init__(self, detector: ReplacedDetector) -> None:
        self._detector = detector

    def _fields(self, value: object) -> list[str] | None:
        return value.split() if isinstance(value, str) else None

    def _problem(self, fields: list[str]) -> str | None:
        return None if fields else _NOTHING

    def _entries(self, inputs: Sequence[list[str]]) -> list[Entry]:
        found = self._detector.probabilities(inputs)
        return [
            {
                "words": words,
                "probabilities": [None if math.isnan(x) else round(x, 6) for x in values],
            }
            for words, values in zip(inputs, found, strict=True)
        ]


def _texts(value: object) -> list[str] | None:
    """A list of texts; None if it is none."""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    return None


def flat_texts(value: object) -> list[str] | None:
    """The texts of an input: itself, or those of a list or an object; None if it holds others."""
    if isinstance(value, str):
        return [value]
    return _texts(list(value.values()) if isinstance(value, dict) else value)
