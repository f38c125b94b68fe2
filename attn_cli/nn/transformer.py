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
from attn_cli.config.transformer import AttentionOptions
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.positions import Positions

KeyValue = tuple[Tensor, Tensor]


class DecoderWeights(NamedTuple):
    """A decoder layer's attention weights: to the target itself (B, H, T, T), to the source."""

    own: Tensor
    cross: Tensor  # (B, H, T, S)


# ReLU, max(0, x); GELU, x Φ(x), exact or by tanh (Hendrycks & Gimpel 2016).
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
}


class FeedForward(nn.Module):
    """FFN(x) = W₂ g(W₁x + b₁) + b₂, g = ReLU as published (Vaswani et al. 2017, eq. 2)."""

    def __init__(
        self, d_model: int, d_ff: int, dropout: nn.Module, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.dropout = dropout
        self.activation = choose(ACTIVATIONS, activation, "activation function")
        for linear in (self.inner, self.outer):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, T, D) -> (B, T, D)."""
        return self.outer(self.dropout(self.activation(self.inner(x))))


class Residual(nn.Module):
    """A sublayer in its residual connection.

    post: LN(x + dropout(f(x))) (Vaswani et al. 2017, 3.1); pre: x + dropout(f(LN(x))) (Xiong et al.
    2020, figure 1b), which trains without a long warm-up.
    """

    def __init__(self, d_model: int, norm: str, dropout: nn.Module, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps)
        self.dropout = dropout
        self.pre = norm == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Shape: (B, T, D) -> (B, T, D)."""
        if self.pre:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


class EncoderLayer(nn.Module):
    """Self-attention, then the position-wise feed-forward network.

    With `causal` each position sees itself and earlier ones: the layer of a language model.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str,
        options: AttentionOptions,
        dropout: nn.Module,
        *,
        activation: str = "relu",
        eps: float = 1e-5,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, options)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, activation)
        self.residuals = nn.ModuleList(Residual(d_model, norm, dropout, eps) for _ in range(2))
        self.causal = causal

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Positions,
        *,
        need_weights: bool = False,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The layer's output, or the chosen (N) positions' alone: the others need no feed-forward.

        Shape:
            x (B, S, D), mask (B, 1, 1, S), chosen (B, S) boolean
            -> (B, S, D) or (N, D), weights (B, H, S, S) if wanted.
        """
        kept: list[Tensor | None] = [None]

        def attend(y: Tensor) -> Tensor:
            context, kept[0] = self.self_attention(
                y,
                mask=mask,
                causal=self.causal,
                positions=positions,
                need_weights=need_weights,
            )
            return context

        x = self.residuals[0](x, attend)
        if chosen is not None:
            x = x[chosen]
        return self.residuals[1](x, self.feed_forward), kept[0]

    def step(
        self,
        x: Tensor,
        append: Callable[[Tensor, Tensor], KeyValue],
        mask: Tensor | None,
        positions: Positions,
    ) -> Tensor:
        """The next position of R rows, or the next n, from cached keys and values.

        Args:
            x: the positions' vectors. Shape: (R, n, D).
            append: puts the positions' keys and values (R, H, n, d_head) into the cache and
                returns all so far, each (R, H, t, d_head).
            mask: which cached positions may be seen. Shape: (R, 1, 1 or n, t).
            positions: where the vectors stand in each row.
        """

        def attend(y: Tensor) -> Tensor:
            query, key, value = self.self_attention.project(y, positions)
            key, value = append(key, value)
            return self.self_attention.attend(query, key, value, mask, positions=positions)[0]

        return self.residuals[1](self.residuals[0](x, attend), self.feed_forward)


