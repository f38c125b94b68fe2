"""Score functions a(k, q): how well a key answers a query.

A score function is split into what it makes of a query, what it makes of a key, and how it compares
the two, so that a key is prepared once, however many queries come (a cache holds prepared keys).

Shapes: T queries, S keys, H heads, K d_head. The dots before them are a batch, or a batch and
heads: (B, T, K) with one head, (B, H, T, K) with several.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BLOCK = 1 << 24  # numbers at a time in an additive score: 64 MiB of float32


class Score(nn.Module):
    """a(k, q), by default the inner product s·k′ᵀq′ of a mapped key and a mapped query.

    Args:
        d_key: K.
        n_heads: heads, each with parameters of its own.
    """

    is_inner_product: ClassVar[bool] = True  # which the fused kernel can compute

    def __init__(self, d_key: int, n_heads: int = 1) -> None:
        super().__init__()

    def map_query(self, query: Tensor) -> Tensor:
        """q′. Shape: (..., T, K) -> the same."""
        return query

    def map_key(self, key: Tensor) -> Tensor:
        """k′. Shape: (..., S, K) -> the same."""
        return key

    def scale(self, d_key: int) -> float:
        """The factor s of the inner product."""
        return 1.0

    def compare(self, query: Tensor, key: Tensor) -> Tensor:
        """The score of mapped queries and keys. Shape: (..., T, K), (..., S, K) -> (..., T, S)."""
        return self.scale(query.shape[-1]) * (query @ key.transpose(-2, -1))


class ScaledDotScore(Score):
    """a(k, q) = kᵀq / √K (Vaswani et al. 2017, eq. 1)."""

    def scale(self, d_key: int) -> float:
        """1/√K."""
        return 1.0 / math.sqrt(d_key)


class DotScore(Score):
    """a(k, q) = kᵀq (Luong et al. 2015, eq. 8, dot)."""


class GeneralScore(Score):
    """a(k, q) = kᵀ W q (Luong et al. 2015, eq. 8, general).

    W, one for each head, begins as I/√K, so as the scaled dot product. Shape: (H, K, K).
    """

    def __init__(self, d_key: int, n_heads: int = 1) -> None:
        super().__init__(d_key, n_heads)
        weight = torch.zeros(n_heads, d_key, d_key)
        weight.diagonal(dim1=1, dim2=2).fill_(1.0).div_(math.sqrt(d_key))
        self.weight = nn.Parameter(weight)

    def map_query(self, query: Tensor) -> Tensor:
        """W q. Shape: (..., T, K) -> the same."""
        return query @ self.weight.transpose(-2, -1)


class AdditiveScore(Score):
    """a(k, q) = wᵀ tanh(U k + V q) (Bahdanau et al. 2015, appendix A.1.2).

    U (H, K, K), V (H, K, K) and w (K), one of each for each head.
    """

    is_inner_product = False

    def __init__(self, d_key: int, n_heads: int = 1) -> None:
        super().__init__(d_key, n_heads)
        self.key_weight = nn.Parameter(torch.empty(n_heads, d_key, d_key))
        self.query_weight = nn.Parameter(torch.empty(n_heads, d_key, d_key))
        # Flat: the heads' vectors are no matrix, and optimizers of matrices shall not take it.
        combination = torch.empty(n_heads * d_key).normal_().div_(math.sqrt(d_key))
        self.combination = nn.Parameter(combination)
        for weight in (*self.key_weight, *self.query_weight):
            nn.init.xavier_uniform_(weight)

    def map_query(self, query: Tensor) -> Tensor:
        """V q. Shape: (..., T, K) -> the same."""
        return query @ self.query_weight.transpose(-2, -1)

    def map_key(self, key: Tensor) -> Tensor:
        """U k. Shape: (..., S, K) -> the same."""
        return key @ self.key_weight.transpose(-2, -1)

    def compare(self, query: Tensor, key: Tensor) -> Tensor:
        """wᵀ tanh(k′ + q′), a few queries at a time. Shape: as `Score.compare`."""
        combination = self.combination.view(len(self.key_weight), 1, -1, 1)
        # Without heads, the one row of w stands for the batch's first dimension too.
        rows = max(1, _BLOCK // max(1, key.numel()))
        parts = [
            ((part.unsqueeze(-2) + key.unsqueeze(-3)).tanh() @ combination).squeeze(-1)
            for part in query.split(rows, dim=-2)
        ]
        return torch.cat(parts, dim=-2)


class CosineScore(Score):
    """a(k, q) = β kᵀq / (|k| |q|), β > 0 (Graves et al. 2014, eq. 5-6).

    A cosine alone is at most 1, which no softmax over a sentence can make sharp. β is learned as
    its logarithm, one for each head, and begins at 10.
    """

    def __init__(self, d_key: int, n_heads: int = 1) -> None:
        super().__init__(d_key, n_heads)
        self.log_sharpness = nn.Parameter(torch.full((n_heads,), math.log(10.0)))

    def map_query(self, query: Tensor) -> Tensor:
        """β q/|q|. Shape: (..., T, K) -> the same."""
        return F.normalize(query, dim=-1) * self.log_sharpness.exp()[:, None, None]

    def map_key(self, key: Tensor) -> Tensor:
        """k/|k|. Shape: (..., S, K) -> the same."""
        return F.normalize(key, dim=-1)


class MeanScore(Score):
    """a(k, q) = 0: all keys are equal, and the context is the plain average of the values."""

    is_inner_product = False

    def compare(self, query: Tensor, key: Tensor) -> Tensor:
        """Zeros. Shape: as `Score.compare`."""
        # Made of queries and keys: data-parallel training wants a gradient, if 0, of every weight.
        return 0.0 * (query[..., :1] + key[..., :1].transpose(-2, -1))


class PerceptronScore(Score):
    """a(k, q) = qᵀ tanh(W k + b) (Yang et al. 2016, eq. 5-6), of a query that is learned itself."""

    def __init__(self, d_key: int) -> None:
        super().__init__(d_key)
        self.project = nn.Linear(d_key, d_key)

    def map_key(self, key: Tensor) -> Tensor:
        """The hidden layer u = tanh(W k + b). Shape: (..., S, K) -> the same."""
        return self.project(key).tanh()


SCORES: dict[str, type[Score]] = {
    "scaled-dot": ScaledDotScore,
    "dot": DotScore,
    "general": GeneralScore,
    "additive": AdditiveScore,
    "cosine": CosineScore,
    "mean": MeanScore,
}
