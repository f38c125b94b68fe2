"""What a fine-tuning is made of: open tasks, their common loss, what learns, the validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attn_cli.config import shown
from attn_cli.data.line_index import RowCheck
from attn_cli.errors import UsageError
from attn_cli.metrics.base import Score
from attn_cli.metrics.scoring import chosen_metrics, score_corpus
from attn_cli.systems.tasks.base import Task, TextBatch
from attn_cli.systems.tasks.predictor import Predictor, load_predictor
from attn_cli.systems.tasks.reader import ExampleReader, MixedBatch
from attn_cli.train.objective import Objective
from attn_cli.train.spread import Spread, alone, in_parts
from attn_cli.wording import plural, some

_FEW = 10  # examples, from which on labels should repeat


@dataclass(frozen=True)
class OpenTask:
    """One task, ready to be trained and validated."""

    task: Task
    train: ExampleReader
    dev: ExampleReader
    predictor: Predictor

    def with_batches(self, batch_tokens: int) -> OpenTask:
        """The same with this budget of a batch."""
        return replace(
            self,
            train=replace(self.train, batch_tokens=batch_tokens),
            dev=replace(self.dev, batch_tokens=batch_tokens),
        )


class FinetuneObjective(Objective[MixedBatch]):
    """Σₜ λₜ Lₜ over one backbone: the losses of all tasks' batches, added."""

    def __init__(self, model: nn.Module, tasks: dict[str, Task]) -> None:
        super().__init__(model)
        self.tasks = tasks

    def forward(self, batch: MixedBatch) -> tuple[Tensor, Tensor]:
        """The loss, and the same without gradient."""
        losses = []
        for part in batch.parts:
            inputs = part.batch
            logits = self.model(inputs.ids, inputs.mask, inputs.segments, part.name, inputs.owner)
            losses.append(part.weight * self.tasks[part.name].loss(logits, inputs))
        loss = torch.stack(losses).sum()
        return loss, loss.detach()


class TasksValidation:
    """Loss of the dev examples, and the figures of the answers to them.

    The answers are made and measured as `attn decode | attn score` makes and measures them. With
    several tasks each figure has its task's name in front, and `score` is the mean of their own.
    """

    def __init__(self, objective: FinetuneObjective, parts: dict[str, OpenTask]) -> None:
        self._objective = objective
        self._parts = parts

    @torch.inference_mode()
    def __call__(self, spread: Spread = alone) -> dict[str, float]:
        """The figures by name."""
        each = {name: self._figures(part, spread) for name, part in self._parts.items()}
        if len(each) == 1:
            return next(iter(each.values()))
        figures = {
            f"{name}.{key}": value
            for name, of_task in each.items()
            for key, value in of_task.items()
        }
        scores = [each[name][part.task.metric] for name, part in self._parts.items()]
        losses = [of_task["loss"] for of_task in each.values()]
        return {"loss": sum(losses), "score": sum(scores) / len(scores), **figures}

    def _figures(self, part: OpenTask, spread: Spread) -> dict[str, float]:
        def loss(batch: TextBatch) -> float:
            placed = batch.to(part.predictor.device)
            logits = self._objective.model(
                placed.ids, placed.mask, placed.segments, part.predictor.name, placed.owner
            )
            return float(part.task.loss(logits, placed))

        batches = part.dev.batches(np.arange(len(part.dev.rows)), 0)
        n_targets = sum(batch.n_tokens for batch in batches)
        losses = sum(spread(loss, batches))
        scores = measured(part.predictor, part.dev, spread)
        return {"loss": losses / max(1, n_targets), **{s.name.lower(): s.value for s in scores}}


def measured(predictor: Predictor, dev: ExampleReader, spread: Spread) -> list[Score]:
    """The figures of the answers to some examples."""
    task = predictor.task
    examples = dev.fields(np.arange(len(dev.rows)))
    questions = [task.question(fields) for fields in examples]
    lengths = [sum(map(len, question)) for question in questions]
    answers = in_parts(predictor.answer, questions, lengths, spread)
    answers = task.calibrated(answers, examples)
    segments = [
        task.segment(answer, fields) for answer, fields in zip(answers, examples, strict=True)
    ]
    return score_corpus(task.measures, segments)


