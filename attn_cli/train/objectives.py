"""Objectives: modules that map a batch to a loss sum and a negative log-likelihood sum in nats."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from attn_cli.data.parallel import Seq2SeqBatch
from attn_cli.nn.losses import linear_cross_entropy


class TranslationObjective(nn.Module):
    """-Σ ln p(yₜ | y₍<ₜ₎, x) by teacher forcing, with label smoothing."""

    def __init__(self, model: Any, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's target tokens: the loss, and the unsmoothed one."""
        hidden, _ = self.model(batch.src_ids, batch.src_mask, batch.tgt_ids[:, :-1])
        gold = batch.tgt_ids[:, 1:][batch.tgt_mask]
        weight, bias = self.model.output_layer
        return linear_cross_entropy(
            hidden[batch.tgt_mask], weight, bias, gold, self.label_smoothing
        )
