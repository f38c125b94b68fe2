"""Many vectors -> one: the mean, the maximum, or attention from a learned query.

Shapes: B batch, T positions, D d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_cli.nn.normalizers import masked_softmax


def mean_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real positions' vectors. Shape: (B, T, D), (B, T) -> (B, D)."""
    real = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(1) / real.sum(1)


def max_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The maximum over the real positions. Shape: (B, T, D), (B, T) -> (B, D)."""
    return hidden.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


def attend_from(
    query: Tensor, project: nn.Module, hidden: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attends from one query to all positions (Yang et al. 2016, eq. 5-7).

    The vector s is Σₜ αₜ hₜ with αₜ = softmax(uₜᵀ q) and uₜ = tanh(W hₜ + b).

    Args:
        query: q. Shape: (D,).
        project: W and b.
        hidden: h. Shape: (B, T, D).
        mask: which positions are real. Shape: (B, T).

    Returns:
        s (B, D), and α (B, T).
    """
    scores = torch.tanh(project(hidden)) @ query
    weights = masked_softmax(scores, mask)
    return (weights.unsqueeze(1) @ hidden).squeeze(1), weights


class AttentionPool(nn.Module):
    """Attention from a learned query; see `attend_from`."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.project = nn.Linear(d_model, d_model)
        self.query = nn.Parameter(torch.empty(d_model).normal_().div_(d_model**0.5))

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The vector and the weights. Shape: (B, T, D), (B, T) -> (B, D), (B, T)."""
        return attend_from(self.query, self.project, hidden, mask)
