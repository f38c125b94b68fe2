"""A step of a stack of decoder layers as a flat list of products, for models that only answer.

A step has few rows: what it costs is less their products than the modules, masks and copies around
them. Here the parts of the layers are taken out of their modules once, and a step runs through
them: normalization, queries with keys and values in one product, turned where they stand, put into
the cache in one copy, two products of few queries each.

Shapes: N sentences, K beams, R rows of the cache with G beams each (R G = N K), S source length,
C columns of the cache, D d_model, H heads, d d_head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.attention import MultiHeadAttention, added
from attn_cli.nn.cache import KeyValue, KeyValueCache
from attn_cli.nn.positions import AttentionPositions, Positions, RotaryPositions
from attn_cli.nn.prepared import PreparedLinear, product_of
from attn_cli.nn.scores import DotScore, ScaledDotScore
from attn_cli.nn.transformer import Decoder, DecoderLayer, FeedForward

Function = Callable[[Tensor], Tensor]


def flat_decoder(decoder: Decoder) -> FlatDecoder | None:
    """The step of a prepared decoder; None where a layer is of a kind that has no such step."""
    layers = [_flat_layer(layer) for layer in decoder.layers]
    norm = decoder.norm
    found = [layer for layer in layers if layer is not None]
    if len(found) < len(layers):
        return None
    return FlatDecoder(found, _normalization(norm) if isinstance(norm, nn.LayerNorm) else None)


class FlatDecoder:
    """What a decoder makes of a step, of its own parts.

    Args:
        layers: in their order.
        norm: of what the last one gives; None: none.
    """

    def __init__(self, layers: Sequence[FlatLayer], norm: Function | None) -> None:
        self._layers = layers
        self._norm = norm

    def fits(self, x: Tensor) -> bool:
        """Whether such vectors can be computed with here: on a CPU, in float32, without a graph."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32
        return plain and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")

    def __call__(
        self,
        x: Tensor,
        memory: Sequence[KeyValue],
        memory_mask: Tensor,
        positions: Positions,
        cache: KeyValueCache,
    ) -> Tensor:
        """The next vectors of all beams, whose keys and values the cache takes in.

        Args:
            x: Shape: (N, K, D).
            memory: every layer's keys and values of the source. Shape: (N, H, S, d) each.
            memory_mask: which of them may be seen. Shape: (N, 1, 1, S).
            positions: where the vectors stand, by the cache's rows. Shape: (R, 1).
            cache: of the steps so far, advanced.

        Returns:
            Shape: (N, K, D).
        """
        n, beams, d_model = x.shape
        heads, width = self._layers[0].to_self.heads, self._layers[0].to_self.turns
        turns = positions.rotations(width)[:, :, None, None] if width else None
        source = _of_heads(memory_mask, heads, beams)
        seen = None if cache.mask is None else _of_heads(cache.mask, heads, cache.shared)
        flat = x.reshape(n * beams, d_model)
        for index, layer in enumerate(self._layers):
            flat = layer.attend_to_self(flat, seen, turns, cache, index)
            flat = layer.attend_to_memory(flat, memory[index], source)
            flat = layer.feed(flat)
        if self._norm is not None:
            flat = self._norm(flat)
        return flat.view(n, beams, d_model)


def _of_heads(mask: Tensor, heads: int, queries: int) -> Tensor:
    """A mask as numbers to add, a row for each head of each row.

    Shape: (R, 1, 1 or T, S) -> (R H, T, S), or what is spread to it.
    """
    numbers = added(mask)
    assert numbers is not None
    rows, _, _, columns = numbers.shape
    if rows == 1:
        return numbers[0]
    return numbers.expand(-1, heads, queries, -1).reshape(rows * heads, queries, columns)


@dataclass(frozen=True)
class FlatAttention:
    """What a step needs of a `MultiHeadAttention`.

    Attributes:
        inner: the query's product, in self-attention with those of keys and values.
        outer: W_o's.
        heads: H.
        scale: of an inner product.
        turns: d, if queries and keys are turned by where they stand; 0: they are not.
    """

    inner: PreparedLinear
    outer: PreparedLinear
    heads: int
    scale: float
    turns: int

    def attend(self, query: Tensor, memory: KeyValue, mask: Tensor | None) -> Tensor:
        """W_o softmax(s q kᵀ + mask) v + b_o.

        Shape: query (R, G, H, d), memory 2 x (R, H, C, d), mask as of `_of_heads` -> (R G, D).
        """
        rows, beams, heads, d_head = query.shape
        key, value = memory
        if mask is None:
            context = F.scaled_dot_product_attention(
                query.transpose(1, 2), key, value, scale=self.scale
            )
        else:
            flat = query.transpose(1, 2).reshape(rows * heads, beams, d_head)
            scores = torch.baddbmm(mask, flat, key.flatten(0, 1).mT, alpha=self.scale)
            context = torch.softmax(scores, -1) @ value.flatten(0, 1)
            context = context.view(rows, heads, beams, d_head)
        return self.outer(context.transpose(1, 2).reshape(rows * beams, heads * d_head))


