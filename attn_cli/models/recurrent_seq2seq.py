"""Recurrent sequence to sequence, with attention or without.

hᵢ = f(xᵢ, hᵢ₋₁) reads the source, h′ₜ = f(yₜ₋₁, h′ₜ₋₁) writes the target from o = tanh(W [h′ₜ, cₜ])
(Luong et al. 2015, eq. 5), where cₜ is attention over the hᵢ, or hₙ where there is none.

Shapes: B batch, S source length, T target length, D d_model, V vocabulary, N sentences, K beams,
R rows (sentences times beams), L decoder layers, P vectors of a cell's state.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config.recurrent import RecurrentSeq2SeqConfig
from attn_cli.models.seq2seq import AttentionMaps
from attn_cli.models.seq2seq_base import Seq2SeqModel, beam_rows, joined, reordered_rows
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.rnn import CELLS, NoCells, Recurrent
from attn_cli.nn.state_attention import LastState, Memory, StateAttention


@dataclass(frozen=True)
class RecurrentState:
    """What the decoder remembers of N sentences with K beams; a `decode.step.DecoderState`.

    Attributes:
        memory: what is attended to, of each sentence.
        cells: the states of the decoder's cells. Shape: (R, L, 1, P, D).
        fed: what attention found a step ago; nothing without input feeding. Shape: (R, D or 0).
        beam_size: K.
    """

    memory: Memory
    cells: Tensor
    fed: Tensor
    beam_size: int

    def expand(self, beam_size: int) -> RecurrentState:
        """The state of K = 1 repeated to `beam_size` beams; the memory is shared by them."""
        cells, fed = (x.repeat_interleave(beam_size, 0) for x in (self.cells, self.fed))
        return RecurrentState(self.memory, cells, fed, beam_size)

    def reorder(self, beams: Tensor) -> RecurrentState:
        """Beam `beams[n, k]` becomes beam k of sentence n. Shape: beams (N, K)."""
        rows = reordered_rows(beams, self.beam_size)
        return dataclasses.replace(self, cells=self.cells[rows], fed=self.fed[rows])

    def keep(self, sentences: Tensor) -> RecurrentState:
        """The state of some sentences alone. Shape: sentences (M,)."""
        rows = beam_rows(sentences, self.beam_size)
        memory = Memory(*(part[sentences] for part in self.memory))
        return RecurrentState(memory, self.cells[rows], self.fed[rows], self.beam_size)

    def merge(self, other: RecurrentState) -> RecurrentState:
        """The sentences of this state, then those of `other`; the shorter memory is padded."""
        pairs = zip(self.memory, other.memory, strict=True)
        memory = Memory(*(joined(mine, theirs, 1) for mine, theirs in pairs))
        cells, fed = torch.cat((self.cells, other.cells)), torch.cat((self.fed, other.fed))
        return RecurrentState(memory, cells, fed, self.beam_size)


class RecurrentSeq2Seq(Seq2SeqModel):
    """Encoder and decoder of recurrent cells (Sutskever et al. 2014), with attention or without.

    Attention asks from h′ₜ (Luong et al. 2015) or from h′ₜ₋₁ (Bahdanau et al. 2015). With input
    feeding the cell also reads o of the step before (Luong et al. 2015, 3.3), or cₜ where that is
    known before h′ₜ (Bahdanau et al. 2015, A.1.2).
    """

    Config: ClassVar[type] = RecurrentSeq2SeqConfig
    is_recurrent: ClassVar[bool] = True

    def __init__(self, config: RecurrentSeq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        d_model = config.d_model
        self.dropout = Dropout(config.dropout)
        self.add_embeddings("none", 1, self.dropout)
        self.encoder = self._encoder()
        width = 2 * d_model if config.input_feeding else d_model
        self.decoder = Recurrent(
            config.cell, width, d_model, config.n_decoder_layers, config.dropout
        )
        parts = self.decoder.n_parts
        self.bridge = nn.Linear(parts * d_model, config.n_decoder_layers * parts * d_model)
        kind = StateAttention if self.has_attention else LastState
        self.attention = kind(d_model, config)
        self.combine = nn.Linear(2 * d_model, d_model)
        for linear in (self.bridge, self.combine):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.add_output()

    def _encoder(self) -> nn.Module:
        """Recurrent layers; without any, the source's vectors are their own states."""
        config = self.config
        if not config.n_encoder_layers:
            return NoCells(CELLS[config.cell].n_parts)
        sizes = config.d_model, config.d_model, config.n_encoder_layers, config.dropout
        return Recurrent(config.cell, *sizes, bidirectional=config.bidirectional)

    @property
    def has_attention(self) -> bool:
        """See `Seq2SeqModel`."""
        return self.config.attention != "none"

    @property
    def hard_attention(self) -> bool:
        """See `Seq2SeqModel`."""
        return self.config.normalize == "hard"

    def start(self, src_ids: Tensor, src_mask: Tensor) -> RecurrentState:
        """The decoder's state before its first step. Shape: (N, S) ids and mask."""
        states, final = self.encoder(self.src_embedding(src_ids), src_mask)
        # [h→ₙ; h←₁] of the last layer, and so of the LSTM's c: (N, directions, P, C) -> (N, P D).
        last = final[:, -1].transpose(1, 2).flatten(2)
        cells = self.bridge(last.flatten(1)).tanh()
        memory = self.attention.memory(states, src_mask, last[:, 0])
        shape = (len(src_ids), len(self.decoder.layers), 1, -1, self.config.d_model)
        feeds_output = self.config.input_feeding and not self._asks_before
        fed = cells.new_zeros(len(src_ids), self.config.d_model if feeds_output else 0)
        return RecurrentState(memory, cells.view(shape), fed, 1)

    def forward(
        self,
        src_ids: Tensor,
        src_mask: Tensor,
        tgt_in: Tensor,
        *,
        need_weights: bool = False,
        log_probs: list[Tensor] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Vectors from which each next target token is predicted (teacher forcing).

        Args:
            src_ids: Shape: (B, S).
            src_mask: which of them are real. Shape: (B, S).
            tgt_in: beginning with bos. Shape: (B, T).
            need_weights: whether the weights are returned.
            log_probs: of hard attention in training, receives ln q of the positions that were
                drawn. Shape: (B, T).

        Returns:
            The vectors (B, T, D), and in a list the weights (B, 1, T, S) where there are some.
        """
        state = self.start(src_ids, src_mask)
        x = self.tgt_embedding(tgt_in)
        run = self._each_step if self.config.input_feeding else self._at_once
        drawn: list[Tensor] = []
        hidden, weights = run(x, state, need_weights=need_weights, log_probs=drawn)
        if log_probs is not None and drawn:
            log_probs.append(torch.cat(drawn, dim=1))
        return hidden, [] if weights is None else [weights[:, None]]

    def attentions(
        self, src_ids: Tensor, src_mask: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, AttentionMaps]:
        """The same, with its weights as the maps of one head. Shape: as `forward`."""
        hidden, cross = self(src_ids, src_mask, tgt_in, need_weights=True)
        return hidden, AttentionMaps([], [], cross)

    def step(
        self, state: RecurrentState, tokens: Tensor, *, need_attention: bool = False
    ) -> tuple[Tensor, RecurrentState, Tensor | None]:
        """Reads one token per beam. Shape: tokens (N, K) -> logits (N, K, V), state, (N, K, S)."""
        x = self.tgt_embedding(tokens.reshape(-1, 1))[:, 0]
        hidden, after, weights = self._advance(x, state, need_weights=need_attention)
        logits = F.linear(hidden, *self.output_layer)
        return logits.view(*tokens.shape, -1), after, weights

    @property
    def _asks_before(self) -> bool:
        return self.config.attend_from == "previous"

    def _at_once(
        self, x: Tensor, state: RecurrentState, *, need_weights: bool, log_probs: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """All steps in one run of the cells: nothing that attention finds comes back to them."""
        outputs, _ = self.decoder(x, None, state.cells)
        query = outputs
        if self._asks_before:
            query = torch.cat((state.cells[:, None, -1, 0, 0], outputs[:, :-1]), dim=1)
        context, weights = self.attention(
            query, state.memory, need_weights=need_weights, log_probs=log_probs
        )
        return self._combined(outputs, context), weights

    def _each_step(
        self, x: Tensor, state: RecurrentState, *, need_weights: bool, log_probs: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Step after step."""
        outputs, weights = [], []
        for vectors in x.unbind(1):
            hidden, state, found = self._advance(
                vectors, state, need_weights=need_weights, log_probs=log_probs
            )
            outputs.append(hidden)
            weights += [] if found is None else [found]
        return torch.stack(outputs, 1), torch.cat(weights, 1) if weights else None

    def _advance(
        self,
        x: Tensor,
        state: RecurrentState,
        *,
        need_weights: bool,
        log_probs: list[Tensor] | None = None,
    ) -> tuple[Tensor, RecurrentState, Tensor | None]:
        """One step of R rows. Shape: (R, D) -> (R, D), the state after it, weights (N, K, S)."""

        def attend(query: Tensor) -> tuple[Tensor, Tensor | None]:
            by_sentence = query.view(len(query) // state.beam_size, state.beam_size, -1)
            context, weights = self.attention(
                by_sentence, state.memory, need_weights=need_weights, log_probs=log_probs
            )
            return context.flatten(0, 1), weights

        fed = state.fed
        if self._asks_before:
            context, weights = attend(state.cells[:, -1, 0, 0])
            fed = context if self.config.input_feeding else fed
        outputs, cells = self.decoder.step(torch.cat((x, fed), -1), state.cells)
        if not self._asks_before:
            context, weights = attend(outputs)
        hidden = self._combined(outputs, context)
        fed = hidden if state.fed.shape[1] else state.fed
        return hidden, dataclasses.replace(state, cells=cells, fed=fed), weights

    def _combined(self, outputs: Tensor, context: Tensor) -> Tensor:
        """O = tanh(W [h′; c]). Shape: 2 x (..., D) -> (..., D)."""
        return self.dropout(self.combine(torch.cat((outputs, context), -1)).tanh())
