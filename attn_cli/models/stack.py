"""Backbones that are one stack of self-attention layers: BERT and GPT.

Shapes: B batch, T length, D d_model, H heads, L layers, V vocabulary, R rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose, option
from attn_cli.config.attention import ACTIVATIONS, POSITION_ENCODINGS, AttentionOptions
from attn_cli.models.backbone import Backbone, BackboneConfig, BackbonePreset, LanguageModel
from attn_cli.nn.attention import added
from attn_cli.nn.beam_state import BEAMS, BeamState, sentences
from attn_cli.nn.cache import KeyValueCache
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import POSITIONS, Positions
from attn_cli.nn.prepared import HasProducts, Make, PreparedLinear
from attn_cli.nn.tables import OutputLinear
from attn_cli.nn.transformer import Encoder, EncoderLayer

_STD = 0.02  # of all weights at first (Devlin et al. 2019, Radford et al. 2018)


@dataclass(frozen=True, kw_only=True)
class StackConfig(BackboneConfig, AttentionOptions):
    """What a saved stack is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    d_ff: int = option(MISSING, "Width of the feed-forward networks.", low=1, high=1 << 20)
    n_heads: int = option(MISSING, "Attention heads.", low=1, high=1024)
    n_layers: int = option(MISSING, "Layers.", low=1, high=256)
    positions: str = option("learned", "Position encoding.", choices=POSITION_ENCODINGS)
    max_positions: int = option(512, "Longest input in tokens.", low=1, high=1 << 20)
    n_segments: int = option(2, "Segment vectors; 0: none.", low=0, high=1024)
    norm: str = option("post", "Where sublayers are normalized.", choices=("pre", "post"))
    norm_eps: float = option(1e-12, "Epsilon of the normalizations.", low=0.0, high=1.0)
    embedding_norm: bool = option(True, "Normalize the sum of the embeddings.")
    activation: str = option("gelu", "Activation function.", choices=ACTIVATIONS)
    tied_output: bool = option(True, "The layer that predicts tokens has the embeddings' weights.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.d_head(self.d_model, self.n_heads)

    @classmethod
    def of_size(cls, preset: BackbonePreset, vocab_size: int) -> Self:
        """See `BackboneConfig`."""
        return cls(
            vocab_size=vocab_size,
            d_model=preset.d_model,
            d_ff=4 * preset.d_model,
            n_heads=preset.n_heads,
            n_layers=preset.n_layers,
        )

    @property
    def max_len(self) -> int:
        """The longest input in tokens."""
        return self.max_positions


class TextEmbedding(nn.Module):
    """Token + position + segment vectors, normalized where the configuration says so."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.tokens = nn.Embedding(config.vocab_size, d_model)
        scheme = choose(POSITIONS, config.positions, "position encoding")
        self.positions = scheme.added(d_model, config.max_positions)
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
            # Where there is one vector alone, a second text has it, too.
            known = segments is not None and len(self.segments.weight) > 1
            x = x + (self.segments(segments) if known else self.segments.weight[0])
        return self.dropout(x if self.norm is None else self.norm(x))


def layers_of(config: StackConfig, *, causal: bool) -> Encoder:
    """The layers of a stack, without its embeddings."""
    drop = Dropout(config.dropout)
    layers = [
        EncoderLayer(
            *(config.d_model, config.n_heads, config.d_ff, config.norm),
            *(config, drop),
            activation=config.activation,
            eps=config.norm_eps,
            causal=causal,
        )
        for _ in range(config.n_layers)
    ]
    return Encoder(layers, config.d_model, config.norm, config.norm_eps)


def draw_weights(module: nn.Module) -> None:
    """Gives a part of a stack its first weights."""
    for name, weight in module.named_parameters():
        if weight.dim() >= 2:
            nn.init.normal_(weight, std=_STD)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)


def visible(mask: Tensor) -> Tensor | None:
    """The mask that attention to all valid tokens needs: none where nothing is padded (faster).

    Shape: (B, T) -> (B, 1, 1, T).
    """
    return None if bool(mask.all()) else mask[:, None, None, :]


class Stack(Backbone):
    """Embeddings and layers; what BERT and GPT share."""

    Config: ClassVar[type[StackConfig]] = StackConfig
    config: StackConfig
    causal: ClassVar[bool]

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.embedding = TextEmbedding(config)
        self.encoder = layers_of(config, causal=self.causal)
        draw_weights(self)

    @property
    def token_vectors(self) -> nn.Embedding:
        """See `Backbone`."""
        return self.embedding.tokens

    @property
    def score_function(self) -> str:
        """See `Backbone`."""
        return self.config.attention

    @property
    def depths(self) -> list[list[nn.Module]]:
        """See `Backbone`."""
        layers: list[list[nn.Module]] = [[layer] for layer in self.encoder.layers]
        return [[self.embedding], *layers]

    @property
    def n_layers(self) -> int:
        """See `Backbone`."""
        return len(self.encoder.layers)

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """See `Backbone`."""
        return self.encoder(self.embedding(ids, segments), self._visible(mask))

    def at(self, ids: Tensor, mask: Tensor, segments: Tensor | None, chosen: Tensor) -> Tensor:
        """See `Backbone`."""
        return self.encoder(self.embedding(ids, segments), self._visible(mask), chosen=chosen)

    def layers(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> list[Tensor]:
        """See `Backbone`."""
        return self.encoder.each_layer(self.embedding(ids, segments), self._visible(mask))[0]

    def attentions(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """The weights of every layer: from each token (to earlier ones alone, if causal).

        Shape: as `forward` -> "self": L of (B, H, T, T).
        """
        x = self.embedding(ids, segments)
        return {"self": self.encoder.each_layer(x, self._visible(mask), need_weights=True)[1]}

    def _visible(self, mask: Tensor) -> Tensor | None:
        """See `visible`; padding stands at the end, behind every valid token of a causal stack."""
        return None if self.causal else visible(mask)


class Bert(Stack):
    """BERT's encoder and pooler (Devlin et al. 2019): every token sees every other."""

    causal = False
    template = "bert"
    usual_pool = "mean"
    own_position = 0

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.pooler = nn.Linear(config.d_model, config.d_model)
        nn.init.normal_(self.pooler.weight, std=_STD)
        nn.init.zeros_(self.pooler.bias)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector tanh(W_s z₀ + b_s), z₀ that of the first token; see `Backbone`."""
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


class Gpt(Stack, LanguageModel, HasProducts):
    """A decoder-only language model (Radford et al. 2018): each token sees earlier ones.

    Attributes:
        prepared: the output layer in the form in which it is fast, of a model that only answers.
    """

    causal = True
    template = "gpt"
    own_position = -1
    prepared: PreparedLinear | None = None

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.output: OutputLinear | None = None
        if not config.tied_output:
            self.output = OutputLinear(config.d_model, config.vocab_size, bias=False)
            nn.init.normal_(self.output.weight, std=_STD)

    @property
    def output_layer(self) -> tuple[Tensor, None]:
        """W (V, D) of p(token) = softmax(W h): the embeddings, or its own; there is no bias."""
        return (self.output or self.embedding.tokens).weight, None

    def prepare_products(self, make: Make) -> None:
        """See `HasProducts`."""
        self.prepared = make(*self.output_layer)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of vectors from which tokens are predicted. Shape: (..., D) -> (..., V)."""
        if self.prepared is None or self.training:
            return F.linear(hidden, *self.output_layer)
        return self.prepared(hidden)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vector of the last valid token: it alone saw all; see `Backbone`."""
        last = mask.sum(1) - 1
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]

    def step(self, state: GptState, tokens: Tensor) -> tuple[Tensor, GptState]:
        """Reads one token per beam. Shape: tokens (N, K) -> logits (N, K, V), state."""
        cache = state.cache.advance()
        here = Positions(state.positions[:, None], cache.steps)
        x = cache.layer(0).rows_of(self.embedding(tokens, None, here))
        mask = added(cache.mask) if self.encoder.is_fused else cache.mask
        hidden = self.encoder(x, mask, positions=cache.places(state.positions), cache=cache)
        logits = self.logits(hidden).view(*tokens.shape, -1)
        return logits, dataclasses.replace(state, cache=cache, positions=state.positions + 1)

    def read(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, GptState]:
        """Reads the beginnings of N texts at once: as many steps, in one pass.

        Shape: ids (N, T), padded on the left, lengths (N,) -> vectors (N, T, D), state of K = 1.
        """
        n, width = ids.shape
        starts = width - lengths
        columns = torch.arange(width, device=ids.device)
        valid = columns >= starts[:, None] if bool(starts.any()) else None
        cache = KeyValueCache.empty(n, len(self.encoder.layers), ids.device).read(valid, width)
        earlier = columns <= columns[:, None]
        # Padding, which nobody reads, sees itself: a softmax over nothing is no number.
        visible = (earlier & (columns >= starts[:, None, None])) | (columns == columns[:, None])
        positions = Positions((columns - starts[:, None]).clamp(min=0), width)
        embedded = self.embedding(ids, None, positions)
        hidden = self.encoder(embedded, visible[:, None], positions=positions, cache=cache)
        return hidden, GptState(beam_size=1, cache=cache, positions=lengths)
