"""Attention: one `Attention` and one `MultiHeadAttention` for every model.

Masks are boolean and True means "may attend", as in `F.scaled_dot_product_attention`. A row that
may attend to nothing gets the weights 0 and the context 0, on both paths. Where many layers see the
same, `added` makes numbers of such a mask once, which the fused path adds to the scores.

Shapes: B batch, T queries, S keys, D d_model, H heads, K d_head, V width of values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.blocks import Blocks, HasBlocks
from attn_cli.nn.cache import KeyValue, LayerCache
from attn_cli.nn.normalizers import NORMALIZERS, Normalizer, SoftmaxNormalizer, Weights
from attn_cli.nn.positions import POSITIONS, AttentionPositions, Positions
from attn_cli.nn.prepared import HasProducts, Make, PreparedLinear
from attn_cli.nn.scores import SCORES, Score


class Attended(NamedTuple):
    """What attention returns.

    Attributes:
        context: c. Shape: (..., T, V).
        weights: α, where they were asked for. Shape: (..., T, S).
        log_probs: ln q of the keys that hard attention drew in training. Shape: (..., T).
    """

    context: Tensor
    weights: Tensor | None = None
    log_probs: Tensor | None = None


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
        softmax_of_products = score.is_inner_product and self.normalizer.is_softmax
        self.fused = softmax_of_products and not self.positions.has_terms

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
    ) -> Attended:
        """Attends from every query to the keys that its mask allows.

        Args:
            query: Shape: (..., T, K).
            key: as `score.map_key` maps it, once for however many queries. Shape: (..., S, K).
            value: Shape: (..., S, V).
            mask: broadcastable to (..., T, S); or what `added` makes of one.
            causal: whether query t may attend to keys up to t alone.
            positions: where the queries stand, the last one at the last key, in self-attention.
            need_weights: whether the weights are returned.
        """
        query = self.score.map_query(query)
        scale = self.score.scale(query.shape[-1])
        if self.fused and not need_weights:
            if mask is not None and mask.is_floating_point():
                return Attended(_products(query, key, value, mask, scale))
            return Attended(_fused(query, key, value, mask=mask, causal=causal, scale=scale))
        if mask is not None and mask.is_floating_point():
            mask = mask == 0
        scores = self.score.compare(query, key)
        if self.positions.has_terms:
            assert positions is not None, "distances need positions"
            terms = self.positions.score_terms(query, positions, key.shape[-2])
            scores = scores + scale * terms
        if causal:
            allowed = causal_mask(scores.shape[-2], scores.device)
            mask = allowed if mask is None else mask & allowed
        normalized: Weights = self.normalizer(scores, mask)
        weights, log_probs = normalized
        context = weights @ value
        if self.positions.has_terms:
            assert positions is not None
            context = context + self.positions.value_terms(weights, positions)
        return Attended(context, weights if need_weights else None, log_probs)


# The most keys that a CPU learns from by products of whole batches. PyTorch's kernel takes two to
# three times as long there, the way back in bf16 eight times, and a second thread barely helps it.
_BY_PRODUCTS = {torch.float32: 48, torch.bfloat16: 512}
_SHORT_ROW = 32  # fewer numbers of bf16 than these fill no vector: they are summed one by one


def _fused(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """softmax(scale q kᵀ) v among the allowed keys, in the fastest way. Shape: as `forward`."""
    learns = query.requires_grad and query.device.type == "cpu"
    short = key.shape[-2] <= _BY_PRODUCTS.get(query.dtype, 0)
    alike = query.dim() == 4 and query.shape[:2] == key.shape[:2]
    if learns and short and alike and not torch.compiler.is_compiling():
        allowed = mask
        if causal:
            before = causal_mask(query.shape[-2])
            allowed = before if mask is None else mask & before
        if allowed is None or allowed.any(-1).all():
            return _products(query, key, value, added(allowed), scale)
    return _kernel(query, key, value, mask=mask, causal=causal, scale=scale)


def _kernel(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """PyTorch's own; in float32 where the way back in bf16 takes five times as long, on a CPU.

    Shape: as `Attention.forward`.
    """
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and query.requires_grad:
        with torch.autocast("cpu", enabled=False):
            wide = query.float(), key.float(), value.float()
            return _kernel(*wide, mask=mask, causal=causal, scale=scale).to(value.dtype)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scale
    )


def added(mask: Tensor | None) -> Tensor | None:
    """A mask of a step as numbers: 0 where a query may attend, else -inf.

    On a CPU, where two products of few queries are faster than a kernel for many. Every query must
    see something. Shape: (..., T, S) -> the same.
    """
    if mask is None or mask.device.type != "cpu":
        return mask
    return mask.log()  # in one operation


def _products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale q kᵀ + mask) v. Shape: (B, H, T, K), 2 x (B, H, S, K) -> (B, H, T, K)."""
    batch, heads, size, d_head = query.shape
    flat = query.reshape(batch * heads, size, d_head)
    scores = torch.baddbmm(
        flat.new_empty(()), flat, key.flatten(0, 1).mT, beta=0, alpha=scale
    ).view(batch, heads, size, key.shape[2])
    if scores.dtype == torch.bfloat16 and scores.shape[-1] < _SHORT_ROW:
        scores = scores.float()
    if mask is not None:
        scores = scores + mask.to(scores.dtype)  # numbers of two kinds are added one by one
    weights = scores.softmax(-1).to(value.dtype)
    context = weights.flatten(0, 1) @ value.flatten(0, 1)
    return context.view(batch, heads, size, value.shape[3])