class DecoderLayer(nn.Module):
    """Masked self-attention, attention over the encoder's output, feed-forward network.

    Without `causal` each target position sees all of them: the layer of a model that writes them
    all at once.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str,
        options: AttentionOptions,
        dropout: nn.Module,
        *,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, options)
        self.causal = causal
        self.cross_attention = MultiHeadAttention(d_model, n_heads, options, to_self=False)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.residuals = nn.ModuleList(Residual(d_model, norm, dropout) for _ in range(3))

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue,
        memory_mask: Tensor | None,
        mask: Tensor | None,
        positions: Positions,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, DecoderWeights | None]:
        """All target positions at once; each sees itself and earlier ones if `causal`.

        Padding stands at the end of the target, so the causal mask alone keeps it out of sight;
        without it, `mask` says what is real.

        Shape:
            x (B, T, D), memory (B, S, D) or its projected keys and values (B, H, S, d_head) each,
            memory_mask (B, 1, 1, S), mask (B, 1, 1, T)
            -> (B, T, D), and the weights if `need_weights`.
        """
        kept: list[Tensor] = []
        projected = (
            self.cross_attention.project_memory(memory) if isinstance(memory, Tensor) else memory
        )

        def attend_self(y: Tensor) -> Tensor:
            context, weights = self.self_attention(
                y,
                mask=mask,
                causal=self.causal,
                positions=positions,
                need_weights=need_weights,
            )
            kept.extend(() if weights is None else (weights,))
            return context

        def attend_memory(y: Tensor) -> Tensor:
            query = self.cross_attention.project_query(y)
            context, weights = self.cross_attention.attend(
                query, *projected, memory_mask, need_weights=need_weights
            )
            kept.extend(() if weights is None else (weights,))
            return context

        x = self.residuals[0](x, attend_self)
        x = self.residuals[1](x, attend_memory)
        x = self.residuals[2](x, self.feed_forward)
        return x, DecoderWeights(*kept) if kept else None

    def step(
        self,
        x: Tensor,
        append: Callable[[Tensor, Tensor], KeyValue],
        mask: Tensor | None,
        positions: Positions,
        memory: KeyValue,
        memory_mask: Tensor | None,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One target position of N sentences with K beams each, from cached keys and values.

        The beams of a sentence are K queries to the same memory, which is not copied per beam.

        Args:
            x: the position's vectors. Shape: (N, K, D).
            append: puts the position's keys and values (N*K, H, 1, d_head) into the cache and
                returns all so far, each (N*K, H, t, d_head).
            mask: which cached positions are real. Shape: (N*K, 1, 1, t).
            positions: where the position stands in each row, N*K of them.
            memory: projected keys and values of the source. Shape: (N, H, S, d_head).
            memory_mask: Shape: (N, 1, 1, S).
            need_weights: whether the cross-attention weights (N, H, K, S) are returned.
        """
        shape = x.shape
        kept: list[Tensor | None] = [None]

        def attend_self(y: Tensor) -> Tensor:
            rows = y.reshape(-1, 1, shape[-1])
            query, key, value = self.self_attention.project(rows, positions)
            key, value = append(key, value)
            context, _ = self.self_attention.attend(query, key, value, mask, positions=positions)
            return context.view(shape)

        def attend_memory(y: Tensor) -> Tensor:
            query = self.cross_attention.project_query(y)
            context, kept[0] = self.cross_attention.attend(
                query, *memory, memory_mask, need_weights=need_weights
            )
            return context

        x = self.residuals[0](x, attend_self)
        x = self.residuals[1](x, attend_memory)
        return self.residuals[2](x, self.feed_forward), kept[0]


class Encoder(nn.Module):
    """A stack of encoder layers; pre-norm stacks end in a normalization."""

    layers: list[EncoderLayer]  # a ModuleList, which has no type of its elements

    def __init__(
        self, layers: list[EncoderLayer], d_model: int, norm: str, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(d_model, eps) if norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, chosen: Tensor | None = None) -> Tensor:
        """The last layer's output, or that of the chosen (N) positions alone.

        Shape: x (B, S, D), mask (B, 1, 1, S), chosen (B, S) boolean -> (B, S, D) or (N, D).
        """
        positions = Positions.first(x.shape[1], x.device)
        for number, layer in enumerate(self.layers, 1):
            last = number == len(self.layers)
            x, _ = layer(x, mask, positions, chosen=chosen if last else None)
        return self.norm(x)

    def each_layer(
        self, x: Tensor, mask: Tensor | None, *, need_weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What every layer gives, its input first and the normalized output last.

        Shape: as `forward`; n_layers + 1 of (B, S, D), and n_layers of (B, H, S, S) if wanted.
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

    layers: list[DecoderLayer]  # a ModuleList, which has no type of its elements

    def __init__(self, layers: list[DecoderLayer], d_model: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()

    def forward(
        self,
        x: Tensor,
        memory: Tensor | Sequence[KeyValue],
        memory_mask: Tensor | None,
        mask: Tensor | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[DecoderWeights]]:
        """Shape: as `DecoderLayer.forward`, projected memories and weights layer by layer."""
        weights: list[DecoderWeights] = []
        positions = Positions.first(x.shape[1], x.device)
        memories = [memory] * len(self.layers) if isinstance(memory, Tensor) else memory
        for layer, own in zip(self.layers, memories, strict=True):
            x, layer_weights = layer(
                x, own, memory_mask, mask, positions, need_weights=need_weights
            )
            weights += [] if layer_weights is None else [layer_weights]
        return self.norm(x), weights
