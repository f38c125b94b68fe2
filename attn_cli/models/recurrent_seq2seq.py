"""Recurrent sequence to sequence, with attention or without.

hᵢ = f(xᵢ, hᵢ₋₁) reads the source, h′ₜ = f(yₜ₋₁, h′ₜ₋₁) writes the target from o = tanh(W [h′ₜ, cₜ])
(Luong et al. 2015, eq. 5), where cₜ is attention over the hᵢ, or hₙ where there is none.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams,
R rows (sentences times beams), L decoder layers, P vectors of a cell's state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attn_cli.config.seq2seq import RecurrentOptions
from attn_cli.models.seq2seq_base import (
    AutoregressiveModel,
    DecoderOutput,
    EncoderDecoderConfig,
    Preset,
    Started,
)
from attn_cli.nn.attention import Attended
from attn_cli.nn.beam_state import BEAMS, BeamState, sentences
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.rnn import CELLS, NoCells, Recurrent
from attn_cli.nn.state_attention import LastState, Memory, StateAttention


@dataclass(frozen=True, kw_only=True)
class RecurrentSeq2SeqConfig(EncoderDecoderConfig, RecurrentOptions):
    """What a saved recurrent sequence-to-sequence model is made of: every part decided.

    Raises:
        ValueError: the parts do not fit together.
    """

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(256, None, None, 1, 1, 0.3, 5000),
        "small": Preset(384, None, None, 2, 2, 0.3, 8000),
        "base": Preset(1024, None, None, 4, 4, 0.2, 32000),  # Luong et al. 2015, 4.1
        "big": Preset(1536, None, None, 4, 4, 0.3, 32000),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bidirectional and self.d_model % 2:
            raise ValueError(f"d_model {self.d_model} can't be shared by two directions")
        self.check_vocabularies()


@dataclass(frozen=True)
class RecurrentState(BeamState):
    """What the decoder remembers of N sentences with K beams each.

    Attributes:
        memory: what is attended to, of each sentence.
        cells: the states of the decoder's cells. Shape: (R, L, 1, P, D).
        fed: o of the step before; nothing without input feeding. Shape: (R, D or 0).
    """

    memory: Memory = field(metadata=sentences(padded=1))
    cells: Tensor = field(metadata=BEAMS)
    fed: Tensor = field(metadata=BEAMS)


class _Step(NamedTuple):
    """What one step of R rows gives: o (R, D), the state after it, and what was attended to."""

    hidden: Tensor
    state: RecurrentState
    attended: Attended  # of N sentences with K queries each


class RecurrentSeq2Seq(AutoregressiveModel[RecurrentState]):
    """Encoder and decoder of recurrent cells (Sutskever et al. 2014), with attention or without.

    Attention asks from h′ₜ (Luong et al. 2015) or from h′ₜ₋₁ (Bahdanau et al. 2015). With input
    feeding the cell also reads o of the step before (Luong et al. 2015, 3.3), or cₜ where that is
    known before h′ₜ (Bahdanau et al. 2015, A.1.2).
    """

    Config: ClassVar[type[RecurrentSeq2SeqConfig]] = RecurrentSeq2SeqConfig
    is_recurrent: ClassVar[bool] = True
    config: RecurrentSeq2SeqConfig

    def __init__(self, config: RecurrentSeq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        d_model = config.d_model
        self.dropout = Dropout(config.dropout)
        self.add_embeddings("none", 1, self.dropout)
        self.encoder: nn.Module
        if config.n_encoder_layers:
            self.encoder = Recurrent(
                *(config.cell, d_model, d_model, config.n_encoder_layers, config.dropout),
                bidirectional=config.bidirectional,
            )
        else:  # the source's vectors are their own states
            self.encoder = NoCells(CELLS[config.cell].n_parts)
        width = 2 * d_model if config.input_feeding else d_model
        self.decoder = Recurrent(
            config.cell, width, d_model, config.n_decoder_layers, config.dropout
        )
        parts = self.decoder.n_parts
        self.bridge = nn.Linear(parts * d_model, config.n_decoder_layers * parts * d_model)
        self.attention = StateAttention(d_model, config) if self.has_attention else LastState()
        self.combine = nn.Linear(2 * d_model, d_model)
        for linear in (self.bridge, self.combine):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.add_output(tie=config.tie_embeddings)

    @property
    def has_attention(self) -> bool:
        """See `Seq2SeqModel`."""
        return self.config.attention != "none"

    @property
    def hard_attention(self) -> bool:
        """See `Seq2SeqModel`."""
        return self.config.normalize == "hard"

    def encoded(self, source: Tensor, src_mask: Tensor) -> Tensor:
        """See `AutoregressiveModel.encoded`."""
        return self._encode(source, src_mask)[0]

    def started(self, source: Tensor, src_mask: Tensor) -> Started[RecurrentState]:
        """See `AutoregressiveModel.started`."""
        encoded, final = self._encode(source, src_mask)
        return Started(self._begin(encoded, final, src_mask), encoded)

    def _encode(self, source: Tensor, src_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's vectors (B, S, D), and the last states of its cells."""
        states, final = self.encoder(self.src_embedding.of_source(source, src_mask), src_mask)
        return states, final

    def _begin(self, states: Tensor, final: Tensor, src_mask: Tensor) -> RecurrentState:
        """The decoder's state before the first step, by what `_encode` gives."""
        # [h→ₙ; h←₁] of the last layer, and so of the LSTM's c: (N, directions, P, C) -> (N, P D).
        last = final[:, -1].transpose(1, 2).flatten(2)
        cells = self.bridge(last.flatten(1)).tanh()
        shape = (states.shape[0], len(self.decoder.layers), 1, -1, self.config.d_model)
        feeds_output = self.config.input_feeding and not self._attends_first
        return RecurrentState(
            beam_size=1,
            memory=self.attention.memory(states, src_mask, last[:, 0]),
            cells=cells.view(shape),
            fed=cells.new_zeros(states.shape[0], self.config.d_model if feeds_output else 0),
        )

    def forward(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """See `AutoregressiveModel.forward`."""
        encoded, final = self._encode(source, src_mask)
        state = self._begin(encoded, final, src_mask)
        x = self.tgt_embedding(tgt_in)
        if not self.config.input_feeding:
            # All steps in one run of the cells: nothing that attention finds comes back to them.
            outputs, _ = self.decoder(x, None, state.cells)
            query = outputs
            if self._attends_first:
                query = torch.cat((state.cells[:, None, -1, 0, 0], outputs[:, :-1]), dim=1)
            attended: Attended = self.attention(query, state.memory, need_weights=need_weights)
            hidden = self._combined(outputs, attended.context)
            weights = [] if attended.weights is None else [attended.weights[:, None]]
            return DecoderOutput(hidden, weights, attended.log_probs, encoded)
        steps = []
        for vectors in x.unbind(1):
            steps.append(self._advance(vectors, state, need_weights=need_weights))
            state = steps[-1].state
        each_weights = [x for step in steps if (x := step.attended.weights) is not None]
        each_log_probs = [x for step in steps if (x := step.attended.log_probs) is not None]
        return DecoderOutput(
            torch.stack([step.hidden for step in steps], 1),
            [torch.cat(each_weights, 1)[:, None]] if each_weights else [],
            torch.cat(each_log_probs, 1) if each_log_probs else None,
            encoded,
        )

    def step(
        self,
        state: RecurrentState,
        tokens: Tensor,
        *,
        need_attention: bool = False,
        output: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, RecurrentState, Tensor | None]:
        """See `AutoregressiveModel.step`."""
        x = self.tgt_embedding(tokens.reshape(-1, 1))[:, 0]
        hidden, after, attended = self._advance(x, state, need_weights=need_attention)
        logits = self.logits(hidden, output)
        return logits.view(*tokens.shape, -1), after, attended.weights

    @property
    def _attends_first(self) -> bool:
        """Whether the query is the state before the step, so that the cell can read the context."""
        return self.config.attend_from == "previous"

    def _advance(self, x: Tensor, state: RecurrentState, *, need_weights: bool) -> _Step:
        """One step of R rows, which read vectors x (R, D)."""
        if self._attends_first:
            attended = self._attend(state.cells[:, -1, 0, 0], state, need_weights=need_weights)
            context = attended.context.flatten(0, 1)
            fed = context if self.config.input_feeding else state.fed
            outputs, cells = self.decoder.step(torch.cat((x, fed), -1), state.cells)
        else:
            outputs, cells = self.decoder.step(torch.cat((x, state.fed), -1), state.cells)
            attended = self._attend(outputs, state, need_weights=need_weights)
            context = attended.context.flatten(0, 1)
        hidden = self._combined(outputs, context)
        fed = hidden if state.fed.shape[1] else state.fed
        return _Step(hidden, dataclasses.replace(state, cells=cells, fed=fed), attended)

    def _attend(self, query: Tensor, state: RecurrentState, *, need_weights: bool) -> Attended:
        """The beams of a sentence are K queries to its memory. Shape: (R, D) -> (N, K, D)."""
        by_sentence = query.view(query.shape[0] // state.beam_size, state.beam_size, -1)
        return self.attention(by_sentence, state.memory, need_weights=need_weights)

    def _combined(self, outputs: Tensor, context: Tensor) -> Tensor:
        """O = tanh(W [h′; c]). Shape: 2 x (..., D) -> (..., D)."""
        return self.dropout(self.combine(torch.cat((outputs, context), -1)).tanh())
