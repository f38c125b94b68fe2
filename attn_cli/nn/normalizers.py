"""From scores to weights: soft attention by softmax or by sum, and hard attention.

Masks are boolean and True means "may attend". A row that may attend to nothing gets the weights 0.

Shapes: T queries, S keys, the dots before them a batch, or a batch and heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension among the allowed positions; all zeros where none is."""
    if mask is None:
        return scores.softmax(-1)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


class Weights(NamedTuple):
    """What a normalization makes of scores.

    Attributes:
        weights: of the keys. Shape: (..., T, S).
        log_probs: where the weights were drawn, ln q of what was drawn. Shape: (..., T).
    """

    weights: Tensor
    log_probs: Tensor | None = None


class Normalizer(nn.Module, ABC):
    """α = norm(a): weights that are not negative and sum to 1 over the allowed keys."""

    is_softmax: ClassVar[bool] = False  # the fused kernel can compute it

    @abstractmethod
    def forward(self, scores: Tensor, mask: Tensor | None) -> Weights:
        """Weights of the keys.

        Args:
            scores: Shape: (..., T, S).
            mask: which keys a query may attend to; broadcastable to the scores.
        """


class SoftmaxNormalizer(Normalizer):
    """αᵢ = exp aᵢ / Σ exp aⱼ (Bahdanau et al. 2015, eq. 6)."""

    is_softmax = True

    def forward(self, scores: Tensor, mask: Tensor | None) -> Weights:
        """Shape: (..., T, S) -> the same."""
        return Weights(masked_softmax(scores, mask))


class SumNormalizer(Normalizer):
    """αᵢ = pᵢ / Σ pⱼ with pᵢ = ln(1 + exp aᵢ), the softplus of the score.

    It is positive and, unlike exp, grows no faster than the score: no key takes all.
    """

    def forward(self, scores: Tensor, mask: Tensor | None) -> Weights:
        """Shape: (..., T, S) -> the same."""
        positive = F.softplus(scores)
        if mask is not None:
            positive = positive.masked_fill(~mask, 0.0)
        total = positive.sum(-1, keepdim=True)
        return Weights(positive / total.clamp_min(torch.finfo(positive.dtype).tiny))


class HardNormalizer(Normalizer):
    """One key gets the weight 1 (Xu et al. 2015, section 4.1).

    At run time it is the best one. In training it is drawn from softmax a; no gradient flows
    through the draw, so the scores learn by the score-function estimator from `log_probs` (see
    `losses.hard_attention_loss`).
    """

    def forward(self, scores: Tensor, mask: Tensor | None) -> Weights:
        """Shape: (..., T, S) -> the same."""
        probs, log_probs = masked_softmax(scores, mask), None
        if self.training:
            # The floor lets a row that may attend to nothing be drawn from; it is zeroed below.
            floor = torch.finfo(probs.dtype).tiny
            drawn = probs.detach().clamp_min(floor).flatten(0, -2).multinomial(1)
            chosen = drawn.view(*probs.shape[:-1], 1)
            log_probs = probs.gather(-1, chosen).clamp_min(floor).log().squeeze(-1)
        else:
            chosen = probs.argmax(-1, keepdim=True)
        weights = torch.zeros_like(probs).scatter_(-1, chosen, 1.0)
        if mask is not None:
            weights = weights.masked_fill(~mask, 0.0)
        return Weights(weights, log_probs)


NORMALIZERS: dict[str, type[Normalizer]] = {
    "softmax": SoftmaxNormalizer,
    "sum": SumNormalizer,
    "hard": HardNormalizer,
}
