"""Convolutional sequence to sequence (Gehring et al. 2017).

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams,
R rows (sentences times beams), L decoder layers, k kernel size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config.seq2seq import ConvolutionalOptions
from attn_cli.models.seq2seq_base import (
    AutoregressiveModel,
    DecoderOutput,
    EncoderDecoderConfig,
    Preset,
    Started,
)
from attn_cli.nn.beam_state import BEAMS, LONGEST, BeamState, sentences
from attn_cli.nn.convolution import (
    ConvolutionalDecoderLayer,
    ConvolutionalEncoder,
    ConvolvedMemory,
)
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.positions import Positions


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(EncoderDecoderConfig, ConvolutionalOptions):
    """What a saved convolutional model is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(128, None, None, 4, 4, 0.15, 5000),
        "small": Preset(256, None, None, 4, 4, 0.2, 8000),  # Gehring et al. 2017: IWSLT
        "base": Preset(512, None, None, 15, 15, 0.2, 32000),  # WMT'14, without its wider layers
        "big": Preset(768, None, None, 15, 15, 0.2, 32000),
    }

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} is even: no token is its middle")
        self.check_vocabularies()


@dataclass(frozen=True)
class ConvolutionalState(BeamState):
    """What the decoder remembers of N sentences with K beams each.

    Attributes:
        memory: the projected source, for each decoder layer.
        windows: the last k - 1 inputs of each layer's convolution, zeros before the first; as long
            however long the target is. Shape: (R, L, k - 1, D).
        positions: the next target position of each sentence. Shape: (N,).
        longest: no position is above it.
    """

    memory: tuple[ConvolvedMemory, ...] = field(metadata=sentences(padded=1))
    windows: Tensor = field(metadata=BEAMS)
    positions: Tensor = field(metadata=sentences())
    longest: int = field(metadata=LONGEST)


class ConvolutionalSeq2Seq(AutoregressiveModel[ConvolutionalState]):
    """Encoder and decoder of gated convolutions; every decoder layer attends to the source.

    Published with weight normalization and scaled gradients of the encoder; an optimizer that
    normalizes its steps (Muon, Adam) needs neither.
    """

    Config: ClassVar[type[ConvolutionalConfig]] = ConvolutionalConfig
    config: ConvolutionalConfig
    decoder: Sequence[ConvolutionalDecoderLayer]  # a ModuleList, which has no type of its elements

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        drop = Dropout(config.dropout)
        d_model = config.d_model
        self.add_embeddings(config.positions, config.max_positions, drop)
        self.encoder = ConvolutionalEncoder(d_model, config.n_encoder_layers, config, drop)
        self.in_proj = nn.Linear(d_model, d_model)
        self.decoder = nn.ModuleList(  # type: ignore[assignment]
            ConvolutionalDecoderLayer(d_model, config, drop) for _ in range(config.n_decoder_layers)
        )
        self.out_proj = nn.Linear(d_model, d_model)
        self.dropout = drop
        for linear in (self.in_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=d_model**-0.5)
            nn.init.zeros_(linear.bias)
        self.add_output(tie=config.tie_embeddings)

    def encode(self, source: Tensor, src_mask: Tensor) -> ConvolvedMemory:
        """Encodes sources."""
        return self.encoder(self.src_embedding.of_source(source, src_mask), src_mask)

    def encoded(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """See `AutoregressiveModel.encoded`."""
        return self.encode(source, src_mask).key

    def forward(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """See `AutoregressiveModel.forward`."""
        memory = self.encode(source, src_mask)
        embedded = self.tgt_embedding(tgt_in)
        x, maps = self.in_proj(embedded), []
        for layer in self.decoder:
            x, weights = layer(x, embedded, layer.project(memory), need_weights=need_weights)
            maps += [] if weights is None else [weights[:, None]]
        return DecoderOutput(self.dropout(self.out_proj(x)), maps, None, memory.key)

    def started(self, source: Tensor, src_mask: Tensor) -> Started[ConvolutionalState]:
        """See `AutoregressiveModel.started`."""
        memory, n = self.encode(source, src_mask), len(source)
        size = (n, len(self.decoder), self.config.kernel_size - 1, self.config.d_model)
        state = ConvolutionalState(
            beam_size=1,
            memory=tuple(layer.project(memory) for layer in self.decoder),
            windows=memory.key.new_zeros(size),
            positions=torch.zeros(n, dtype=torch.long, device=source.device),
            longest=0,
        )
        return Started(state, memory.key)

    def step(
        self,
        state: ConvolutionalState,
        tokens: Tensor,
        *,
        need_attention: bool = False,
        output: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, ConvolutionalState, Tensor | None]:
        """See `AutoregressiveModel.step`."""
        rows = state.positions[:, None].expand_as(tokens).reshape(-1, 1)
        positions = Positions(rows, state.longest + 1)
        embedded = self.tgt_embedding(tokens.reshape(-1, 1), positions).view(*tokens.shape, -1)
        x, windows, weights = self.in_proj(embedded), [], None
        for index, layer in enumerate(self.decoder):
            window = torch.cat((state.windows[:, index], x.view(-1, 1, x.shape[-1])), dim=1)
            windows.append(window[:, 1:])
            x, weights = layer(
                x, embedded, state.memory[index], windows=window, need_weights=need_attention
            )
        logits = self.logits(self.out_proj(x), output)
        after = dataclasses.replace(
            state,
            windows=torch.stack(windows, 1),
            positions=state.positions + 1,
            longest=state.longest + 1,
        )
        return logits, after, weights
