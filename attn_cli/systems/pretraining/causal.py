"""The objective of a language model that reads from left to right."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from attn_cli.models.text import TextModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.text_reader import LanguageBatch
from attn_cli.train.objective import Objective


class LanguageObjective(Objective[LanguageBatch]):
    """-Σ ln p(wₜ | w₍<ₜ₎) (Radford et al. 2018, eq. 1)."""

    model: TextModel

    def __init__(self, model: TextModel, label_smoothing: float) -> None:
        super().__init__(model)
        self.label_smoothing = label_smoothing

    def forward(self, batch: LanguageBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's tokens: the loss, and the unsmoothed one."""
        trunk = self.model.trunk
        inputs = batch.ids[:, :-1]
        hidden = trunk(inputs, torch.ones_like(inputs, dtype=torch.bool))
        gold = batch.ids[:, 1:]
        weight, bias = trunk.output_layer
        return linear_cross_entropy(
            hidden[batch.mask], weight, bias, gold[batch.mask], self.label_smoothing
        )

    @torch.inference_mode()
    def figures(self, batches: Iterable[LanguageBatch]) -> dict[str, float]:
        """Loss in nats per token, and perplexity."""
        device = next(self.parameters()).device
        nll = tokens = 0.0
        for batch in batches:
            nll += float(self(batch.to(device))[1])
            tokens += batch.n_tokens
        loss = nll / max(1.0, tokens)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700))}
