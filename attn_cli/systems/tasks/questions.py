r"""`attn decode` with a model that answers questions.

SQuAD's JSON in, the official predictions JSON out, `{"ID": "ANSWER", …}`, a question a line; with
`--format json` each answer is an object with its probability and, with `--n-best`, the next best.
Or lines `question<TAB>context` in, the answer and further columns out, one line for each.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence

from attn_cli.errors import UsageError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.squad import Question, SquadReader
from attn_cli.systems.base import DecodeJob
from attn_cli.systems.tasks.answers import Answerer, LineAnswerer, answer_as_json, too_few
from attn_cli.systems.tasks.base import Answer
from attn_cli.systems.tasks.predictor import Predictor

_AT_ONCE = 64  # questions; those about one text are tokenized with it once


class QuestionAnswerer(Answerer):
    """Answers SQuAD's JSON, or lines of question and context.

    Args:
        predictor: answers; of a `qa.Qa`.
        job: what was asked for.

    Raises:
        UsageError: several answers, in a format that has one.
    """

    def __init__(self, predictor: Predictor, job: DecodeJob) -> None:
        if job.search.n_best > 1 and job.decoding.format != "json":
            raise UsageError(f"--n-best {job.search.n_best} needs --format json")
        super().__init__(predictor, job)

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `Decoder.results`."""
        if self._crew.agreed(lambda: reader.begins_with(b"{")):
            yield from self._json(reader)
        else:
            yield from LineAnswerer(self.predictor, self._job).results(reader)

    def _json(self, reader: LineReader) -> Iterator[list[str]]:
        stream, decoding = self._job.stream, self._job.decoding
        if stream.columns or (decoding.scores and decoding.format == "text"):
            raise UsageError(
                "SQuAD's JSON has no columns"
                if stream.columns
                else "predictions in JSON have probabilities with --format json, not with --scores"
            )
        self._job.bad.outcome = "left out"
        bad = self._job.bad
        questions = iter(SquadReader(reader, bad, answers=False))
        groups = iter(lambda: list(itertools.islice(questions, _AT_ONCE)), [])
        before = "{"
        for lines in bad.answered(groups, self._entries, reader, self._crew):
            yield [before, *(f"{line}," for line in lines[:-1])]
            before = f"{lines[-1]},"
        yield ["{}"] if before == "{" else [before[:-1], "}"]

    def _entries(self, questions: Sequence[Question]) -> list[str]:
        answers = self.answers([[question.to_row()] for question in questions])
        for question, answer in zip(questions, answers, strict=True):
            if few := too_few(answer, self._job):
                self._job.bad.add_in_part(f"question {question.id}", few)
        return [
            f"{_json(question.id)}: {_json(self._entry(answer))}"
            for question, answer in zip(questions, answers, strict=True)
        ]

    def _entry(self, answer: Answer) -> object:
        return answer_as_json(answer) if self._job.decoding.format == "json" else answer.text


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
