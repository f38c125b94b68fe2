"""Objectives: modules that map a batch to a loss sum and a negative log-likelihood sum in nats."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from attn_cli.data.parallel import Seq2SeqBatch
from attn_cli.nn.losses import linear_cross_entropy


class TranslationObjective(nn.Module):
    """-Σ ln p(yₜ | y₍<ₜ₎, x) by teacher forcing, with label smoothing.

    In training, `head_penalty` times the model's penalty of like heads is added: a sum over
    positions as the loss is one over tokens, so that batches of any size weigh alike.
    """

    def __init__(self, model: Any, label_smoothing: float, head_penalty: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.head_penalty = head_penalty

    def forward(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's target tokens: the loss, and the unsmoothed one."""
        inputs = (batch.src_ids, batch.src_mask, batch.tgt_ids[:, :-1])
        penalized = self.training and self.head_penalty > 0
        hidden, weights = self.model.attentions(*inputs) if penalized else self.model(*inputs)
        gold = batch.tgt_ids[:, 1:][batch.tgt_mask]
        weight, bias = self.model.output_layer
        loss, nll = linear_cross_entropy(
            hidden[batch.tgt_mask], weight, bias, gold, self.label_smoothing
        )
        if penalized:
            penalty = weights.head_penalty(batch.src_mask, batch.tgt_mask)
            loss = loss + self.head_penalty * penalty
        return loss, nll
