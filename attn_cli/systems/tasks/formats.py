"""How a task's examples lie in a file, one a line or not: what is done with them, in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attn_cli.lines.squad import Question
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.tasks.conll import flatten_conll, spans_as_bio
from attn_cli.systems.tasks.squad import flatten_squad


@dataclass(frozen=True)
class ExampleFormat:
    """How examples lie in a file.

    Attributes:
        answerer: where what reads, answers and writes them is, see `systems.base.find`; called with
            a `Predictor` and a `DecodeJob`.
        example: the example of a line's columns, where one is drawn.
        flatten: checks all files and writes rows of JSON, one an example, which a corpus can index;
            None: their lines are such rows.
        spans_as_bio: makes BIO of IOB1 in what `flatten` wrote, by `--scheme`; says whether it did.
    """

    answerer: str
    example: Callable[[list[str]], list[str]]
    flatten: Callable[[Sequence[str], str | None, Path, BadLines], None] | None = None
    spans_as_bio: Callable[[Path, str], bool] = lambda rows, scheme: False


# By `Task.format`.
FORMATS = {
    "lines": ExampleFormat("tasks.answers:LineAnswerer", lambda fields: fields),
    "blocks": ExampleFormat(
        "tasks.sentences:SentenceAnswerer",
        lambda fields: [json.dumps([fields[0].split()])],
        flatten_conll,
        spans_as_bio,
    ),
    "squad": ExampleFormat(
        "tasks.questions:QuestionAnswerer",
        lambda fields: [Question("", fields[0], fields[1]).to_row()],
        flatten_squad,
    ),
}
