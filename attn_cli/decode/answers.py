"""`attn decode` with a model that has tasks: a label, a number, tags or an answer per example."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attn_cli.decode.job import DecodeJob, Decoder
from attn_cli.decode.predictor import Predictor, load_predictor
from attn_cli.device import set_up, use_bf16
from attn_cli.errors import UsageError
from attn_cli.tasks.base import Answer
from attn_cli.text import Columns, Line, LineReader, windows


def open_answerer(job: DecodeJob) -> Decoder:
    """The decoder of a model's task, by how the task's examples lie in a file.

    Raises:
        DataError: the model directory is missing or damaged.
        UsageError: several models, or a task that the model does not have.
    """
    if "," in job.model:
        raise UsageError(f"-m {job.model}: only translation models decode as an ensemble")
    device = set_up(job.runtime)
    decoding = job.decoding
    predictor = load_predictor(Path(job.model), device, decoding.task, stride=decoding.stride)
    predictor.say = job.say
    return SOURCES[predictor.task.source](predictor, job)


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
        columns = Columns.parse(self._job.stream.columns, self._predictor.task.n_texts)
        for window in windows(reader, self._job.decoding.buffer):
            if columns.has_header and window[0].number == 1:
                columns = columns.read_header(window[0], reader.name)
                window = window[1:]
            examples = [self._example(line, columns, reader.name) for line in window]
            filled = [example.texts for example in examples if example.texts]
            answers = iter(self._predictor.answer(filled, bf16=self._bf16))
            yield [
                self._line(example, next(answers) if example.texts else None)
                for example in examples
            ]

    def _example(self, line: Line, columns: Columns, name: str) -> _Example:
        if not line.text and not line.error:
            return _Example(line.number, [], [])  # a blank line gives a blank line
        picked = line.error or columns.pick(line.text)
        n_texts = self._predictor.task.n_texts
        if not isinstance(picked, str) and not all(text.strip() for text in picked[0][:n_texts]):
            picked = "an empty text: nothing to answer"
        if isinstance(picked, str):
            self._job.bad.add(name, line.number, picked)
            return _Example(line.number, [], [])
        fields, rest = picked
        return _Example(line.number, fields[:n_texts], [*fields[n_texts:], *rest])

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
        return "\t".join([*fields, *example.rest])


def answer_as_json(answer: Answer) -> dict[str, object]:
    """An answer's fields for `--format json`."""
    found: dict[str, object] = {"answer": answer.text}
    if answer.probability is not None:
        found["probability"] = answer.probability
    return {**found, **answer.details}


# How a task's examples lie in a file (`Task.source`) -> what reads, answers and writes them.
SOURCES: dict[str, Callable[[Predictor, DecodeJob], Decoder]] = {"lines": LineAnswerer}
