"""`attn decode` with a model that has tasks: a label, a number, tags or an answer per example."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from attn_cli.config import changed, flags
from attn_cli.config.decoding import AnswerOptions, DecodeOptions
from attn_cli.device import crew_for, set_up, use_bf16
from attn_cli.errors import UsageError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows, is_blank
from attn_cli.lines.writing import passed_through
from attn_cli.systems.base import DecodeJob, Decoder, find
from attn_cli.systems.precision import in_int8, prepare_models
from attn_cli.systems.tasks.base import Answer
from attn_cli.systems.tasks.formats import FORMATS
from attn_cli.systems.tasks.predictor import (
    Predictor,
    Trained,
    load_predictor,
    load_trained,
)
from attn_cli.wording import plural, them

_UNKNOWN = "have no character that the model's tokenizer knows"
GUESSED = "no character of it is known to the model's tokenizer: the answer is a guess"
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

    def read() -> Trained:
        trained = load_trained(Path(job.model), device)
        prepare_models([trained.model], job.model, decoding.precision, device, job.say)
        return trained

    predictor = load_predictor(
        Path(job.model),
        device,
        decoding.task,
        trained=job.kept.once(("trained", *in_int8(job.model, decoding.precision, device)), read),
        stride=decoding.stride,
        options=decoding,
        n_best=job.search.n_best,
        say=job.say,
    )
    predictor.say = job.say
    form = predictor.task.format
    vain = changed(job.search, decoding, among=_OF_QUESTIONS)
    if form != "squad" and vain:
        labels = predictor.task.labelled and form == "lines" and "--n-best" in vain
        raise UsageError(
            f"{', '.join(vain)}: for models that answer questions (qa); {job.model} does "
            f"{predictor.task.setting.head.task}: leave {them(vain)} out"
            + (", --format json gives every label's probability" if labels else "")
        )
    if predictor.task.remark:
        job.say(f"{job.model}: {predictor.task.remark}")
    decoder: Decoder = find(FORMATS[form].answerer)(predictor, job)
    return decoder


class Answerer:
    """What answerers of all formats share.

    Args:
        predictor: answers.
        job: what was asked for.

    Attributes:
        predictor: the same.
    """

    def __init__(self, predictor: Predictor, job: DecodeJob) -> None:
        self.predictor = predictor
        self._job = job
        self._bf16 = use_bf16(job.decoding.precision, predictor.device)
        self._crew = crew_for(predictor.device)

    def answers(self, examples: Sequence[list[str]]) -> list[Answer]:
        """The answer to each example, as the task takes them."""
        return self.predictor.answer(examples, bf16=self._bf16)

    def answers_to_fields(self, fields: Sequence[list[str]]) -> list[Answer]:
        """The answer to each line's columns."""
        example = FORMATS[self.predictor.task.format].example
        return self.answers([example(columns) for columns in fields])


class LineAnswerer(Answerer):
    """One example a line: the answer, then the columns that were not read."""

    def results(self, reader: LineReader) -> Iterator[list[str]]:
        """See `Decoder.results`."""
        task = self.predictor.task
        columns = Columns.parse(self._job.stream.columns, task.n_answered)
        # Where the task takes any number of texts, a list in a JSON line is several of them.
        apart = task.setting.template.by_sentence  # there such a list is a document's sentences
        columns = dataclasses.replace(columns, spread=not task.n_texts, apart=apart)
        rows = Rows(
            *(reader, columns, self._job.bad),
            count=task.n_answered,
            check=task.question_problem,
            blank=is_blank,
            needs=task.needs,
        )
        windows = rows.windows(self._job.decoding.buffer, first=self._crew.first)
        return self._job.bad.answered(windows, self._answered, reader, self._crew, [rows])

    def _answered(self, window: Sequence[Row]) -> list[str]:
        """The output lines of some rows, answered together."""
        bad = self._job.bad
        asked = [row for row in window if row.fields]
        answers = self.answers_to_fields([row.fields for row in asked])
        for row, answer in zip(asked, answers, strict=True):
            if few := too_few(answer, self._job):
                bad.add_in_part(row.where, few)
            if not answer.known:
                bad.remark(_UNKNOWN, row.where, GUESSED)
        found = iter(answers)
        decoding = self._job.decoding
        return [answer_line(row, next(found) if row.fields else None, decoding) for row in window]


def answer_line(row: Row, answer: Answer | None, decoding: DecodeOptions) -> str:
    """The output line of a row: the answer, if there is one, and the columns behind it."""
    if decoding.format == "json":
        found = {} if answer is None else answer_as_json(answer)
        return json.dumps({"line": row.number, **found, "columns": row.rest}, ensure_ascii=False)
    if answer is None:
        places = [""] * (1 + decoding.scores) if row.rest else [""]
        return "\t".join([*places, *map(passed_through, row.rest)])
    fields = [answer.text]
    if decoding.scores:
        fields.append("" if answer.probability is None else f"{answer.probability:.6f}")
    return "\t".join([*fields, *map(passed_through, row.rest)])


def too_few(answer: Answer, job: DecodeJob) -> str | None:
    """What is wrong with an answer that comes with fewer others than were asked for."""
    wanted, found = job.search.n_best, len(answer.details.get("n_best", ()))
    if wanted == 1 or found >= wanted:
        return None
    return f"{plural(found, 'answer')} found of {wanted:,} (--n-best); its text has no more"


def answer_as_json(answer: Answer) -> dict[str, object]:
    """An answer's fields for `--format json`."""
    found: dict[str, object] = {"answer": answer.text}
    if answer.probability is not None:
        found["probability"] = answer.probability
    return {**found, **answer.details}
