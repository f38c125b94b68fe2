"""Examples in, answers out: a model with heads, its tokenizer and its tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from attn_cli.config import choose, nearest
from attn_cli.config.decoding import AnswerOptions
from attn_cli.data.label_files import read_labels
from attn_cli.data.templates import TEMPLATES
from attn_cli.errors import AttnError, DataError, UsageError
from attn_cli.memory import is_out_of_memory
from attn_cli.models.directory import ModelConfig, load_model_of
from attn_cli.models.text import HeadConfig, TextModel
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks.base import (
    Answer,
    EncodedExample,
    Task,
    TaskSetting,
    TextBatch,
    collate,
)
from attn_cli.systems.tasks.reader import group_by_length
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.wording import plural

BATCH_TOKENS = 8192
_ON_CPU = 1024  # where a batch gains little, and padding costs


def task_setting(
    model: TextModel, tokenizer: Tokenizer, labels: Sequence[str], head: HeadConfig
) -> TaskSetting:
    """What a task needs to know, for a model.

    Args:
        model: that model.
        tokenizer: its tokenizer.
        labels: the task's answers.
        head: what is saved of the task; it says the longest input where the backbone sets no bound.
    """
    longest = min(head.max_len, model.backbone.max_len or head.max_len)
    template = TEMPLATES[model.backbone.template](tokenizer, longest)
    return TaskSetting(tokenizer=tokenizer, template=template, labels=labels, head=head)


class Predictor:
    """Answers examples of one task.

    Args:
        model: a `models.text.TextModel`.
        name: the task's, and its head's.
        task: how examples are encoded and answered.
        say: is told, once, that memory is short.
    """

    def __init__(
        self, model: TextModel, name: str, task: Task, say: Callable[[str], None] | None = None
    ) -> None:
        self.model = model
        self.name = name
        self.task = task
        self.say = say
        self.device = next(model.parameters()).device
        self._batch_tokens = _ON_CPU if self.device.type == "cpu" else BATCH_TOKENS
        self._joins = model.joins(name)
        task.attach(model.heads[name])

    @torch.inference_mode()
    def answer(self, examples: Sequence[list[str]], *, bf16: bool = False) -> list[Answer]:
        """The answer to each example, in order."""
        encoded = self.task.encode(examples, targets=False)
        answers: list[Answer | None] = [None] * len(encoded)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            for numbers, batch, logits in self.outputs(encoded):
                logits = logits.float().cpu()
                for owner, number in enumerate(numbers):
                    rows = logits[batch.owner == owner]
                    answer = self.task.answer(rows, encoded[number])
                    known = self._knows(encoded[number])
                    answers[number] = answer if known else dataclasses.replace(answer, known=False)
        return answers  # type: ignore[return-value]

    def _knows(self, example: EncodedExample) -> bool:
        """Whether a token of an example stands for text that is known."""
        tokenizer = self.task.setting.tokenizer
        special = {*tokenizer.special_ids.values()} - {tokenizer.unk_id}
        return any(
            tokenizer.unk_id not in row.ids
            or tokenizer.knows([index for index in row.ids if index not in special])
            for row in example.rows
        )

    def outputs(
        self, encoded: Sequence[EncodedExample]
    ) -> Iterator[tuple[list[int], TextBatch, Tensor]]:
        """Numbers of examples, their batch, and the head's outputs, batch by batch."""
        pad_id = self.task.setting.tokenizer.pad_id
        for group in group_by_length(encoded, self._batch_tokens, 0):
            batch = collate([encoded[i] for i in group], pad_id)
            yield group, batch, self._forward(batch)

    def _forward(self, batch: TextBatch) -> Tensor:
        """The outputs of all rows, in as many passes as memory allows."""
        rows = max(1, BATCH_TOKENS // batch.ids.shape[1])  # a single example may have many more
        while True:
            try:
                outputs = torch.cat(
                    [
                        self._pass(batch, slice(first, first + rows))
                        for first in range(0, len(batch.ids), rows)
                    ]
                )
                if self._joins:
                    outputs = self.model.outputs(outputs, self.name, batch.owner.to(self.device))
                return outputs
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if rows == 1:
                    raise AttnError(
                        f"out of memory on {self.device} with one sequence of "
                        f"{batch.ids.shape[1]:,} tokens"
                    ) from error
            rows = -(-rows // 2)
            if self.say:
                self.say("a batch did not fit into memory; such batches are halved")
                self.say = None

    def _pass(self, batch: TextBatch, rows: slice) -> Tensor:
        run = self.model.vectors if self._joins else self.model
        ids, mask, segments = (
            x[rows].to(self.device) for x in (batch.ids, batch.mask, batch.segments)
        )
        return run(ids, mask, segments, self.name)


class Trained(NamedTuple):
    """A model with heads, as its directory holds it."""

    config: ModelConfig
    model: TextModel
    tokenizer: Tokenizer


def load_trained(path: Path, device: torch.device) -> Trained:
    """Reads a model directory.

    Raises:
        DataError: it is missing or damaged, or holds a model of another kind.
    """
    config, model = load_model_of(TextModel, path, device)
    tokenizer, _ = read_tokenizers(path)
    model.check_vocabulary(tokenizer.vocab_size, str(path))
    return Trained(config, model, tokenizer)


def load_predictor(
    path: Path,
    device: torch.device,
    name: str | None,
    *,
    trained: Trained | None = None,
    stride: int | None = None,
    options: AnswerOptions | None = None,
    n_best: int = 1,
    say: Callable[[str], None] | None = None,
) -> Predictor:
    """The predictor of a model directory.

    Args:
        path: the directory.
        device: where the model runs.
        name: which of its tasks; None: the only one.
        trained: what `load_trained` read of the directory, if it was read before.
        stride: see `TaskSetting`; so are the others.
        options: the task's own.
        n_best: how many answers are told.
        say: is told, once, of what can't be read whole.

    Raises:
        DataError: the directory is damaged, or has no such task.
    """
    config, model, tokenizer = trained or load_trained(path, device)
    head = _head(config, path, name)
    kind = choose(TASKS, head.task, "task")
    several = sum(bool(other.task) for other in config.heads) > 1
    labels = read_labels(path, head.name if several else "") if kind.labelled else []
    setting = task_setting(model, tokenizer, labels, head)
    task = kind(
        dataclasses.replace(setting, stride=stride, options=options, n_best=n_best, say=say)
    )
    if task.n_outputs != head.n_outputs:
        raise DataError(
            f"{path}: {plural(task.n_outputs, 'label')} for {plural(head.n_outputs, 'output')}; "
            "the directory mixes files of two models"
        )
    return Predictor(model, head.name, task)


def _head(config: ModelConfig, path: Path, name: str | None) -> HeadConfig:
    """The head of the task that is asked for, or of the only one."""
    heads = {head.name: head for head in config.heads if head.task}
    known = ", ".join(heads)
    if not heads:
        raise DataError(f"{path}: this model has no task; attn finetune --init {path} gives it one")
    if name is None and len(heads) > 1:
        raise UsageError(f"{path}: name one of this model's tasks with --task: {known}")
    chosen = name or next(iter(heads))
    if chosen not in heads:
        raise UsageError(f"{path}: no task {chosen!r}{nearest(chosen, heads)}; it has {known}")
    return heads[chosen]
