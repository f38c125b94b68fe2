"""Any number of labels for a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.scoring import ScoreOptions
from attn_cli.systems.tasks.base import Answer, EncodedExample
from attn_cli.systems.tasks.classify import TextTask


class Multilabel(TextTask):
    """Labels joined by commas, or none: a sigmoid for each label, which holds from 0.5 on."""

    columns: ClassVar[tuple[str, ...]] = ("text", "labels")
    n_texts: ClassVar[int] = 1
    may_be_empty: ClassVar[tuple[str, ...]] = ("labels",)
    metric: str = "micro_f1"
    measures: ScoreOptions = ScoreOptions(multilabel_f1=True)

    @classmethod
    def labels_in(cls, fields: list[str]) -> Sequence[str]:
        """See `Task.labels_in`."""
        return [label for part in fields[cls.n_texts].split(",") if (label := part.strip())]

    def target(self, fields: list[str]) -> NDArray[np.generic]:
        """1 for each label that the text has, 0 for the others."""
        vector = np.zeros(self.n_outputs, np.float32)
        vector[[self._number[label] for label in self.labels_in(fields)]] = 1
        return vector

    def example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-Σ ln p(y) over the labels, independent of each other."""
        return F.binary_cross_entropy_with_logits(outputs.float(), targets, reduction="sum")

    def answer(self, logits: Tensor, example: EncodedExample) -> Answer:
        """The labels that are likelier than not, in their own order."""
        probs = logits.float().mean(0).sigmoid().tolist()
        labels = self.setting.labels
        held = [label for label, prob in zip(labels, probs, strict=True) if prob >= 0.5]
        # How likely exactly this set is, the labels being independent.
        together = float(np.prod([max(prob, 1 - prob) for prob in probs]))
        return Answer(",".join(held), together, {"probs": dict(zip(labels, probs, strict=True))})
