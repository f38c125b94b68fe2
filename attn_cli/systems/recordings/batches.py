"""Labelled recordings -> batches, and what is minimized of them.

Shapes: B batch, S positions, F features, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.data.batching import Batch, RowReader, RowSource, cut_by_budget
from attn_cli.data.corpus import Corpus
from attn_cli.data.split import RowNumbers
from attn_cli.models.recordings import RecordingClassifier
from attn_cli.systems.translation.source_base import Contents, SourceSide
from attn_cli.train.objective import Objective

IGNORE_INDEX = -100  # a target that is not to be learnt, as in F.cross_entropy


@dataclass(frozen=True)
class RecordingBatch(Batch):
    """Padded recordings and their labels.

    Attributes:
        source: frames. Shape: (B, 4 S, F).
        mask: which positions are no padding. Shape: (B, S), boolean.
        targets: numbers of labels. Shape: (B,).
    """

    source: Tensor
    mask: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.source)

    @property
    def n_tokens(self) -> int:
        """Labels to be predicted."""
        return int((self.targets != IGNORE_INDEX).sum())

    @property
    def n_read(self) -> int:
        """Positions that are read."""
        return int(self.mask.sum())

    def rows(self, which: slice) -> RecordingBatch:
        """Some of the recordings."""
        return RecordingBatch(self.source[which], self.mask[which], self.targets[which])

    def without_targets(self) -> RecordingBatch:
        """The same with nothing to learn: what an idle rank computes to keep step."""
        nothing = torch.full_like(self.targets, IGNORE_INDEX)
        return RecordingBatch(self.source, self.mask, nothing)

    def to(self, device: torch.device) -> RecordingBatch:
        """The batch on a device."""
        moved = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.source, self.mask, self.targets)
        )
        return RecordingBatch(*moved)


Labelled = tuple[Sized, int]  # a recording, and the number of its label


@dataclass(frozen=True)
class RecordingReader(RowReader[RecordingBatch, Labelled]):
    """Reads labelled recordings.

    Attributes:
        corpus: rows of a file's name and a label.
        rows: which of them are used.
        side: how recordings are read.
        contents: the recordings of rows.
        numbers: of the labels.
        batch_tokens: positions of a batch at most.
    """

    corpus: Corpus
    rows: RowNumbers
    side: SourceSide
    contents: Contents
    numbers: Mapping[str, int]
    batch_tokens: int

    def source(self) -> RowSource[RecordingBatch, Labelled]:
        """What `batching.stream` walks."""
        each = self.side.n_bytes
        sizes: Callable[[NDArray[np.int64]], NDArray[np.int64]] = lambda numbers: (  # noqa: E731
            self.corpus.sizes(self.rows[numbers]) + each
        )
        return RowSource(len(self.rows), sizes, self, is_shared=False)

    def lengths(self, numbers: NDArray[np.int64]) -> list[int]:
        """Positions of the recordings with these numbers."""
        return [len(content) for content in self.contents(self.rows[numbers], [])]

    def labels(self, numbers: NDArray[np.int64]) -> list[str]:
        """The labels of the recordings with these numbers."""
        return [fields[1].strip() for fields in self.corpus.read(self.rows[numbers])]

    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[Labelled]:
        """The recordings with these numbers."""
        contents = self.contents(self.rows[numbers], [])
        items, _ = self.side.learnt(contents, self.batch_tokens, 0.0, seed)
        targets = [self.numbers[label] for label in self.labels(numbers)]
        return list(zip(items, targets, strict=True))

    def cut(self, items: Sequence[Labelled], seed: int) -> list[RecordingBatch]:
        """Recordings as shuffled batches."""
        return [batch for _, batch in self.numbered(items, seed)]

    def numbered(
        self, items: Sequence[Labelled], seed: int
    ) -> list[tuple[list[int], RecordingBatch]]:
        """The same, with the places among them of what is in each."""
        targets = torch.tensor([target for _, target in items])
        groups = groups_of([len(item) for item, _ in items], self.batch_tokens, seed)
        return [
            (
                group,
                RecordingBatch(*self.side.collate([items[i][0] for i in group]), targets[group]),
            )
            for group in groups
        ]


def groups_of(lengths: Sequence[int], budget: int, seed: int) -> list[list[int]]:
    """Places of recordings of like lengths, so that a group of them is within the budget."""
    return cut_by_budget([(length, length) for length in lengths], budget, seed)


class RecordingObjective(Objective[RecordingBatch]):
    """-Σ w_y ln p(y) over recordings, with label smoothing.

    Args:
        model: what is trained.
        label_smoothing: ε.
        weights: w, what the losses of each label are multiplied with; None: 1 each.
    """

    model: RecordingClassifier
    weights: Tensor | None

    def __init__(
        self, model: RecordingClassifier, label_smoothing: float, weights: Tensor | None = None
    ) -> None:
        super().__init__(model)
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, batch: RecordingBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's recordings: the loss, and the unsmoothed one."""
        return self.losses(self.model(batch.source, batch.mask), batch.targets)

    def losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a model's outputs. Shape: (B, C), (B,) -> (), ()."""
        loss, nll = (
            F.cross_entropy(
                each.float(), targets, self.weights, reduction="sum", label_smoothing=smoothing
            )
            for each, smoothing in ((outputs, self.label_smoothing), (outputs.detach(), 0.0))
        )
        return loss, nll
