"""Labelled examples of one or several tasks -> batches, in a seeded order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.data.batching import Batch, RowReader, RowSource, cut_by_budget
from attn_cli.data.corpus import Corpus
from attn_cli.data.split import RowNumbers
from attn_cli.systems.tasks.base import EncodedExample, Task, TextBatch, collate


@dataclass(frozen=True)
class TaskPart:
    """One task's share of an update.

    Attributes:
        name: the task's.
        batch: its examples.
        weight: what its loss sum is multiplied with, so that the whole update's loss, divided by
            the update's count of targets, is Σₜ λₜ (mean loss of task t).
    """

    name: str
    batch: TextBatch
    weight: float


@dataclass(frozen=True)
class MixedBatch(Batch):
    """What one update learns from: a batch of each task that takes part in it."""

    parts: tuple[TaskPart, ...]

    def __len__(self) -> int:
        return max(len(part.batch) for part in self.parts)

    @property
    def n_tokens(self) -> int:
        """How many losses it adds."""
        return sum(part.batch.n_tokens for part in self.parts)

    @property
    def n_read(self) -> int:
        """How many tokens it has."""
        return sum(int(part.batch.mask.sum()) for part in self.parts)

    def rows(self, which: slice) -> MixedBatch:
        """Some of the examples of every task; a task without any gives one without targets."""
        parts = []
        for part in self.parts:
            chosen = range(len(part.batch))[which]
            batch = part.batch.rows(which) if len(chosen) else part.batch.rows(slice(0, 1))
            batch = batch if len(chosen) else batch.without_targets()
            parts.append(TaskPart(part.name, batch, part.weight))
        return MixedBatch(tuple(parts))

    def without_targets(self) -> MixedBatch:
        """The same examples with nothing to learn."""
        return MixedBatch(
            tuple(TaskPart(p.name, p.batch.without_targets(), p.weight) for p in self.parts)
        )

    def to(self, device: torch.device) -> MixedBatch:
        """The batches on a device."""
        return MixedBatch(tuple(TaskPart(p.name, p.batch.to(device), p.weight) for p in self.parts))


@dataclass(frozen=True)
class ExampleReader(RowReader[TextBatch, EncodedExample]):
    """Reads and frames the examples of one task.

    Attributes:
        corpus: its rows.
        rows: which of them are used.
        task: what they are examples of.
        batch_tokens: the budget of a batch.
    """

    corpus: Corpus
    rows: RowNumbers
    task: Task
    batch_tokens: int

    def n_tokens(self, numbers: NDArray[np.int64]) -> list[int]:
        """What a batch counts of the examples with these numbers."""
        encoded = self.task.encode(self.fields(numbers), targets=True)
        return [example.width * len(example.rows) for example in encoded]

    def fields(self, numbers: NDArray[np.int64]) -> list[list[str]]:
        """The columns of the examples with these numbers."""
        return self.corpus.read(self.rows[numbers])

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[EncodedExample]:
        """The examples with these numbers as tokens."""
        return list(self.task.encode(self.fields(numbers), targets=True))

    def cut(self, items: Sequence[EncodedExample], seed: int) -> list[TextBatch]:
        """Examples as shuffled batches."""
        pad_id = self.task.setting.tokenizer.pad_id
        groups = group_by_length(items, self.batch_tokens, seed)
        return [collate([items[i] for i in group], pad_id) for group in groups]


def group_by_length(examples: Sequence[EncodedExample], budget: int, seed: int) -> list[list[int]]:
    """Groups examples of like lengths so that a group's tokens, padded, are within the budget."""
    widths = [(example.width, example.width) for example in examples]
    return cut_by_budget(widths, budget, seed, [len(example.rows) for example in examples])


NamedExample = tuple[str, EncodedExample]  # with its task's name


@dataclass(frozen=True)
class MixedReader(RowReader[MixedBatch, NamedExample]):
    """Reads several tasks side by side: each update has a batch of every task, as far as they go.

    Attributes:
        readers: by the task's name.
        weights: λₜ, by the task's name.
    """

    readers: dict[str, ExampleReader]
    weights: dict[str, float]

    def source(self) -> RowSource[MixedBatch, NamedExample]:
        """What `batching.stream` walks: the tasks' rows one after the other."""
        sizes = [len(reader.rows) for reader in self.readers.values()]
        return RowSource(sum(sizes), self._n_bytes, self)

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[NamedExample]:
        """The examples with these numbers, task by task."""
        parts = zip(self.readers.items(), self._split(numbers), strict=True)
        return [
            (name, example)
            for (name, reader), chosen in parts
            if len(chosen)
            for example in reader.encode(chosen, seed)
        ]

    def cut(self, items: Sequence[NamedExample], seed: int) -> list[MixedBatch]:
        """Examples of all tasks as updates."""
        examples: dict[str, list[EncodedExample]] = {name: [] for name in self.readers}
        for name, example in items:
            examples[name].append(example)
        of_tasks = {
            name: self.readers[name].cut(some, seed) for name, some in examples.items() if some
        }
        n_updates = max(map(len, of_tasks.values()))
        updates = []
        for update in range(n_updates):
            chosen = {
                name: batches[update * len(batches) // n_updates]
                for name, batches in of_tasks.items()
                # A task with fewer batches sits out: each of its batches comes once.
                if update * len(batches) // n_updates != (update - 1) * len(batches) // n_updates
            }
            updates.append(self._mixed(chosen))
        return updates

    def _mixed(self, batches: dict[str, TextBatch]) -> MixedBatch:
        total = sum(batch.n_tokens for batch in batches.values())
        return MixedBatch(
            tuple(
                TaskPart(name, batch, self.weights[name] * total / max(1, batch.n_tokens))
                for name, batch in batches.items()
            )
        )

    def _split(self, numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        first, parts = 0, []
        for reader in self.readers.values():
            inside = (numbers >= first) & (numbers < first + len(reader.rows))
            parts.append(numbers[inside] - first)
            first += len(reader.rows)
        return parts

    def _n_bytes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = np.zeros(len(numbers), np.int64)
        first = 0
        for reader in self.readers.values():
            inside = (numbers >= first) & (numbers < first + len(reader.rows))
            sizes[inside] = reader.corpus.sizes(reader.rows[numbers[inside] - first])
            first += len(reader.rows)
        return sizes
