"""Backbones that are one stack of self-attention layers: BERT and GPT.

A backbone turns tokens into a vector each, and a text into one vector; heads (`models.text`) make
outputs of these. Shapes: B batch, T length, D d_model, H heads, L layers, V vocabulary, R rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.stack import StackConfig
from attn_cli.nn.beam_state import BEAMS, BeamState, sentences
from attn_cli.nn.cache import KeyValueCache
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import POSITIONS, Positions
from attn_cli.nn.transformer import Encoder, EncoderLayer

_STD = 0.02  # of all weights at first (Devlin et al. 2019, Radford et al. 2018)


class TextEmbedding(nn.Module):
    """Token + position + segment vectors, normalized where the configuration says so."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.tokens = nn.Embedding(config.vocab_size, d_model)
        scheme = choose(POSITIONS, config.positions, "position encoding")
        self.positions = scheme(d_model, config.max_positions)
        self.segments = nn.Embedding(config.n_segments, d_model) if config.n_segments else None
        self.norm = nn.LayerNorm(d_model, config.norm_eps) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def forward(
        self, ids: Tensor, segments: Tensor | None, positions: Positions | None = None
    ) -> Tensor:
        """Embeds tokens that stand at these positions, or at 0, 1, ….

        Shape: ids and segments (B, T) -> (B, T, D).
        """
        if positions is None:
            positions = Positions.first(ids.shape[1], ids.device)
        x = self.tokens(ids) + self.positions(positions)
        if self.segments is not None:
            x = x + (self.segments(segments) if segments is not None else self.segments.weight[0])
        return self.dropout(x if self.norm is None else self.norm(x))


class Stack(nn.Module):
    """Embeddings and layers; what BERT and GPT share."""

    Config: ClassVar[type] = StackConfig
    causal: ClassVar[bool]

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TextEmbedding(config)
        drop = Dropout(config.dropout)
        layers = [
            EncoderLayer(
                *(config.d_model, config.n_heads, config.d_ff, config.norm),
                *(config, drop),
                activation=config.activation,
                eps=config.norm_eps,
                causal=self.causal,
            )
            for _ in range(config.n_layers)
        ]
        self.encoder = Encoder(layers, config.d_model, config.norm, config.norm_eps)
        for name, weight in self.named_parameters():
            if weight.dim() >= 2:
                nn.init.normal_(weight, std=_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    @property
    def d_model(self) -> int:
        """The width of a vector."""
        return self.config.d_model

    @property
    def max_len(self) -> int:
        """The longest input in tokens."""
        return self.config.max_positions

    @property
    def token_vectors(self) -> nn.Embedding:
        """A vector for each token of the vocabulary."""
        return self.embedding.tokens

    @property
    def depths(self) -> list[list[nn.Module]]:
        """The modules from the input up, layer by layer: what is frozen, or learns more slowly."""
        layers: list[list[nn.Module]] = [[layer] for layer in self.encoder.layers]
        return [[self.embedding], *layers]

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """A vector for each token.

        Shape: ids, mask (boolean, True: real) and segments (B, T) -> (B, T, D).
        """
        return self.encoder(self.embedding(ids, segments), self._visible(mask))

    def at(self, ids: Tensor, mask: Tensor, segments: Tensor | None, chosen: Tensor) -> Tensor:
        """The vectors of the chosen positions alone: cheaper where they are few.

        Shape: ids, mask, segments and chosen (boolean) (B, T) -> (N, D), row by row.
        """
        return self.encoder(self.embedding(ids, segments), self._visible(mask), chosen=chosen)

    def layers(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None, *, weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The embeddings and every layer's vectors, and attention weights if wanted.

        Shape: as `forward`; L + 1 of (B, T, D), and L of (B, H, T, T).
        """
        x = self.embedding(ids, segments)
        return self.encoder.each_layer(x, self._visible(mask), need_weights=weights)

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """The weights of every layer: from each token (to earlier ones alone, if causal).

        Shape: as `forward` -> "self": L of (B, H, T, T).
        """
        return {"self": self.layers(ids, mask, segments, weights=True)[1]}

    def _visible(self, mask: Tensor) -> Tensor | None:
        """The mask that attention needs: none at all where nothing is padded (faster).

        A causal stack needs none: padding stands at the end, behind every real token.
        """
        if self.causal or bool(mask.all()):
            return None
        return mask[:, None, None, :]


class Bert(Stack):
    """BERT's encoder and pooler (Devlin et al. 2019): every token sees every other."""

    causal = False
    template = "bert"

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.pooler = nn.Linear(config.d_model, config.d_model)
        nn.init.normal_(self.pooler.weight, std=_STD)
        nn.init.zeros_(self.pooler.bias)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """tanh(W_s z₀ + b_s), z₀ the first token's vector. Shape: (B, T, D), (B, T) -> (B, D)."""
        return torch.tanh(self.pooler(hidden[:, 0]))


@dataclass(frozen=True)
class GptState(BeamState):
    """What a language model remembers of N texts with K beams each.

    Attributes:
        cache: keys and values so far, of every layer, for N*K rows.
        positions: the next position of each text. Shape: (N,).
    """

    cache: KeyValueCache = field(metadata=BEAMS)
    positions: Tensor = field(metadata=sentences())


class Gpt(Stack):
    """A decoder-only language model (Radford et al. 2018): each token sees earlier ones."""

    causal = True
    template = "gpt"

    @property
    def output_layer(self) -> tuple[Tensor, None]:
        """W (V, D) of p(token) = softmax(W h): the embeddings; there is no bias."""
        return self.embedding.tokens.weight, None

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The last real token's vector: it alone saw all. Shape: (B, T, D), (B, T) -> (B, D)."""
        last = mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]

    def step(self, state: GptState, tokens: Tensor) -> tuple[Tensor, GptState]:
        """Reads one token per beam. Shape: tokens (N, K) -> logits (N, K, V), state."""
        cache = state.cache.advance()
        rows = state.positions[:, None].expand_as(tokens).reshape(-1, 1)
        positions = Positions(rows, cache.length)
        embedded = self.embedding(tokens.reshape(-1, 1), None, positions)
        hidden = self.encoder(embedded, cache.mask, positions=positions, cache=cache)
        logits = F.linear(hidden, *self.output_layer).view(*tokens.shape, -1)
        return logits, dataclasses.replace(state, cache=cache, positions=state.positions + 1)

    def read(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, GptState]:
        """Reads the beginnings of N texts at once: as many steps, in one pass.

        Shape: ids (N, T), padded on the left, lengths (N,) -> vectors (N, T, D), state of K = 1.
        """
        n, width = ids.shape
        starts = width - lengths
        cache = KeyValueCache.empty(
            n, len(self.encoder.layers), ids.device, starts if bool(starts.any()) else None
        ).advance(width)
        columns = torch.arange(width, device=ids.device)
        earlier = columns <= columns[:, None]
        # Padding, which nobody reads, sees itself: a softmax over nothing is no number.
        visible = (earlier & (columns >= starts[:, None, None])) | (columns == columns[:, None])
        positions = Positions((columns - starts[:, None]).clamp(min=0), width)
        embedded = self.embedding(ids, None, positions)
        hidden = self.encoder(embedded, visible[:, None], positions=positions, cache=cache)
        return hidden, GptState(1, cache, lengths)
