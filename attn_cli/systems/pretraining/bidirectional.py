"""The objective of two language models that read in opposite directions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from attn_cli.models.text import TextModel
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.text_reader import LanguageBatch
from attn_cli.train.objective import Objective


class BidirectionalObjective(Objective[LanguageBatch]):
    """-½ Σₖ (ln p(tₖ | t₁ … tₖ₋₁) + ln p(tₖ | tₖ₊₁ … t_N)) (Peters et al. 2018, 3.1).

    The half makes it a mean over two models, to be compared with one of a single direction. Of a
    window the forward model predicts all tokens but the first, the backward one all but the last.
    """

    model: TextModel

    def __init__(self, model: TextModel, label_smoothing: float) -> None:
        super().__init__(model)
        self.label_smoothing = label_smoothing

    def forward(self, batch: LanguageBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's tokens: the loss, and the unsmoothed one."""
        (loss, nll), (back_loss, back_nll) = self._each(batch)
        return (loss + back_loss) / 2, (nll + back_nll) / 2

    def _each(self, batch: LanguageBatch) -> list[tuple[Tensor, Tensor]]:
        """The sums of the forward model, then of the backward one."""
        trunk, wanted = self.model.trunk, batch.mask
        real = torch.cat((torch.ones_like(wanted[:, :1]), wanted), 1)
        ahead, back = trunk.directions(batch.ids, real)[-1]
        pairs = ((ahead[:, :-1], batch.ids[:, 1:]), (back[:, 1:], batch.ids[:, :-1]))
        weight, bias = trunk.output_layer
        return [
            linear_cross_entropy(hidden[wanted], weight, bias, gold[wanted], self.label_smoothing)
            for hidden, gold in pairs
        ]

    @torch.inference_mode()
    def figures(self, batches: Iterable[LanguageBatch]) -> dict[str, float]:
        """Loss in nats per token, the mean of both; perplexity of it and of each direction."""
        device = next(self.parameters()).device
        sums = [0.0, 0.0]
        tokens = 0
        for batch in batches:
            tokens += batch.n_tokens
            for number, (_, nll) in enumerate(self._each(batch.to(device))):
                sums[number] += float(nll)
        ahead, back = (total / max(1, tokens) for total in sums)
        loss = (ahead + back) / 2
        return {
            "loss": loss,
            "perplexity": _exp(loss),
            "forward_perplexity": _exp(ahead),
            "backward_perplexity": _exp(back),
        }


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700))