@dataclass(frozen=True)
class FlatLayer:
    """What a step needs of a `DecoderLayer`.

    Attributes:
        to_self: attention to the target.
        to_memory: attention to the source.
        hidden: the feed-forward network's first product, with its activation function.
        outer: its second one.
        norms: of the three sublayers.
        pre: whether these come before the sublayers.
    """

    to_self: FlatAttention
    to_memory: FlatAttention
    hidden: Function
    outer: PreparedLinear
    norms: tuple[Function, Function, Function]
    pre: bool

    def attend_to_self(
        self,
        x: Tensor,
        mask: Tensor | None,
        turns: Tensor | None,
        cache: KeyValueCache,
        index: int,
    ) -> Tensor:
        """Self-attention with what is around it; `turns` of queries and keys, if there are any.

        Shape: x (N K, D), mask as of `_of_heads`, turns (R, 1, 1, 1, d/2) -> as x.
        """
        attention = self.to_self
        parts = attention.inner(self.norms[0](x) if self.pre else x)
        parts = parts.view(cache.rows, cache.shared, 3, attention.heads, -1)
        if turns is not None:
            pairs = parts.narrow(2, 0, 2).view(*parts.shape[:2], 2, attention.heads, -1, 2)
            torch.view_as_complex(pairs).mul_(turns)  # where they stand: the product is ours alone
        memory = cache.take(index, parts.narrow(2, 1, 2).permute(2, 0, 3, 1, 4))
        return self._added(0, x, attention.attend(parts.select(2, 0), memory, mask))

    def attend_to_memory(self, x: Tensor, memory: KeyValue, mask: Tensor) -> Tensor:
        """Cross-attention with what is around it. Shape: x (N K, D) -> the same."""
        attention = self.to_memory
        query = attention.inner(self.norms[1](x) if self.pre else x)
        query = query.view(len(memory.key), -1, attention.heads, memory.key.shape[-1])
        return self._added(1, x, attention.attend(query, memory, mask))

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward network with what is around it. Shape: x (N K, D) -> the same."""
        return self._added(2, x, self.outer(self.hidden(self.norms[2](x) if self.pre else x)))

    def _added(self, sublayer: int, x: Tensor, y: Tensor) -> Tensor:
        """A sublayer's answer y, which is overwritten, added to x."""
        y.add_(x)
        return y if self.pre else self.norms[sublayer](y)


def _flat_layer(layer: DecoderLayer) -> FlatLayer | None:
    to_self, to_memory = map(_flat_attention, (layer.self_attention, layer.cross_attention))
    if to_self is None or to_memory is None:
        return None
    first, second, third = (_normalization(residual.norm) for residual in layer.residuals)
    return FlatLayer(
        to_self,
        to_memory,
        hidden=_hidden(layer.feed_forward),
        outer=product_of(layer.feed_forward.linear2),
        norms=(first, second, third),
        pre=layer.residuals[0].pre,
    )


def _flat_attention(module: MultiHeadAttention) -> FlatAttention | None:
    """None where it is another kind of attention, or not prepared."""
    attention, weight, outer = module.attention, module.in_weight, module.out_proj
    positions = attention.positions
    turns = isinstance(positions, RotaryPositions)
    if type(attention.score) not in (DotScore, ScaledDotScore) or not attention.fused:
        return None
    if not turns and type(positions) is not AttentionPositions:
        return None
    if weight is None or len(weight) != 3 or module.prepared_query is None:
        return None
    if module.averages or not isinstance(outer, nn.Linear):
        return None
    d_head = weight.shape[1] // module.n_heads
    return FlatAttention(
        module.prepared_query,
        product_of(outer),
        module.n_heads,
        attention.score.scale(d_head),
        d_head if turns else 0,
    )


def _hidden(network: FeedForward) -> Function:
    """g(W₁x + b₁)."""
    product, activation = product_of(network.linear1), network.activation
    if activation is F.relu:
        return lambda x: product(x, relu=True)
    return lambda x: activation(product(x))


def _normalization(norm: nn.LayerNorm) -> Function:
    shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
