"""Tasks that ask for something about a whole text, or about two of them.

A long text is read in overlapping windows whose outputs are averaged: nothing of it is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.framing import Framed, windows_of
from attn_cli.tasks.base import Answer, FramedExample, Task, TextBatch

MOST_WINDOWS = 16  # of an example that is learnt from; answers are made of all windows


class TextTask(Task):
    """A task whose outputs come from the text head, averaged over an example's rows."""

    head: ClassVar[str] = "text"

    def frame(self, examples: Sequence[list[str]], *, targets: bool) -> list[FramedExample]:
        """See `Task.frame`."""
        texts = [text for fields in examples for text in fields[: self.n_texts]]
        encoded = iter(self.setting.tokenizer.encode(texts))
        framed = []
        for fields in examples:
            rows = self.rows([next(encoded) for _ in range(self.n_texts)])
            rows = thinned(rows) if targets else rows
            gold = np.stack([self.target(fields)] * len(rows)) if targets else None
            framed.append(FramedExample(tuple(rows), gold))
        return framed

    def target(self, fields: list[str]) -> NDArray[Any]:
        """What the outputs are to be for a line: a number, or a vector."""
        raise NotImplementedError

    def rows(self, texts: list[list[int]]) -> list[Framed]:
        """The windows of one or two texts.

        The longer of two is cut into windows, each beside the whole of the shorter one; where both
        are long, the shorter one's windows go with each of the longer's.
        """
        setting = self.setting
        room = setting.room(len(texts))
        if sum(map(len, texts)) <= room:
            return [setting.framing.frame(*texts)]
        if len(texts) == 1:
            spans = windows_of(len(texts[0]), room, setting.step(room))
            return [setting.framing.frame(texts[0][first:end]) for first, end in spans]
        longer = int(len(texts[1]) >= len(texts[0]))
        shorter_room = min(len(texts[1 - longer]), room // 2)
        wide = windows_of(
            len(texts[longer]), room - shorter_room, setting.step(room - shorter_room)
        )
        narrow = windows_of(len(texts[1 - longer]), shorter_room, setting.step(shorter_room))
        rows = []
        for a, b in wide:
            for c, d in narrow:
                parts = [texts[longer][a:b], texts[1 - longer][c:d]]
                rows.append(setting.framing.frame(*(parts if not longer else parts[::-1])))
        return rows

    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """The example's loss, of outputs averaged over its rows."""
        assert batch.targets is not None
        first = torch.ones_like(batch.owner, dtype=torch.bool)
        first[1:] = batch.owner[1:] != batch.owner[:-1]
        learnt = batch.n_targets[first] > 0
        outputs = averaged(logits, batch.owner)
        return self.example_loss(outputs[learnt], batch.targets[first][learnt])

    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses. Shape: (n, C), (n, ...) -> ()."""
        raise NotImplementedError


def thinned(rows: list[Framed]) -> list[Framed]:
    """At most `MOST_WINDOWS` of an example's windows, evenly spread, its ends among them.

    An update must fit into memory with all rows of an example, however long its texts are.
    """
    if len(rows) <= MOST_WINDOWS:
        return rows
    chosen = np.linspace(0, len(rows) - 1, MOST_WINDOWS).round().astype(int)
    return [rows[i] for i in chosen]


def averaged(logits: Tensor, owner: Tensor) -> Tensor:
    """The mean of each example's rows. Shape: (R, C), (R,) -> (n, C)."""
    n = int(owner[-1]) + 1
    if n == len(owner):
        return logits
    sums = logits.new_zeros(n, *logits.shape[1:]).index_add(0, owner, logits)
    return sums / torch.bincount(owner, minlength=n)[:, None]


class Classify(TextTask):
    """One label for a text: softmax over the outputs (Devlin et al. 2019, figure 4b)."""

    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    n_texts: ClassVar[int] = 1
    weighs_labels: ClassVar[bool] = True
    metric: str = "accuracy"
    measures: ScoreOptions = ScoreOptions(accuracy=True, f1=True, mcc=True)

    @classmethod
    def labels_in(cls, fields: list[str]) -> Sequence[str]:
        """See `Task.labels_in`."""
        return (fields[cls.n_texts],)

    def target(self, fields: list[str]) -> NDArray[Any]:
        """The label's number."""
        return np.array(self._number[fields[self.n_texts]])

    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-Σ w_y ln p(y)."""
        weights = self.setting.class_weights
        weight = outputs.new_tensor(weights) if weights else None
        smoothing = self.setting.label_smoothing
        return F.cross_entropy(
            outputs.float(), targets, weight, reduction="sum", label_smoothing=smoothing
        )

    def answer(self, logits: Tensor, example: FramedExample) -> Answer:
        """The likeliest label."""
        probs = logits.float().mean(0).softmax(-1).tolist()
        best = max(range(len(probs)), key=probs.__getitem__)
        labels = self.setting.labels
        return Answer(labels[best], probs[best], {"probs": dict(zip(labels, probs, strict=True))})


class Pair(Classify):
    """One label for a pair of texts (Devlin et al. 2019, figure 4a)."""

    columns: ClassVar[tuple[str, ...]] = ("text", "text", "label")
    n_texts: ClassVar[int] = 2
