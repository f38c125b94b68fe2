"""Many vectors -> one: the mean, the maximum, or attention from a learned query.

Shapes: B batch, T positions, D d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_cli.nn.attention import Attended, Attention
from attn_cli.nn.scores import PerceptronScore


def mean_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the valid positions' vectors. Shape: (B, T, D), (B, T) -> (B, D)."""
    valid = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * valid).sum(1) / valid.sum(1)


def max_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The maximum over the valid positions. Shape: (B, T, D), (B, T) -> (B, D)."""
    return hidden.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


class AttentionPool(nn.Module):
    """s = Σₜ αₜ hₜ with αₜ = softmax(uₜᵀ q), uₜ = tanh(W hₜ + b) (Yang et al. 2016, eq. 5-7).

    It is `Attention` from one query that is learned.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = Attention(PerceptronScore(d_model))
        self.query = nn.Parameter(torch.empty(d_model).normal_().div_(d_model**0.5))  # q

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The vector and the weights. Shape: (B, T, D), (B, T) -> (B, D), (B, T)."""
        keys = self.attention.score.map_key(hidden)
        attended: Attended = self.attention(
            self.query[None], keys, hidden, mask[:, None], need_weights=True
        )
        assert attended.weights is not None
        return attended.context.squeeze(1), attended.weights.squeeze(1)
