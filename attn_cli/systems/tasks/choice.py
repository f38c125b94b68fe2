"""Which of several texts goes with a context: endings of a story, answers to a question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.scoring import ScoreOptions
from attn_cli.lines.rows import is_blank
from attn_cli.metrics.base import Segment
from attn_cli.systems.tasks.base import Answer, EncodedExample, TaskSetting, TextBatch
from attn_cli.systems.tasks.classify import WindowedTask, averaged


class MultipleChoice(WindowedTask):
    """The number, from 0, of the best choice: softmax over one output for each of them.

    Each choice is read behind the context in a pass of its own (Radford et al. 2018, 3.3; Devlin et
    al. 2019, 4.4). Examples may have different numbers of choices; where those that were trained on
    have one number, `decode` takes as many columns and lets the others pass through.
    """

    columns: ClassVar[tuple[str, ...]] = ("context", "choice", "choice…", "number")
    n_texts: ClassVar[int] = 0
    labelled: ClassVar[bool] = False
    metric: str = "accuracy"
    measures: ScoreOptions = ScoreOptions(accuracy=True)

    def __init__(self, setting: TaskSetting) -> None:
        super().__init__(setting)
        self.n_answered = setting.head.n_texts

    @classmethod
    def problem(cls, fields: list[str]) -> str | None:
        """See `Task.problem`."""
        n_choices = len(fields) - 2
        if n_choices < 2:
            return f"{len(fields)} columns; context, two or more choices and a number are needed"
        if any(map(is_blank, fields)):
            return "empty context, choice or number"
        number = fields[-1].strip()
        if not re.fullmatch("0|[1-9][0-9]{0,8}", number):
            return f"{number[:80]!r} is no number of a choice, counted from 0"
        if int(number) >= n_choices:
            return f"choice {number}, but choices are 0 to {n_choices - 1}"
        return None

    @classmethod
    def question_problem(cls, texts: Sequence[str]) -> str | None:
        """See `Task.question_problem`."""
        few = f"{len(texts)} columns; a context and two or more choices are needed"
        return few if len(texts) < 3 else super().question_problem(texts)

    @classmethod
    def texts_in(cls, fields: list[str]) -> Sequence[str]:
        """See `Task.texts_in`."""
        return fields[:-1]

    def question(self, fields: list[str]) -> list[str]:
        """See `Task.question`."""
        return fields[:-1]

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """One for each pass."""
        return 1

    @classmethod
    def fitted(cls, examples: Iterable[list[str]]) -> dict[str, Any]:
        """How many texts an example has, if all have as many."""
        counts = {len(fields) - 1 for fields in examples}
        return {"n_texts": counts.pop() if len(counts) == 1 else 0}

    def encode(self, examples: Sequence[list[str]], *, targets: bool) -> list[EncodedExample]:
        """See `Task.encode`."""
        questions = [fields[:-1] if targets else fields for fields in examples]
        token_ids = iter(self.setting.tokenizer.encode([t for texts in questions for t in texts]))
        encoded = []
        for fields, texts in zip(examples, questions, strict=True):
            context, *choices = [next(token_ids) for _ in texts]
            groups = [self.rows([context, choice]) for choice in choices]
            groups = [self.thinned(rows) for rows in groups] if targets else groups
            places = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
            gold = np.stack((np.full(len(places), int(fields[-1])), places), 1) if targets else None
            rows = tuple(row for group in groups for row in group)
            encoded.append(EncodedExample(rows, gold, notes=places))
        return encoded

    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """-Σ ln p(the right choice)."""
        assert batch.targets is not None
        kept = (batch.targets[:, 1] >= 0).nonzero().squeeze(1)
        gold, place = batch.targets[kept].unbind(1)
        owner = batch.owner[kept]
        starts = torch.ones_like(owner, dtype=torch.bool)
        starts[1:] = (owner[1:] != owner[:-1]) | (place[1:] != place[:-1])
        if not len(kept):
            return logits.sum() * 0
        scores = averaged(logits[kept].float(), starts.cumsum(0) - 1).squeeze(-1)
        _, example = torch.unique_consecutive(owner[starts], return_inverse=True)
        table = scores.new_full((int(example[-1]) + 1, int(place.max()) + 1), -torch.inf)
        table = table.index_put((example, place[starts]), scores)
        first = torch.ones_like(example, dtype=torch.bool)
        first[1:] = example[1:] != example[:-1]
        return F.cross_entropy(table, gold[starts][first], reduction="sum")

    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """The best choice's number, and the probability of each."""
        places = torch.from_numpy(example.notes)
        probs = averaged(logits.float(), places).squeeze(-1).softmax(0).tolist()
        best = max(range(len(probs)), key=probs.__getitem__)
        return Answer(str(best), probs[best], {"probs": probs})

    def segment(self, answer: Answer, fields: list[str]) -> Segment:
        """See `Task.segment`."""
        return Segment(answer.text, (fields[-1],))
