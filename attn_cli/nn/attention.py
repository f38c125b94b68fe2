"""Attention: one `Attention` and one `MultiHeadAttention` for every model.

Masks are boolean and True means "may attend", as in `F.scaled_dot_product_attention`. A row that
may attend to nothing gets the weights 0 and the context 0, on both paths.

Shapes: B batch, T queries, S keys, D d_model, H heads, K d_head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.transformer import AttentionOptions
from attn_cli.nn.normalizers import NORMALIZERS, Normalizer, SoftmaxNormalizer
from attn_cli.nn.positions import ATTENTION_POSITIONS, AttentionPositions, Positions
from attn_cli.nn.scores import SCORES, Score


class Attention(nn.Module):
    """c = Σᵢ αᵢ vᵢ with α = norm a(kᵢ, q) (Bahdanau et al. 2015, eq. 5-6).

    Args:
        score: a.
        normalizer: norm.
        positions: what keys and values gain from their distance to the query, in self-attention.
    """

    def __init__(
        self,
        score: Score,
        normalizer: Normalizer | None = None,
        positions: AttentionPositions | None = None,
    ) -> None:
        super().__init__()
        self.score = score
        self.normalizer = normalizer or SoftmaxNormalizer()
        self.positions = positions or AttentionPositions()
        self.fused = score.inner and self.normalizer.is_softmax and not self.positions.has_terms

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        positions: Positions | None = None,
        need_weights: bool = False,
        log_probs: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from every query to the keys that its mask allows.

        Args:
            query: Shape: (..., T, Q), Q being K unless the score function takes another width.
            key: Shape: (..., S, K).
            value: of any width V. Shape: (..., S, V).
            mask: broadcastable to (..., T, S).
            causal: whether query t may attend to keys up to t alone.
            positions: where the queries stand, the last one at the last key, in self-attention.
            need_weights: whether the weights are returned, or None in their place.
            log_probs: receives what `Normalizer.forward` says, of hard attention in training.

        Returns:
            The context (..., T, V), and the weights (..., T, S) or None.
        """
        return self.attend(
            query,
            self.score.map_key(key),
            value,
            mask,
            causal=causal,
            positions=positions,
            need_weights=need_weights,
            log_probs=log_probs,
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        positions: Positions | None = None,
        need_weights: bool = False,
        log_probs: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The same, of keys that went through `score.map_key` once, for many queries to come."""
        query = self.score.map_query(query)
        scale = self.score.scale(query.shape[-1])
        if self.fused and not need_weights:
            context = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal, scale=scale
            )
            return context, None
        scores = self.score.compare(query, key)
        if self.positions.has_terms:
            assert positions is not None, "distances need positions"
            terms = self.positions.score_terms(query, positions, key.shape[-2])
            scores = scores + scale * terms
        if causal:
            allowed = causal_mask(scores.shape[-2], scores.device)
            mask = allowed if mask is None else mask & allowed
        weights = self.normalizer(scores, mask, log_probs)
        context = weights @ value
        if self.positions.has_terms:
            assert positions is not None
            context = context + self.positions.value_terms(weights, positions)
        return context, weights if need_weights else None


def causal_mask(size: int, device: torch.device | None = None) -> Tensor:
    """Position t may attend to positions <= t. Shape: (size, size), boolean."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


class MultiHeadAttention(nn.Module):
    """H attentions side by side (Vaswani et al. 2017, 3.2.2), or a variant of them.

    cʲ = Attention(W_qʲ q, W_kʲ z, W_vʲ z), combined by concatenation and W_o. The three projections
    are one parameter of shape (3, H K, D), so that self-attention is one product; two of them where
    W_k = W_v, none where queries, keys and values are the vectors themselves. K is D/H, or D where
    the heads are averaged.

    Args:
        d_model: D.
        n_heads: H.
        options: score function, normalization, positions, projections, combination.
        to_self: whether queries attend to their own sequence: only there are distances defined.
    """

    def __init__(
        self, d_model: int, n_heads: int, options: AttentionOptions, *, to_self: bool = True
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.averages = options.combine == "mean"
        d_head = options.d_head(d_model, n_heads)
        self.register_parameter("in_weight", None)
        self.register_parameter("in_bias", None)
        if options.projections == "learned":
            count = 2 if options.tie_key_value else 3
            self.in_weight = nn.Parameter(torch.empty(count, n_heads * d_head, d_model))
            self.in_bias = nn.Parameter(torch.zeros(count, n_heads * d_head))
            for weight in self.in_weight:
                nn.init.xavier_uniform_(weight)
        self.out = _output(d_model) if options.combine == "concat-linear" else nn.Identity()
        scheme = choose(ATTENTION_POSITIONS, options.positions, "position encoding")
        self.attention = Attention(
            choose(SCORES, options.attention, "score function")(d_head, n_heads=n_heads),
            choose(NORMALIZERS, options.normalize, "normalization")(),
            scheme(d_head, options.max_distance) if to_self else None,
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        positions: Positions | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from `x` to `memory`, or to itself where there is no memory.

        Shape:
            x (B, T, D), memory (B, S, D), mask broadcastable to (B, H, T, S)
            -> (B, T, D), weights (B, H, T, S) if `need_weights`, else None.
        """
        if memory is None:
            positions = positions or Positions.first(x.shape[1], x.device)
            query, key, value = self.project(x, positions)
        else:
            query, (key, value) = self.project_query(x), self.project_memory(memory)
        return self.attend(
            query, key, value, mask, causal=causal, positions=positions, need_weights=need_weights
        )

    def project(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of `x` in one product; the keys as `attend` takes them.

        Args:
            x: Shape: (B, T, D).
            positions: where each vector stands.

        Returns:
            Three of shape (B, H, T, K).
        """
        weight = self.in_weight  # read once: low-rank updates compute it anew each time
        if weight is None:
            query = key = value = self._split(x, 1)[0]
        else:
            fused = F.linear(x, weight.flatten(0, 1), self.in_bias.flatten())
            parts = self._split(fused, len(weight))
            query, key, value = parts[0], parts[1], parts[-1]
        scheme = self.attention.positions
        query, key = scheme.rotate(query, positions), scheme.rotate(key, positions)
        return query, self.attention.score.map_key(key), value

    def project_query(self, x: Tensor) -> Tensor:
        """Queries of `x`. Shape: (B, T, D) -> (B, H, T, K)."""
        weight = self.in_weight
        if weight is not None:
            x = F.linear(x, weight[0], self.in_bias[0])
        return self._split(x, 1)[0]

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of what is attended to. Shape: (B, S, D) -> 2 x (B, H, S, K)."""
        weight = self.in_weight
        if weight is None:
            parts = self._split(memory, 1)
        else:
            fused = F.linear(memory, weight[1:].flatten(0, 1), self.in_bias[1:].flatten())
            parts = self._split(fused, len(weight) - 1)
        return self.attention.score.map_key(parts[0]), parts[-1]

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        positions: Positions | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attention itself, on projected heads: what a step with a cache calls.

        Shape: query (B, H, T, K), key and value (B, H, S, K) -> as `forward`.
        """
        context, weights = self.attention.attend(
            query, key, value, mask, causal=causal, positions=positions, need_weights=need_weights
        )
        joined = context.mean(1) if self.averages else context.transpose(1, 2).flatten(2)
        return self.out(joined), weights

    def _split(self, fused: Tensor, parts: int) -> tuple[Tensor, ...]:
        heads = fused.unflatten(-1, (parts, self.n_heads, -1))  # (B, T, parts, H, K)
        return heads.permute(2, 0, 3, 1, 4).unbind(0)


def _output(d_model: int) -> nn.Linear:
    """W_o, which mixes the concatenated heads."""
    out = nn.Linear(d_model, d_model)
    nn.init.xavier_uniform_(out.weight)
    nn.init.zeros_(out.bias)
    return out
