"""Convolutional sequence to sequence (Gehring et al. 2017).

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams,
R rows (sentences times beams), L decoder layers, k kernel size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config.convolutional import ConvolutionalConfig
from attn_cli.models.seq2seq import AttentionMaps
from attn_cli.models.seq2seq_base import Seq2SeqModel, beam_rows, joined, reordered_rows
from attn_cli.nn.convolution import (
    ConvolutionalDecoderLayer,
    ConvolutionalEncoder,
    ConvolvedMemory,
)
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions


@dataclass(frozen=True)
class ConvolutionalState:
    """What the decoder remembers of N sentences with K beams; a `decode.step.DecoderState`.

    Attributes:
        memory: the projected source, for each decoder layer.
        windows: the last k - 1 inputs of each layer's convolution, zeros before the first; as long
            however long the target is. Shape: (R, L, k - 1, D).
        positions: the next target position of each sentence. Shape: (N,).
        longest: no position is above it.
        beam_size: K.
    """

    memory: tuple[ConvolvedMemory, ...]
    windows: Tensor
    positions: Tensor
    longest: int
    beam_size: int

    def expand(self, beam_size: int) -> ConvolutionalState:
        """The state of K = 1 repeated to `beam_size` beams; the memory is shared by them."""
        windows = self.windows.repeat_interleave(beam_size, 0)
        return dataclasses.replace(self, windows=windows, beam_size=beam_size)

    def reorder(self, beams: Tensor) -> ConvolutionalState:
        """Beam `beams[n, k]` becomes beam k of sentence n. Shape: beams (N, K)."""
        rows = reordered_rows(beams, self.beam_size)
        return dataclasses.replace(self, windows=self.windows[rows])

    def keep(self, sentences: Tensor) -> ConvolutionalState:
        """The state of some sentences alone. Shape: sentences (M,)."""
        return dataclasses.replace(
            self,
            memory=tuple(ConvolvedMemory(*(x[sentences] for x in part)) for part in self.memory),
            windows=self.windows[beam_rows(sentences, self.beam_size)],
            positions=self.positions[sentences],
        )

    def merge(self, other: ConvolutionalState) -> ConvolutionalState:
        """The sentences of this state, then those of `other`; the shorter memories are padded."""
        memory = tuple(
            ConvolvedMemory(*(joined(one, two, 1) for one, two in zip(mine, theirs, strict=True)))
            for mine, theirs in zip(self.memory, other.memory, strict=True)
        )
        return ConvolutionalState(
            memory=memory,
            windows=torch.cat((self.windows, other.windows)),
            positions=torch.cat((self.positions, other.positions)),
            longest=max(self.longest, other.longest),
            beam_size=self.beam_size,
        )


class ConvolutionalSeq2Seq(Seq2SeqModel):
    """Encoder and decoder of gated convolutions; every decoder layer attends to the source.

    Published with weight normalization and scaled gradients of the encoder; an optimizer that
    normalizes its steps (Muon, Adam) needs neither.
    """

    Config: ClassVar[type] = ConvolutionalConfig

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        drop = Dropout(config.dropout)
        d_model = config.d_model
        self.add_embeddings(config.positions, config.max_positions, drop)
        self.encoder = ConvolutionalEncoder(d_model, config.n_encoder_layers, config, drop)
        self.enter = nn.Linear(d_model, d_model)
        self.decoder = nn.ModuleList(
            ConvolutionalDecoderLayer(d_model, config, drop) for _ in range(config.n_decoder_layers)
        )
        self.leave = nn.Linear(d_model, d_model)
        self.dropout = drop
        for linear in (self.enter, self.leave):
            nn.init.normal_(linear.weight, std=d_model**-0.5)
            nn.init.zeros_(linear.bias)
        self.add_output()

    def encode(self, src_ids: Tensor, src_mask: Tensor) -> ConvolvedMemory:
        """Encodes sources. Shape: (B, S) ids and boolean mask."""
        return self.encoder(self.src_embedding(src_ids), src_mask)

    def forward(
        self, src_ids: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Vectors from which each next target token is predicted (teacher forcing).

        Shape:
            src_ids, src_mask (B, S), tgt_in (B, T) beginning with bos
            -> (B, T, D), attention weights of each layer (B, 1, T, S) if `need_weights`.
        """
        memory = self.encode(src_ids, src_mask)
        embedded = self.tgt_embedding(tgt_in)
        x, found = self.enter(embedded), []
        for layer in self.decoder:
            x, weights = layer(x, embedded, memory, need_weights=need_weights)
            found += [] if weights is None else [weights[:, None]]
        return self.dropout(self.leave(x)), found

    def attentions(
        self, src_ids: Tensor, src_mask: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """The same with its weights as maps, of one head in each layer. Shape: as `forward`."""
        hidden, cross = self(src_ids, src_mask, tgt_in, need_weights=True)
        return hidden, AttentionMaps([], [], cross)

    def start(self, src_ids: Tensor, src_mask: Tensor) -> ConvolutionalState:
        """The decoder's state before its first step. Shape: (N, S) ids and mask."""
        memory = self.encode(src_ids, src_mask)
        size = (len(src_ids), len(self.decoder), self.config.kernel_size - 1, self.config.d_model)
        return ConvolutionalState(
            memory=tuple(layer.project(memory) for layer in self._layers),
            windows=memory.key.new_zeros(size),
            positions=torch.zeros(len(src_ids), dtype=torch.long, device=src_ids.device),
            longest=0,
            beam_size=1,
        )

    def step(
        self, state: ConvolutionalState, tokens: Tensor, *, need_attention: bool = False
    ) -> tuple[Tensor, ConvolutionalState, Tensor | None]:
        """Reads one token per beam. Shape: tokens (N, K) -> logits (N, K, V), state, (N, K, S)."""
        shape = tokens.shape
        rows = state.positions[:, None].expand_as(tokens).reshape(-1, 1)
        positions = Positions(rows, state.longest + 1)
        embedded = self.tgt_embedding(tokens.reshape(-1, 1), positions).view(*shape, -1)
        x, windows, weights = self.enter(embedded), [], None
        for index, layer in enumerate(self._layers):
            window = torch.cat((state.windows[:, index], x.view(-1, 1, x.shape[-1])), dim=1)
            windows.append(window[:, 1:])
            x, weights = layer.attend(
                x,
                layer.convolution.of_windows(window).view_as(x),
                embedded,
                state.memory[index],
                need_weights=need_attention,
            )
        logits = F.linear(self.leave(x), *self.output_layer)
        after = dataclasses.replace(
            state,
            windows=torch.stack(windows, 1),
            positions=state.positions + 1,
            longest=state.longest + 1,
        )
        return logits, after, weights

    @property
    def _layers(self) -> list[ConvolutionalDecoderLayer]:
        return list(self.decoder)  # type: ignore[arg-type]
