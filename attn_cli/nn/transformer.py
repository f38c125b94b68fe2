"""Transformer layers (Vaswani et al. 2017), post-norm as published or pre-norm (Xiong et al. 2020).

Shapes: B batch, S source length, T target length, D d_model, F d_ff, H heads, K d_head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import Attended, MultiHeadAttention
from attn_cli.nn.cache import KeyValue, KeyValueCache, LayerCache
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions
from attn_cli.nn.prepared import AnsweringLinear
from attn_cli.nn.stacked import StackLayer


class DecoderWeights(NamedTuple):
    """A decoder layer's attention weights, where they were asked for.

    Attributes:
        self: to the target; None of a step. Shape: (B, H, T, T).
        cross: to the source. Shape: (B, H, T, S).
    """

    self: Tensor | None
    cross: Tensor | None


# ReLU, max(0, x); GELU, x Φ(x), exact, by tanh or by x σ(1.702 x) (Hendrycks & Gimpel 2016); Swish,
# x σ(x) (Ramachandran et al. 2017).
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "gelu-sigmoid": lambda x: x * (1.702 * x).sigmoid(),
    "swish": F.silu,
}


class FeedForward(nn.Module):
    """FFN(x) = W₂ g(W₁x + b₁) + b₂, g = ReLU as published (Vaswani et al. 2017, eq. 2)."""

    def __init__(self, d_model: int, d_ff: int, dropout: Dropout, activation: str = "relu") -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)
        self.dropout = dropout
        self.activation = choose(ACTIVATIONS, activation, "activation function")
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, T, D) -> (B, T, D)."""
        if self.activation is F.relu and isinstance(self.linear1, AnsweringLinear):
            return self.linear2(self.linear1.relu(x))
        hidden = self.linear1(x)
        if self.activation is F.relu:
            return self.linear2(self.dropout.of_relu(hidden))
        return self.linear2(self.dropout(self.activation(hidden)))


class Residual(nn.Module):
    """The residual connection around a sublayer f: what f reads, and what its answer makes of x.

    post: LN(x + dropout(f(x))) (Vaswani et al. 2017, 3.1); pre: x + dropout(f(LN(x))) (Xiong et al.
    2020, figure 1b), which trains without a long warm-up.
    """

    def __init__(self, d_model: int, norm: str, dropout: Dropout, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps)
        self.dropout = dropout
        self.pre = norm == "pre"

    def before(self, x: Tensor) -> Tensor:
        """What the sublayer reads. Shape: (B, T, D) -> the same."""
        return self.norm(x) if self.pre else x

    def after(self, x: Tensor, y: Tensor) -> Tensor:
        """The sublayer's answer y added to x. Shape: 2 x (B, T, D) -> (B, T, D)."""
        x = self.dropout.added(x, y)
        return x if self.pre else self.norm(x)


