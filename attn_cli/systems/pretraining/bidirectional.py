"""Two language models that read in opposite directions: sentences, and their objective.

Shapes: B batch, T length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attn_cli.lines.rows import is_blank
from attn_cli.models.bilm import Bilm
from attn_cli.nn.losses import linear_cross_entropy
from attn_cli.systems.pretraining.base import PretrainingObjective
from attn_cli.systems.pretraining.causal import LanguageBatch, LanguageReader, Streams
from attn_cli.train.spread import Spread, alone


@dataclass
class SentenceReader(LanguageReader):
    """Cuts text into sentences, one a line: ⟨bos⟩ S ⟨eos⟩, as the input template makes it.

    A window begins with the token that the one before it ends with, so that each token is predicted
    once from the left, and once from the right.
    """

    def _streams(self, lines: Sequence[str]) -> Streams:
        """The tokens of each line that is not blank."""
        begin, end = self.tokenizer.bos_id, self.tokenizer.eos_id
        encoded = self.tokenizer.encode([line for line in lines if not is_blank(line)])
        return [np.array([begin, *ids, end], np.int64) for ids in encoded]

    def _cut(
        self, stream: NDArray[np.int64], length: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """As ever; what fits is one window."""
        return [stream] if len(stream) <= length + 1 else super()._cut(stream, length, rng)


class BidirectionalObjective(PretrainingObjective[LanguageBatch]):
    """-½ Σₖ (ln p(tₖ | t₁ … tₖ₋₁) + ln p(tₖ | tₖ₊₁ … t_N)) (Peters et al. 2018, 3.1).

    The half makes it a mean over two models, to be compared with one of a single direction. Of a
    window the forward model predicts all tokens but the first, the backward one all but the last.
    """

    @property
    def unused(self) -> Iterable[nn.Parameter]:
        """The mix of the layers and the pooling, which are the task's to learn."""
        backbone = self.model.backbone
        assert isinstance(backbone, Bilm)
        return (backbone.mix, backbone.scale, *backbone.attention_pool.parameters())

    def forward(self, batch: LanguageBatch) -> tuple[Tensor, Tensor]:
        """Sums over the batch's tokens: the loss, and the unsmoothed one."""
        (loss, nll), (back_loss, back_nll) = self._each(batch)
        return (loss + back_loss) / 2, (nll + back_nll) / 2

    def _each(self, batch: LanguageBatch) -> list[tuple[Tensor, Tensor]]:
        """The sums of the forward model, then of the backward one."""
        backbone, targets = self.model.backbone, batch.mask
        assert isinstance(backbone, Bilm)
        mask = torch.cat((torch.ones_like(targets[:, :1]), targets), 1)
        ahead, back = backbone.directions(batch.ids, mask)[-1]
        pairs = ((ahead[:, :-1], batch.ids[:, 1:]), (back[:, 1:], batch.ids[:, :-1]))
        weight, bias = backbone.output_layer
        return [
            linear_cross_entropy(hidden[targets], weight, bias, gold[targets], self.label_smoothing)
            for hidden, gold in pairs
        ]

    @torch.inference_mode()
    def figures(self, batches: Sequence[LanguageBatch], spread: Spread = alone) -> dict[str, float]:
        """Loss in nats per token, the mean of both; perplexity of it and of each direction."""
        device = next(self.parameters()).device
        pairs = spread(
            lambda batch: [float(nll) for _, nll in self._each(batch.to(device))], batches
        )
        tokens = max(1, sum(batch.n_tokens for batch in batches))
        ahead, back = (sum(each) / tokens for each in zip(*pairs, strict=True))
        loss = (ahead + back) / 2
        return {
            "loss": loss,
            "perplexity": _exp(loss),
            "forward_perplexity": _exp(ahead),
            "backward_perplexity": _exp(back),
        }


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700))
