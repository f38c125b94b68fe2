"""Attention: one `Attention` and one `MultiHeadAttention` for every model.

Masks are boolean and True means "may attend", as in `F.scaled_dot_product_attention`. A row that
may attend to nothing gets the weights 0 and the context 0, on both paths.

Shapes: B batch, T queries, S keys, D d_model, H heads, K d_head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Score(nn.Module):
    """a(k, q): how well a key answers a query.

    A score function that is a scaled inner product says so by `scale`, and is then computed by the
    fused kernel; any other is computed by `forward`.
    """

    def scale(self, d_head: int) -> float | None:
        """The factor s if a(k, q) = s·kᵀq, else None."""
        return None

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores every key for every query.

        Shape: query (..., T, K), key (..., S, K) -> (..., T, S).
        """
        scale = self.scale(query.shape[-1])
        if scale is None:
            raise TypeError(f"{type(self).__name__} defines neither scale() nor forward()")
        return scale * (query @ key.transpose(-2, -1))


class ScaledDotScore(Score):
    """a(k, q) = kᵀq / √d (Vaswani et al. 2017, eq. 1)."""

    def scale(self, d_head: int) -> float:
        """1/√d."""
        return 1.0 / math.sqrt(d_head)


class DotScore(Score):
    """a(k, q) = kᵀq (Luong et al. 2015, eq. 8, dot)."""

    def scale(self, d_head: int) -> float:
        """1."""
        return 1.0


SCORES: dict[str, type[Score]] = {"scaled-dot": ScaledDotScore, "dot": DotScore}


class Attention(nn.Module):
    """c = Σᵢ αᵢ vᵢ with α = softmax a(kᵢ, q) (Bahdanau et al. 2015, eq. 5-6)."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from every query to the keys that its mask allows.

        Shape:
            query (..., T, K), key and value (..., S, K), mask broadcastable to (..., T, S)
            -> context (..., T, K), weights (..., T, S) if `need_weights`, else None.
        """
        scale = self.score.scale(query.shape[-1])
        if scale is not None and not need_weights:
            context = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal, scale=scale
            )
            return context, None
        scores = self.score(query, key)
        if causal:
            allowed = causal_mask(scores.shape[-2], scores.device)
            mask = allowed if mask is None else mask & allowed
        weights = masked_softmax(scores, mask)
        return weights @ value, weights


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension among the allowed positions; all zeros where none is."""
    if mask is None:
        return scores.softmax(-1)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def causal_mask(size: int, device: torch.device | None = None) -> Tensor:
    """Position t may attend to positions <= t. Shape: (size, size), boolean."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


class MultiHeadAttention(nn.Module):
    """H attentions side by side, combined by concatenation and W_o (Vaswani et al. 2017, 3.2.2).

    cʲ = Attention(W_qʲ q, W_kʲ z, W_vʲ z). The three projections are one parameter of shape
    (3, D, D), so that self-attention is one product.
    """

    def __init__(self, d_model: int, n_heads: int, score: Score) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.in_weight = nn.Parameter(torch.empty(3, d_model, d_model))
        self.in_bias = nn.Parameter(torch.zeros(3, d_model))
        self.out = nn.Linear(d_model, d_model)
        self.attention = Attention(score)
        for weight in self.in_weight:
            nn.init.xavier_uniform_(weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from `x` to `memory`, or to itself where there is no memory.

        Shape:
            x (B, T, D), memory (B, S, D), mask broadcastable to (B, H, T, S)
            -> (B, T, D), weights (B, H, T, S) if `need_weights`, else None.
        """
        if memory is None:
            query, key, value = self.project(x)
        else:
            query, (key, value) = self.project_query(x), self.project_memory(memory)
        return self.attend(query, key, value, mask, causal=causal, need_weights=need_weights)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of `x` in one product. Shape: (B, T, D) -> 3 x (B, H, T, K)."""
        fused = F.linear(x, self.in_weight.flatten(0, 1), self.in_bias.flatten())
        query, key, value = self._split(fused, 3)
        return query, key, value

    def project_query(self, x: Tensor) -> Tensor:
        """Queries of `x`. Shape: (B, T, D) -> (B, H, T, K)."""
        return self._split(F.linear(x, self.in_weight[0], self.in_bias[0]), 1)[0]

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of what is attended to. Shape: (B, S, D) -> 2 x (B, H, S, K)."""
        fused = F.linear(memory, self.in_weight[1:].flatten(0, 1), self.in_bias[1:].flatten())
        key, value = self._split(fused, 2)
        return key, value

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attention itself, on projected heads: what a step with a cache calls.

        Shape: query (B, H, T, K), key and value (B, H, S, K) -> as `forward`.
        """
        context, weights = self.attention(
            query, key, value, mask, causal=causal, need_weights=need_weights
        )
        return self.out(context.transpose(1, 2).flatten(2)), weights

    def _split(self, fused: Tensor, parts: int) -> tuple[Tensor, ...]:
        heads = fused.unflatten(-1, (parts, self.n_heads, -1))  # (B, T, parts, H, K)
        return heads.permute(2, 0, 3, 1, 4).unbind(0)