class EncoderLayer(StackLayer):
    """Self-attention, then the position-wise feed-forward network.

    With `causal` each position sees itself and earlier ones: the layer of a language model.
    """

    residuals: Sequence[Residual]  # a ModuleList, which has no type of its elements

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str,
        options: AttentionOptions,
        dropout: Dropout,
        *,
        activation: str = "relu",
        eps: float = 1e-5,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, options)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation)
        self.residuals = nn.ModuleList(  # type: ignore[assignment]
            Residual(d_model, norm, dropout, eps) for _ in range(2)
        )
        self.causal = causal

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Positions,
        *,
        cache: LayerCache | None = None,
        need_weights: bool = False,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Whole sequences, or the next vectors of sequences whose earlier ones are in the cache.

        Args:
            x: Shape: (B, T, D).
            mask: which vectors may be seen; with a cache it says all, `causal` nothing.
                Shape: (B, 1, 1 or T, S), S counting the earlier vectors too.
            positions: where the vectors of `x` stand.
            cache: takes in the keys and values of `x`.
            need_weights: whether the weights are returned.
            chosen: the positions whose output is wanted: the others need no feed-forward network.
                Shape: (B, T), boolean, N of them True.

        Returns:
            The output (B, T, D), or (N, D) of the chosen positions; the weights (B, H, T, S).
        """
        attention, feed_forward = self.residuals
        attended: Attended = self.self_attention(
            attention.before(x),
            mask,
            positions,
            causal=self.causal and cache is None,
            cache=cache,
            need_weights=need_weights,
        )
        x = attention.after(x, attended.context)
        if chosen is not None:
            x = x[chosen]
        x = feed_forward.after(x, self.feed_forward(feed_forward.before(x)))
        return x, attended.weights


class DecoderLayer(StackLayer):
    """Masked self-attention, attention over the encoder's output, feed-forward network.

    Without `causal` each target position sees all of them: the layer of a model that writes them
    all at once.
    """

    residuals: Sequence[Residual]  # a ModuleList, which has no type of its elements

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str,
        options: AttentionOptions,
        dropout: Dropout,
        *,
        activation: str = "relu",
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, options)
        self.causal = causal
        self.cross_attention = MultiHeadAttention(d_model, n_heads, options, to_self=False)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation)
        self.residuals = nn.ModuleList(  # type: ignore[assignment]
            Residual(d_model, norm, dropout) for _ in range(3)
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue,
        memory_mask: Tensor | None,
        mask: Tensor | None,
        positions: Positions,
        *,
        cache: LayerCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, DecoderWeights]:
        """Whole targets, or the next position of targets whose earlier ones are in the cache.

        With a cache, `x` holds the K beams of each of N sentences in the place of T positions: K
        queries to the same memory, which is not copied for each of them, and to the columns of the
        cache's R rows. Without one, padding stands at the end of the target, where the causal mask
        keeps it out of sight.

        Args:
            x: Shape: (B, T, D), or (N, K, D) with a cache.
            memory: the source (B, S, D), or its keys and values as `project_memory` of
                `cross_attention` makes them. Shape: (B, H, S, d_head) each.
            memory_mask: which of them may be seen. Shape: (B, 1, 1, S).
            mask: which target positions may be seen. Shape: (B, 1, 1, T), or (R, 1, G, C).
            positions: where the target's vectors stand. Shape: (B or 1, T), or (R, 1).
            cache: takes in their keys and values.
            need_weights: whether the weights are returned.

        Returns:
            The output, shaped as `x`, and the weights.
        """
        to_self, to_memory, feed_forward = self.residuals
        y = to_self.before(x)
        attended: Attended = self.self_attention(
            y if cache is None else cache.rows_of(y),
            mask,
            positions,
            causal=self.causal and cache is None,
            cache=cache,
            need_weights=need_weights and cache is None,
        )
        x = to_self.after(x, attended.context.view(x.shape))
        if isinstance(memory, Tensor):
            memory = self.cross_attention.project_memory(memory)
        y = to_memory.before(x)
        crossed = self.cross_attention.attend_to(memory, y, memory_mask, need_weights=need_weights)
        x = to_memory.after(x, crossed.context)
        x = feed_forward.after(x, self.feed_forward(feed_forward.before(x)))
        return x, DecoderWeights(attended.weights, crossed.weights)


def close_sublayers(model: nn.Module) -> None:
    """Zeroes the last matrix of every sublayer, so that each layer begins as the identity.

    What a training from random weights begins with: a deep stack then learns like a shallow one
    at first (Zhang et al. 2019, "Fixup"; Bachlechner et al. 2021, "ReZero").
    """
    for module in model.modules():
        if isinstance(module, FeedForward):
            nn.init.zeros_(module.linear2.weight)
        elif isinstance(module, MultiHeadAttention) and isinstance(module.out_proj, nn.Linear):
            nn.init.zeros_(module.out_proj.weight)


class Encoder(nn.Module):
    """A stack of encoder layers; pre-norm stacks end in a normalization."""

    layers: Sequence[EncoderLayer]  # a ModuleList, which has no type of its elements

    def __init__(
        self, layers: Sequence[EncoderLayer], d_model: int, norm: str, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(d_model, eps) if norm == "pre" else nn.Identity()

    @property
    def is_fused(self) -> bool:
        """Whether attention is of the kind to which masks may be added."""
        return all(layer.self_attention.attention.fused for layer in self.layers)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        *,
        positions: Positions | None = None,
        cache: KeyValueCache | None = None,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """The last layer's output, or that of the chosen (N) positions alone.

        Args:
            x: Shape: (B, T, D).
            mask: as `EncoderLayer.forward` takes it.
            positions: where the vectors stand; 0, 1, … if it is not said.
            cache: what came before them, and takes them in.
            chosen: Shape: (B, T), boolean.

        Returns:
            Shape: (B, T, D) or (N, D).
        """
        positions = positions or Positions.first(x.shape[1], x.device)
        for index, layer in enumerate(self.layers):
            x, _ = layer(
                x,
                mask,
                positions,
                cache=None if cache is None else cache.layer(index),
                chosen=chosen if index + 1 == len(self.layers) else None,
            )
        return self.norm(x)

    def each_layer(
        self, x: Tensor, mask: Tensor | None, *, need_weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What every layer gives, its input first and the normalized output last.

        Shape: x (B, T, D) -> n_layers + 1 of (B, T, D), n_layers of (B, H, T, T) if wanted.
        """
        outputs, weights = [x], []
        positions = Positions.first(x.shape[1], x.device)
        for layer in self.layers:
            x, layer_weights = layer(x, mask, positions, need_weights=need_weights)
            outputs.append(x)
            weights += [] if layer_weights is None else [layer_weights]
        outputs[-1] = self.norm(x)
        return outputs, weights


class Decoder(nn.Module):
    """A stack of decoder layers; pre-norm stacks end in a normalization."""

    layers: Sequence[DecoderLayer]  # a ModuleList, which has no type of its elements

    def __init__(self, layers: Sequence[DecoderLayer], d_model: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()

    @property
    def is_fused(self) -> bool:
        """Whether attention is of the kind to which masks may be added."""
        return all(layer.self_attention.attention.fused for layer in self.layers)

    def project(self, memory: Tensor) -> tuple[KeyValue, ...]:
        """Every layer's keys and values of the source: once, for many passes or steps.

        Shape: (B, S, D) -> 2 x (B, H, S, d_head) each.
        """
        return tuple(layer.cross_attention.project_memory(memory) for layer in self.layers)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | Sequence[KeyValue],
        memory_mask: Tensor | None,
        mask: Tensor | None = None,
        *,
        positions: Positions | None = None,
        cache: KeyValueCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[DecoderWeights]]:
        """Shape: as `DecoderLayer.forward`; the memory (B, S, D), or what `project` makes of it."""
        weights: list[DecoderWeights] = []
        positions = positions or Positions.first(x.shape[1], x.device)
        for index, layer in enumerate(self.layers):
            x, layer_weights = layer(
                x,
                memory if isinstance(memory, Tensor) else memory[index],
                memory_mask,
                mask,
                positions,
                cache=None if cache is None else cache.layer(index),
                need_weights=need_weights,
            )
            weights.append(layer_weights)
        return self.norm(x), weights
