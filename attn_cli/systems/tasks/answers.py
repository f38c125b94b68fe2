"""`attn decode` with a model that has tasks: a label, a number, tags or an answer per example."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn_cli.config import changed, flags
from attn_cli.config.decoding import AnswerOptions
from attn_cli.device import set_up, use_bf16
from attn_cli.errors import UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.picking import begin
from attn_cli.lines.reading import Line, LineReader, windows
from attn_cli.lines.writing import passed_through
from attn_cli.systems.base import DecodeJob, Decoder
from attn_cli.systems.tasks.base import Answer
from attn_cli.systems.tasks.predictor import Predictor, load_predictor
from attn_cli.wording import plural

_OF_QUESTIONS = {"--n-best", *flags(AnswerOptions)}


def open_answerer(job: DecodeJob) -> Decoder:
    """The decoder of a model's task, by how the task's examples lie in a file.

    Raises:
        DataError: the model directory is missing or damaged.
        UsageError: several models, or a task that the model does not have.
    """
    if "," in job.model:
        raise UsageError(f"-m {job.model}: only models that write texts decode as an ensemble")
    device = set_up(job.runtime)
    decoding = job.decoding
    predictor = load_predictor(
        Path(job.model),
        device,
        decoding.task,
        stride=decoding.stride,
        options=decoding,
        n_best=job.search.n_best,
        say=job.say,
    )
    predictor.say = job.say
    source = predictor.task.source
    given = (*changed(job.search), *changed(decoding))
    if source != "squad" and (vain := [flag for flag in given if flag in _OF_QUESTIONS]):
        raise UsageError(f"{', '.join(vain)}: for models that answer questions (qa) alone")
    module, name = SOURCES[source].split(":")
    opened: Any = getattr(importlib.import_module(f"attn_cli.systems.tasks.{module}"), name)
    return opened(predictor, job)


@dataclass(frozen=True)
class _Example:
    """A line's texts, or none where it is blank or unusable, and what passes through."""

    number: int
    texts: list[str]
    rest: list[str]


class LineAnswerer:
    """One example a line: the answer, then the columns that were not read.

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
        columns = self._columns()
        for window in windows(reader, self._job.decoding.buffer):
            if window[0].number == 1:
                columns, is_header = begin(columns, window[0], reader.name)
                window = window[1:] if is_header else window
            examples = [self._example(line, columns, reader.name) for line in window]
            filled = [example.texts for example in examples if example.texts]
            answers = iter(self._answers(filled))
            yield [
                self._line(example, next(answers) if example.texts else None)
                for example in examples
            ]

    def _columns(self) -> Columns:
        task = self._predictor.task
        columns = Columns.parse(self._job.stream.columns, task.n_answered)
        # Where the task takes any number of texts, a list in a JSON line is several of them.
        apart = task.setting.template.by_sentence  # there such a list is a document's sentences
        return dataclasses.replace(columns, spread=not task.n_texts, apart=apart)

    def _example(self, line: Line, columns: Columns, name: str) -> _Example:
        if not line.text and not line.error:
            return _Example(line.number, [], [])  # a blank line gives a blank line
        task = self._predictor.task
        picked = line.error or columns.pick(line.text)
        if not isinstance(picked, str):
            fields, rest = picked
            n_texts = task.n_answered or len(fields)
            texts, rest = fields[:n_texts], [*fields[n_texts:], *rest]
            problem = task.question_problem(texts)
            if len(texts) < n_texts:
                problem = f"{plural(len(texts), 'text')}, but {n_texts} are needed"
            if not problem:
                return _Example(line.number, texts, rest)
            picked = problem
        self._job.bad.add(name, line.number, picked)
        return _Example(line.number, [], [])

    def _answers(self, examples: Sequence[list[str]]) -> list[Answer]:
        return self._predictor.answer(examples, bf16=self._bf16)

    def _line(self, example: _Example, answer: Answer | None) -> str:
        decoding = self._job.decoding
        if decoding.format == "json":
            found = {} if answer is None else answer_as_json(answer)
            return json.dumps(
                {"line": example.number, **found, "columns": example.rest}, ensure_ascii=False
            )
        if answer is None:
            return ""
        fields = [answer.text]
        if decoding.scores:
            fields.append("" if answer.probability is None else f"{answer.probability:.6f}")
        return "\t".join([*fields, *map(passed_through, example.rest)])


def answer_as_json(answer: Answer) -> dict[str, object]:
    """An answer's fields for `--format json`."""
    found: dict[str, object] = {"answer": answer.text}
    if answer.probability is not None:
        found["probability"] = answer.probability
    return {**found, **answer.details}


# How a task's examples lie in a file (`Task.source`) -> where that is which reads, answers and
# writes them: called with a `Predictor` and a `DecodeJob`.
SOURCES = {
    "lines": "answers:LineAnswerer",
    "blocks": "sentences:SentenceAnswerer",
    "squad": "questions:QuestionAnswerer",
}
