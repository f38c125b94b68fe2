"""Sequence to sequence: an encoder, a decoder that attends to it, and a step of its search.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config.transformer import TransformerConfig
from attn_cli.models.seq2seq_base import Seq2SeqModel, beam_rows, joined, reordered_rows
from attn_cli.nn.cache import KeyValueCache
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.losses import head_penalty
from attn_cli.nn.positions import Positions
from attn_cli.nn.transformer import (
    Decoder,
    DecoderLayer,
    DecoderWeights,
    Encoder,
    EncoderLayer,
    KeyValue,
)


@dataclass(frozen=True)
class AttentionMaps:
    """The weights of every attention, layer by layer.

    Attributes:
        encoder: from source to source. Shape: (B, H, S, S) each.
        decoder: from target to earlier target. Shape: (B, H, T, T) each.
        cross: from target to source. Shape: (B, H, T, S) each.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]

    def head_penalty(self, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        """Σ ‖A Aᵀ - I‖² over all attentions and real positions (see `losses.head_penalty`).

        Shape: which positions are real, (B, S) and (B, T) -> ().
        """
        terms = [head_penalty(weights, src_mask) for weights in self.encoder]
        terms += [head_penalty(weights, tgt_mask) for weights in (*self.decoder, *self.cross)]
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class TransformerState:
    """What the decoder remembers of N sentences with K beams each; a `decode.step.DecoderState`.

    Attributes:
        memory: projected keys and values of the source, per decoder layer. Shape: (N, H, S, d).
        memory_mask: which source positions are real. Shape: (N, 1, 1, S).
        cache: keys and values of the target so far, of every layer, for N*K rows.
        positions: the next target position of each sentence. Shape: (N,).
        beam_size: K.
    """

    memory: tuple[KeyValue, ...]
    memory_mask: Tensor
    cache: KeyValueCache
    positions: Tensor
    beam_size: int

    def expand(self, beam_size: int) -> TransformerState:
        """The state of K = 1 repeated to `beam_size` beams; the memory is shared by them."""
        rows = torch.arange(len(self.positions), device=self.positions.device)
        cache = self.cache.select(rows.repeat_interleave(beam_size))
        return dataclasses.replace(self, cache=cache, beam_size=beam_size)

    def reorder(self, beams: Tensor) -> TransformerState:
        """Beam `beams[n, k]` becomes beam k of sentence n. Shape: beams (N, K)."""
        rows = reordered_rows(beams, self.beam_size)
        return dataclasses.replace(self, cache=self.cache.select(rows))

    def keep(self, sentences: Tensor) -> TransformerState:
        """The state of some sentences alone. Shape: sentences (M,)."""
        return dataclasses.replace(
            self,
            memory=tuple((key[sentences], value[sentences]) for key, value in self.memory),
            memory_mask=self.memory_mask[sentences],
            cache=self.cache.select(beam_rows(sentences, self.beam_size)),
            positions=self.positions[sentences],
        )

    def merge(self, other: TransformerState) -> TransformerState:
        """The sentences of this state, then those of `other`; the shorter memories are padded."""
        memory = tuple(
            (joined(mine[0], theirs[0], 2), joined(mine[1], theirs[1], 2))
            for mine, theirs in zip(self.memory, other.memory, strict=True)
        )
        return TransformerState(
            memory=memory,
            memory_mask=joined(self.memory_mask, other.memory_mask, 3),
            cache=self.cache.merge(other.cache),
            positions=torch.cat((self.positions, other.positions)),
            beam_size=self.beam_size,
        )


class EncoderDecoder(Seq2SeqModel):
    """What transformers of two stacks have in common: their parts, and the encoder's work.

    Attributes:
        causal: whether a target position sees itself and earlier ones alone.
    """

    Config: ClassVar[type] = TransformerConfig
    causal: ClassVar[bool]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        drop = Dropout(config.dropout)
        self.add_embeddings(config.positions, config.max_positions, drop)
        common = (config.d_model, config.n_heads, config.d_ff, config.norm, config, drop)
        encoders = [EncoderLayer(*common) for _ in range(config.n_encoder_layers)]
        decoders = [
            DecoderLayer(*common, causal=self.causal) for _ in range(config.n_decoder_layers)
        ]
        self.encoder = Encoder(encoders, config.d_model, config.norm)
        self.decoder = Decoder(decoders, config.d_model, config.norm)
        self.add_output()

    def encode(self, src_ids: Tensor, src_mask: Tensor) -> Tensor:
        """Encodes sources. Shape: (B, S) ids and boolean mask -> (B, S, D)."""
        return self.encoder(self.src_embedding(src_ids), src_mask[:, None, None, :])


class Transformer(EncoderDecoder):
    """The Transformer (Vaswani et al. 2017): encoder, decoder, tied output layer."""

    causal: ClassVar[bool] = True

    def forward(
        self, src_ids: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Vectors from which each next target token is predicted (teacher forcing).

        Shape:
            src_ids, src_mask (B, S), tgt_in (B, T) beginning with bos
            -> (B, T, D), cross-attention weights of each layer (B, H, T, S) if `need_weights`.
        """
        memory = self.encode(src_ids, src_mask)
        hidden, weights = self._decode(memory, src_mask, tgt_in, need_weights=need_weights)
        return hidden, [layer.cross for layer in weights]

    def attentions(
        self, src_ids: Tensor, src_mask: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """The same, with the weights of every attention in the model.

        Shape: as `forward`.
        """
        visible = src_mask[:, None, None, :]
        outputs, encoder = self.encoder.each_layer(
            self.src_embedding(src_ids), visible, need_weights=True
        )
        hidden, weights = self._decode(outputs[-1], src_mask, tgt_in, need_weights=True)
        own, cross = ([getattr(layer, kind) for layer in weights] for kind in ("own", "cross"))
        return hidden, AttentionMaps(encoder, own, cross)

    def _decode(
        self, memory: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool
    ) -> tuple[Tensor, list[DecoderWeights]]:
        visible = src_mask[:, None, None, :]
        return self.decoder(self.tgt_embedding(tgt_in), memory, visible, need_weights=need_weights)

    def start(self, src_ids: Tensor, src_mask: Tensor) -> TransformerState:
        """The decoder's state before its first step. Shape: (N, S) ids and mask."""
        memory = self.encode(src_ids, src_mask)
        layers = self.decoder.layers
        return TransformerState(
            memory=tuple(layer.cross_attention.project_memory(memory) for layer in layers),
            memory_mask=src_mask[:, None, None, :],
            cache=KeyValueCache.empty(len(src_ids), len(layers), src_ids.device),
            positions=torch.zeros(len(src_ids), dtype=torch.long, device=src_ids.device),
            beam_size=1,
        )

    def step(
        self, state: TransformerState, tokens: Tensor, *, need_attention: bool = False
    ) -> tuple[Tensor, TransformerState, Tensor | None]:
        """Reads one token per beam. Shape: tokens (N, K) -> logits (N, K, V), state, (N, K, S)."""
        cache = state.cache.advance()
        rows = state.positions[:, None].expand_as(tokens).reshape(-1, 1)
        positions = Positions(rows, cache.length)
        x = self.tgt_embedding(tokens.reshape(-1, 1), positions).view(*tokens.shape, -1)
        weights = None
        for index, layer in enumerate(self.decoder.layers):
            x, weights = layer.step(
                x,
                cache.appender(index),
                cache.mask,
                positions,
                state.memory[index],
                state.memory_mask,
                need_weights=need_attention,
            )
        logits = F.linear(self.decoder.norm(x), *self.output_layer)
        after = dataclasses.replace(state, cache=cache, positions=state.positions + 1)
        return logits, after, None if weights is None else weights.mean(1)