def causal_mask(size: int, device: torch.device | None = None) -> Tensor:
    """Position t may attend to positions <= t. Shape: (size, size), boolean."""
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


class MultiHeadAttention(nn.Module, HasBlocks, HasProducts):
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

    Attributes:
        prepared_query: the product of a query, in self-attention of all three; None: not prepared.
    """

    def __init__(
        self, d_model: int, n_heads: int, options: AttentionOptions, *, to_self: bool = True
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.averages = options.combine == "mean"
        self._to_self = to_self
        self.prepared_query: PreparedLinear | None = None
        self._memory: PreparedLinear | None = None  # of the keys and values of another sequence
        d_head = options.d_head(d_model, n_heads)
        self.register_parameter("in_weight", None)
        self.register_parameter("in_bias", None)
        if options.projections == "learned":
            count = 2 if options.tie_key_value else 3
            self.in_weight = nn.Parameter(torch.empty(count, n_heads * d_head, d_model))
            self.in_bias = nn.Parameter(torch.zeros(count, n_heads * d_head))
            for weight in self.in_weight:
                nn.init.xavier_uniform_(weight)
        self.out_proj: nn.Module = nn.Identity()
        if options.combine == "concat-linear":
            self.out_proj = nn.Linear(d_model, d_model)  # W_o
            nn.init.xavier_uniform_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)
        scheme = choose(POSITIONS, options.positions, "position encoding")
        self.attention = Attention(
            choose(SCORES, options.attention, "score function")(d_head, n_heads=n_heads),
            choose(NORMALIZERS, options.normalize, "normalization")(),
            scheme.inside(d_head, options.max_distance) if to_self else None,
        )

    def blocks(self) -> list[tuple[nn.Parameter, Blocks]]:
        """The heads' parts of W_q, W_k, W_v and W_o; see `HasBlocks`."""
        found: list[tuple[nn.Parameter, Blocks]] = []
        if isinstance(self.in_weight, nn.Parameter):
            found.append((self.in_weight, Blocks(self.n_heads, -2)))
        if isinstance(self.out_proj, nn.Linear) and isinstance(self.out_proj.weight, nn.Parameter):
            found.append((self.out_proj.weight, Blocks(self.n_heads, -1)))
        return found

    def prepare_products(self, make: Make) -> None:
        """See `HasProducts`."""
        weight, bias = self.in_weight, self.in_bias
        if weight is None:
            return
        first = len(weight) if self._to_self else 1
        self.prepared_query = make(weight[:first].flatten(0, 1), bias[:first].flatten())
        if not self._to_self:
            self._memory = make(weight[first:].flatten(0, 1), bias[first:].flatten())

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Positions,
        *,
        causal: bool = False,
        cache: LayerCache | None = None,
        need_weights: bool = False,
    ) -> Attended:
        """Self-attention: from `x` to itself, and to what the cache holds of earlier vectors.

        Args:
            x: Shape: (B, T, D).
            mask: broadcastable to (B, H, T, S), S counting the earlier vectors too.
            positions: where the vectors of `x` stand.
            causal: whether vector t may attend to those up to t alone; only without a cache.
            cache: takes the keys and values of `x` in.
            need_weights: whether the weights are returned.

        Returns:
            Shape: context (B, T, D), weights (B, H, T, S).
        """
        weight = self.in_weight  # read once: low-rank updates compute it anew each time
        if weight is None:
            query = key = value = self._split(x, 1)[0]
        else:
            if self.prepared_query is not None:
                projected = self.prepared_query(x)
            else:
                projected = F.linear(x, weight.flatten(0, 1), self.in_bias.flatten())
            parts = self._split(projected, len(weight))
            query, key, value = parts[0], parts[1], parts[-1]
        scheme = self.attention.positions
        query, key = scheme.rotate(query, positions), scheme.rotate(key, positions)
        memory = KeyValue(self.attention.score.map_key(key), value)
        if cache is not None:
            memory = cache.append(memory)
        return self._attend(
            query, memory, mask, causal=causal, positions=positions, need_weights=need_weights
        )

    def attend_to(
        self, memory: KeyValue, x: Tensor, mask: Tensor | None, *, need_weights: bool = False
    ) -> Attended:
        """Cross-attention: from `x` to what `project_memory` made of another sequence.

        Shape:
            x (B, T, D), mask broadcastable to (B, H, T, S)
            -> context (B, T, D), weights (B, H, T, S).
        """
        if self.prepared_query is not None:
            x = self.prepared_query(x)
        elif (weight := self.in_weight) is not None:
            x = F.linear(x, weight[0], self.in_bias[0])
        return self._attend(self._split(x, 1)[0], memory, mask, need_weights=need_weights)

    def project_memory(self, memory: Tensor) -> KeyValue:
        """Keys and values of what is attended to. Shape: (B, S, D) -> 2 x (B, H, S, K)."""
        weight = self.in_weight
        if weight is None:
            parts = self._split(memory, 1)
        else:
            if self._memory is not None:
                projected = self._memory(memory)
            else:
                projected = F.linear(memory, weight[1:].flatten(0, 1), self.in_bias[1:].flatten())
            parts = self._split(projected, len(weight) - 1)
        return KeyValue(self.attention.score.map_key(parts[0]), parts[-1])

    def _attend(
        self,
        query: Tensor,
        memory: KeyValue,
        mask: Tensor | None,
        *,
        causal: bool = False,
        positions: Positions | None = None,
        need_weights: bool = False,
    ) -> Attended:
        """The heads' attention, combined. Shape: query (B, H, T, K) -> context (B, T, D)."""
        heads: Attended = self.attention(
            query, *memory, mask, causal=causal, positions=positions, need_weights=need_weights
        )
        context = heads.context  # (B, H, T, K)
        context = context.mean(1) if self.averages else context.transpose(1, 2).flatten(2)
        return Attended(self.out_proj(context), heads.weights)

    def _split(self, projected: Tensor, parts: int) -> list[Tensor]:
        """The heads of each part. Shape: (B, T, parts H K) -> parts of (B, H, T, K)."""
        if parts == 1:
            return [projected.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)]
        # Taken apart where they stand, lest the way back put gradients together in another order
        # than the projection's, and copy them once more.
        heads = projected.unflatten(-1, (parts, self.n_heads, -1))  # (B, T, parts, H, K)
        return [part.transpose(1, 2) for part in heads.unbind(2)]
