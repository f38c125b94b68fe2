"""Tasks that ask for something about a whole text, or about two of them.

A long text is read in overlapping windows whose outputs are averaged, or sentence by sentence by a
backbone that makes documents of them: nothing of it is cut off.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.scoring import ScoreOptions
from attn_cli.data.sentences import sentences_of
from attn_cli.data.templates import DocumentTemplate, InputRow, windows_of
from attn_cli.systems.tasks.base import Answer, EncodedExample, Task, TextBatch

MOST_WINDOWS = 16  # of an example that is learnt from; answers are made of all windows
_MOST_TOKENS = 1 << 16  # likewise of a document's sentences, padded


class WindowedTask(Task):
    """A task whose outputs come from the text head, from windows of long texts."""

    head: ClassVar[str] = "text"
    _told = False  # whether it was said that long texts are learnt from in part

    def thinned(self, rows: list[InputRow], most: int = MOST_WINDOWS) -> list[InputRow]:
        """At most so many of an example's rows, evenly spread, its ends among them; said once.

        An update must fit into memory with all rows of an example, however long its texts are.
        """
        if len(rows) <= most:
            return rows
        if self.setting.say and not self._told:
            self._told = True
            self.setting.say(
                f"a text of {len(rows):,} windows is learnt from {most:,} of them, evenly spread, "
                "and so are others; answers are made of all windows (--max-len makes them wider)"
            )
        chosen = np.linspace(0, len(rows) - 1, most).round().astype(int)
        return [rows[i] for i in chosen]

    def rows(self, texts: list[list[int]]) -> list[InputRow]:
        """The windows of one or two texts.

        The longer of two is cut into windows, each beside the whole of the shorter one; where both
        are long, the shorter one's windows go with each of the longer's.
        """
        setting = self.setting
        room = setting.room(len(texts))
        if sum(map(len, texts)) <= room:
            return [setting.template.fill(*texts)]
        if len(texts) == 1:
            spans = windows_of(len(texts[0]), room, setting.step(room))
            return [setting.template.fill(texts[0][first:end]) for first, end in spans]
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
                rows.append(setting.template.fill(*(parts if not longer else parts[::-1])))
        return rows


class TextTask(WindowedTask):
    """A task whose outputs are averaged over an example's rows."""

    reads_documents: ClassVar[bool] = True

    def encode(self, examples: Sequence[list[str]], *, targets: bool) -> list[EncodedExample]:
        """See `Task.encode`."""
        texts = [fields[: self.n_texts] for fields in examples]
        encoded = []
        for fields, rows in zip(examples, self._encoded(texts), strict=True):
            if targets:
                most = _MOST_TOKENS // max(len(row.ids) for row in rows)
                by_sentence = self.setting.template.by_sentence
                rows = self.thinned(rows, max(1, most) if by_sentence else MOST_WINDOWS)
            gold = np.stack([self.target(fields)] * len(rows)) if targets else None
            encoded.append(EncodedExample(tuple(rows), gold))
        return encoded

    @abstractmethod
    def target(self, fields: list[str]) -> NDArray[np.generic]:
        """What the outputs are to be for a line: a number, or a vector."""

    def _encoded(self, examples: Sequence[list[str]]) -> Iterator[list[InputRow]]:
        """The rows of each example."""
        encode, template = self.setting.tokenizer.encode, self.setting.template
        if isinstance(template, DocumentTemplate):
            cut = [[sentences_of(text) for text in texts] for texts in examples]
            token_ids = iter(encode([part for texts in cut for parts in texts for part in parts]))
            for texts in cut:
                yield template.document([[next(token_ids) for _ in parts] for parts in texts])
            return
        token_ids = iter(encode([text for texts in examples for text in texts]))
        for parts in examples:
            yield self.rows([next(token_ids) for _ in parts])

    def loss(self, logits: Tensor, batch: TextBatch) -> Tensor:
        """The example's loss, of outputs averaged over its rows."""
        assert batch.targets is not None
        first = torch.ones_like(batch.owner, dtype=torch.bool)
        first[1:] = batch.owner[1:] != batch.owner[:-1]
        learnt = batch.n_targets[first] > 0
        outputs = averaged(logits, batch.owner)
        return self.example_loss(outputs[learnt], batch.targets[first][learnt])

    @abstractmethod
    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses. Shape: (n, C), (n, ...) -> ()."""


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
        return (fields[cls.n_texts].strip(),)

    def target(self, fields: list[str]) -> NDArray[np.generic]:
        """The label's number."""
        return np.array(self._number[fields[self.n_texts].strip()])

    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-Σ w_y ln p(y)."""
        weights = self.setting.class_weights
        weight = outputs.new_tensor(weights) if weights else None
        smoothing = self.setting.label_smoothing
        return F.cross_entropy(
            outputs.float(), targets, weight, reduction="sum", label_smoothing=smoothing
        )

    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """The likeliest label."""
        probs = logits.float().mean(0).softmax(-1).tolist()
        best = max(range(len(probs)), key=probs.__getitem__)
        labels = self.setting.labels
        return Answer(labels[best], probs[best], {"probs": dict(zip(labels, probs, strict=True))})


class Pair(Classify):
    """One label for a pair of texts (Devlin et al. 2019, figure 4a)."""

    columns: ClassVar[tuple[str, ...]] = ("text", "text", "label")
    n_texts: ClassVar[int] = 2