def class_report(output: Path, parts: Mapping[str, OpenTask]) -> Iterator[str]:
    """Precision, recall, F1 and support of each class, by the finished model on its dev examples.

    As `attn score --report` prints them; a line for each class of each task.
    """
    for name, part in parts.items():
        if not any(metric.has_table for metric in chosen_metrics(part.task.measures)):
            continue
        stride = part.task.setting.stride
        predictor = load_predictor(output, part.predictor.device, name, stride=stride)
        for score in measured(predictor, part.dev, alone):
            table: Any = score.details.get("classes", {})
            for label, row in table.items():
                figures = "  ".join(
                    f"{key} {row[key]:.3f}" for key in ("precision", "recall", "f1")
                )
                yield f"{name}: {label}: {figures}  of {row['support']:,}"


def known_figures(tasks: Sequence[Task]) -> list[str]:
    """What a validation of these tasks measures; the first decides, unless a user says so."""
    if len(tasks) > 1:
        return ["score", "loss"]
    (task,) = tasks
    names = [name.lower() for metric in chosen_metrics(task.measures) for name in metric.names]
    return [task.metric, *(name for name in names if name != task.metric), "loss"]


def balanced_weights(
    kind: type[Task], examples: Iterable[list[str]], labels: Sequence[str]
) -> tuple[float, ...]:
    """The weight n / (C nᵧ) of each label y: every label's losses add up to the same.

    Raises:
        UsageError: the task's losses are not of one label each.
    """
    if not kind.weighs_labels:
        raise UsageError("--balance weighs labels: classify, pair and tag have them, one at a time")
    counts = dict.fromkeys(labels, 0)
    for fields in examples:
        for label in kind.labels_in(fields):
            counts[label] += 1
    total = sum(counts.values())
    return tuple(total / (len(labels) * max(1, count)) for count in counts.values())


def swapped_remark(counts: Mapping[str, int], n_texts: int, n_columns: int) -> str:
    """What is said where so many labels are none; "" where they are not too many.

    Args:
        counts: how often each label stands there.
        n_texts: distinct texts that they are labels of.
        n_columns: columns of an example.
    """
    total = sum(counts.values())
    if total < _FEW or len(counts) <= min(total / 2, n_texts):
        return ""
    other = "2,1" if n_columns == 2 else "with the label's column last"
    texts = f" and {plural(n_texts, 'text')}" if n_texts < len(counts) else ""
    return (
        f"{plural(len(counts), 'label')} for {plural(total, 'example')}{texts}: columns "
        f"swapped? --columns {other}"
    )


def rare_remarks(counts: Mapping[str, int], held_out: Mapping[str, int]) -> Iterator[str]:
    """What is said of labels that are learnt from one example, or from none.

    Args:
        counts: how often each label stands in the examples.
        held_out: how often in those that are held out to validate.
    """
    unlearnt = {label for label, count in held_out.items() if count == counts[label]}
    if unlearnt:
        names = some([shown(label) for label in sorted(unlearnt)])
        yield (
            f"held out to validate, and nowhere else: {plural(len(unlearnt), 'label')} ({names}): "
            "nothing is learnt of these; --dev names examples of your own"
        )
    once = [shown(name) for name, n in sorted(counts.items()) if n == 1 and name not in unlearnt]
    if once:
        yield f"{plural(len(once), 'label')} of {len(counts):,} seen once: {some(once)}"


def known_labels_only(kind: type[Task], labels: Sequence[str]) -> RowCheck:
    """What is wrong with a dev example: what is with a training one, or a label of its own."""
    known = set(labels)

    def problem(fields: list[str]) -> str | None:
        wrong = kind.problem(fields)
        if wrong or not kind.labelled:
            return wrong
        strange = [label for label in kind.labels_in(fields) if label not in known]
        return f"label {shown(strange[0])} is not among those trained on" if strange else None

    return problem
