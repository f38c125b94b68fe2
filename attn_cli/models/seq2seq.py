"""Transformers of two stacks: an encoder, and a decoder that attends to it.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config import option
from attn_cli.config.attention import ACTIVATIONS
from attn_cli.config.seq2seq import VariantOptions
from attn_cli.models.seq2seq_base import (
    AttentionMaps,
    AutoregressiveModel,
    DecoderOutput,
    EncoderDecoderConfig,
    Preset,
    Seq2SeqModel,
    Started,
)
from attn_cli.nn.attention import added
from attn_cli.nn.beam_state import BEAMS, BeamState, sentences
from attn_cli.nn.cache import KeyValue, KeyValueCache
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions
from attn_cli.nn.prepared import Make
from attn_cli.nn.scores import SCORES
from attn_cli.nn.stepper import FlatDecoder, flat_decoder
from attn_cli.nn.transformer import (
    Decoder,
    DecoderLayer,
    DecoderWeights,
    Encoder,
    EncoderLayer,
)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(EncoderDecoderConfig, VariantOptions):
    """What a saved transformer is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(128, 512, 4, 3, 3, 0.15, 5000),
        "small": Preset(256, 1024, 4, 3, 3, 0.2, 8000),
        "base": Preset(512, 2048, 8, 6, 6, 0.1, 32000),  # Vaswani et al. 2017, table 3
        "big": Preset(1024, 4096, 16, 6, 6, 0.3, 32000),
    }
    d_ff: int = option(MISSING, "Width of the feed-forward networks.", low=1, high=1 << 20)
    n_heads: int = option(MISSING, "Attention heads.", low=1, high=1024)
    activation: str = option("relu", "Activation function.", choices=ACTIVATIONS)
    scale_embeddings: bool = option(True, "Token vectors enter the layers times √d_model.")

    @classmethod
    def suited(cls, parts: Mapping[str, object]) -> Mapping[str, object]:
        """Sinusoids where vectors can't be turned to any use: see `RotaryPositions`."""
        score = SCORES.get(str(parts.get("attention", cls.attention)))
        d_model, n_heads = parts.get("d_model"), parts.get("n_heads")
        if not isinstance(d_model, int) or not isinstance(n_heads, int) or score is None:
            return {}  # what is wrong is said when the configuration is made
        width = d_model if parts.get("combine") == "mean" else d_model // n_heads
        turns = score.is_inner_product and width % 2 == 0
        return {} if turns else {"positions": "sinusoidal"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.d_head(self.d_model, self.n_heads)
        self.check_vocabularies()


# Of the sources that decoding encodes at once: their vectors stay in a core's cache from layer to
# layer.
_TOKENS_AT_ONCE = 512


@dataclass(frozen=True)
class TransformerState(BeamState):
    """What the decoder remembers of N sentences with K beams each.

    Attributes:
        memory: projected keys and values of the source, per decoder layer. Shape: (N, H, S, d).
        memory_mask: which source positions are no padding. Shape: (N, 1, 1, S).
        cache: keys and values of the target so far, of every layer, for N*K rows.
        positions: the next target position of each sentence. Shape: (N,).
    """

    memory: tuple[KeyValue, ...] = field(metadata=sentences(padded=2))
    memory_mask: Tensor = field(metadata=sentences(padded=3))
    cache: KeyValueCache = field(metadata=BEAMS)
    positions: Tensor = field(metadata=sentences())


class EncoderDecoder(Seq2SeqModel):
    """What transformers of two stacks have in common: their parts, and the encoder's work.

    Attributes:
        causal: whether a target position sees itself and earlier ones alone.
    """

    Config: ClassVar[type[TransformerConfig]] = TransformerConfig
    causal: ClassVar[bool]
    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        drop = Dropout(config.dropout)
        self.add_embeddings(
            config.positions, config.max_positions, drop, scaled=config.scale_embeddings
        )
        common = (config.d_model, config.n_heads, config.d_ff, config.norm, config, drop)
        kind = config.activation
        encoders = [EncoderLayer(*common, activation=kind) for _ in range(config.n_encoder_layers)]
        decoders = [
            DecoderLayer(*common, activation=kind, causal=self.causal)
            for _ in range(config.n_decoder_layers)
        ]
        self.encoder = Encoder(encoders, config.d_model, config.norm)
        self.decoder = Decoder(decoders, config.d_model, config.norm)
        self.add_output(tie=config.tie_embeddings)

    def encode(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """Encodes sources. Shape: (B, S, D)."""
        return self.encoder(
            self.src_embedding.of_source(source, src_mask), src_mask[:, None, None, :]
        )

    def encoder_layers(
        self, source: Tensor, src_mask: Tensor, *, need_weights: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The source's embeddings and every encoder layer's vectors, and weights if wanted.

        Shape: n_encoder_layers + 1 of (B, S, D), and as many layers of (B, H, S, S).
        """
        visible = src_mask[:, None, None, :]
        x = self.src_embedding.of_source(source, src_mask)
        return self.encoder.each_layer(x, visible, need_weights=need_weights)


class Transformer(EncoderDecoder, AutoregressiveModel[TransformerState]):
    """The Transformer (Vaswani et al. 2017): encoder, decoder, tied output layer.

    Attributes:
        flat: a step of the decoder as a list of products, of a model that only answers, if its
            layers are of the kind that has one.
    """

    causal: ClassVar[bool] = True
    flat: FlatDecoder | None = None

    def prepare_products(self, make: Make) -> None:
        """See `HasProducts`; the layers' own are made already."""
        super().prepare_products(make)
        self.flat = flat_decoder(self.decoder)

    def encoded(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """See `AutoregressiveModel.encoded`."""
        return self.encode(source, src_mask)

    def forward(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """See `AutoregressiveModel.forward`."""
        memory = self.encode(source, src_mask)
        hidden, weights = self._decode(memory, src_mask, tgt_in, need_weights=need_weights)
        cross = [layer.cross for layer in weights if layer.cross is not None]
        return DecoderOutput(hidden, cross, None, memory)

    def attentions(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """See `AutoregressiveModel.attentions`."""
        outputs, encoder = self.encoder_layers(source, src_mask, need_weights=True)
        hidden, weights = self._decode(outputs[-1], src_mask, tgt_in, need_weights=True)
        return hidden, maps_of(encoder, weights)

    def _decode(
        self, memory: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool
    ) -> tuple[Tensor, list[DecoderWeights]]:
        visible = src_mask[:, None, None, :]
        return self.decoder(self.tgt_embedding(tgt_in), memory, visible, need_weights=need_weights)

    def started(self, source: Tensor, src_mask: Tensor) -> Started[TransformerState]:
        """See `AutoregressiveModel.started`."""
        n, device = len(source), source.device
        encoded = self._encode_in_parts(source, src_mask)
        state = TransformerState(
            beam_size=1,
            memory=self.decoder.project(encoded),
            memory_mask=src_mask[:, None, None, :],
            cache=KeyValueCache.empty(n, len(self.decoder.layers), device),
            positions=torch.zeros(n, dtype=torch.long, device=device),
        )
        return Started(state, encoded)

    def _encode_in_parts(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """`encode`, on a CPU some sources at a time, each part without its padding."""
        n, longest = src_mask.shape
        rows = max(1, _TOKENS_AT_ONCE // max(1, longest))
        if n <= rows or source.device.type != "cpu" or source.shape != src_mask.shape:
            return self.encode(source, src_mask)
        parts = []
        for part in (slice(first, first + rows) for first in range(0, n, rows)):
            width = max(1, int(src_mask[part].sum(1).max()))
            encoded = self.encode(source[part, :width], src_mask[part, :width])
            parts.append(F.pad(encoded, (0, 0, 0, longest - width)))
        return torch.cat(parts)

    def step(
        self,
        state: TransformerState,
        tokens: Tensor,
        *,
        need_attention: bool = False,
        output: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, TransformerState, Tensor | None]:
        """See `AutoregressiveModel.step`."""
        cache = state.cache.advance()
        here = Positions(state.positions[:, None], cache.steps)
        x, places = self.tgt_embedding(tokens, here), cache.places(state.positions)
        attention: Tensor | None = None
        if self.flat is not None and not need_attention and self.flat.fits(x):
            x = self.flat(x, state.memory, state.memory_mask, places, cache)
        else:
            fused = self.decoder.is_fused
            x, weights = self.decoder(
                x,
                state.memory,
                added(state.memory_mask) if fused else state.memory_mask,
                added(cache.mask) if fused else cache.mask,
                positions=places,
                cache=cache,
                need_weights=need_attention,
            )
            cross = weights[-1].cross
            attention = None if cross is None else cross.mean(1)
        logits = self.logits(x, output)
        after = dataclasses.replace(state, cache=cache, positions=state.positions + 1)
        return logits, after, attention


def maps_of(encoder: list[Tensor], decoder: list[DecoderWeights]) -> AttentionMaps:
    """The weights of both stacks, kind by kind."""
    return AttentionMaps(
        encoder,
        [layer.self for layer in decoder if layer.self is not None],
        [layer.cross for layer in decoder if layer.cross is not None],
    )
