"""What a fine-tuning is made of: open tasks, their common loss, what learns, the validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attn_cli.data.corpus import Corpus
from attn_cli.data.split import Rows
from attn_cli.decode.predictor import Predictor
from attn_cli.errors import UsageError
from attn_cli.metrics.scoring import score_corpus
from attn_cli.tasks.base import Task as TextTask
from attn_cli.tasks.reader import ExampleReader, MixedBatch


@dataclass(frozen=True)
class OpenTask:
    """One task, ready to be trained and validated."""

    task: TextTask
    train: ExampleReader
    dev: ExampleReader
    predictor: Predictor
    fingerprint: str


class FinetuneObjective(nn.Module):
    """Σₜ λₜ Lₜ over one trunk: the losses of all tasks' batches, added."""

    def __init__(self, model: nn.Module, tasks: dict[str, TextTask]) -> None:
        super().__init__()
        self.model = model
        self.tasks = tasks

    def forward(self, batch: MixedBatch) -> tuple[Tensor, Tensor]:
        """The loss, and the same without gradient."""
        losses = []
        for part in batch.parts:
            inputs = part.batch
            logits = self.model(inputs.ids, inputs.mask, inputs.segments, part.name)
            losses.append(part.weight * self.tasks[part.name].loss(logits, inputs))
        loss = torch.stack(losses).sum()
        return loss, loss.detach()


class Validation:
    """Loss of the dev examples, and the figures of the answers to them.

    The answers are made and measured as `attn decode | attn score` makes and measures them. With
    several tasks each figure has its task's name in front, and `score` is the mean of their own.
    """

    def __init__(self, objective: FinetuneObjective, parts: dict[str, OpenTask]) -> None:
        self._objective = objective
        self._parts = parts

    @torch.inference_mode()
    def __call__(self) -> dict[str, float]:
        """The figures by name."""
        each = {name: self._figures(part) for name, part in self._parts.items()}
        if len(each) == 1:
            return next(iter(each.values()))
        figures = {
            f"{name}.{key}": value for name, own in each.items() for key, value in own.items()
        }
        own = [each[name][part.task.metric] for name, part in self._parts.items()]
        losses = [figures["loss"] for figures in each.values()]
        return {"loss": sum(losses), "score": sum(own) / len(own), **figures}

    def _figures(self, part: OpenTask) -> dict[str, float]:
        numbers = np.arange(len(part.dev.rows))
        device = part.predictor.device
        loss = n_targets = 0.0
        for batch in part.dev.batches(numbers, 0):
            placed = batch.to(device)
            logits = self._objective.model(
                placed.ids, placed.mask, placed.segments, part.predictor.name
            )
            loss += float(part.task.loss(logits, placed))
            n_targets += batch.n_tokens
        examples = part.dev.fields(numbers)
        answers = part.predictor.answer(examples)
        segments = [
            part.task.segment(answer, fields)
            for answer, fields in zip(answers, examples, strict=True)
        ]
        scores = score_corpus(part.task.measures, segments)
        return {"loss": loss / max(1, n_targets), **{s.name.lower(): s.value for s in scores}}


def each_row(corpus: Corpus, numbers: Any) -> Iterator[list[str]]:
    """The columns of some rows, read in slices."""
    for start in range(0, len(numbers), 4096):
        yield from corpus.read(numbers[start : start + 4096])


def balanced_weights(
    kind: type[TextTask], corpus: Corpus, rows: Rows, labels: Sequence[str]
) -> tuple[float, ...]:
    """The weight n / (C nᵧ) of each label y: every label's losses add up to the same."""
    counts = dict.fromkeys(labels, 0)
    for fields in each_row(corpus, rows[np.arange(len(rows))]):
        for label in kind.labels_in(fields):
            counts[label] += 1
    total = sum(counts.values())
    return tuple(total / (len(labels) * max(1, count)) for count in counts.values())


def what_learns(model: Any, freeze: int, decay: float) -> dict[str, float]:
    """Freezes the lowest layers, and gives each parameter the factor of its learning rate.

    Args:
        model: a `models.text.TextModel`.
        freeze: how many of `trunk.depths` are not trained.
        decay: the factor from each depth to the one below (Howard & Ruder 2018; Clark et al. 2020).

    Raises:
        UsageError: there are fewer layers than are to be frozen.
    """
    depths = model.trunk.depths
    if freeze > len(depths):
        raise UsageError(
            f"--freeze {freeze}: this model has {len(depths)} layers, the embeddings counted"
        )
    names = {id(weight): name for name, weight in model.named_parameters()}
    rates: dict[str, float] = {}
    for depth, modules in enumerate(depths):
        for module in modules:
            for weight in module.parameters():
                weight.requires_grad_(depth >= freeze)
                rates[names[id(weight)]] = decay ** (len(depths) - depth)
    return rates
