"""What a recurrent decoder knows of the source: attention over the encoder's states, or the last.

Shapes: B batch, S source length, T queries, D d_model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.seq2seq import RecurrentOptions
from attn_cli.nn.attention import Attended, Attention
from attn_cli.nn.normalizers import NORMALIZERS
from attn_cli.nn.scores import SCORES


class Memory(NamedTuple):
    """What is attended to: mapped keys, values, and which of them may be attended to."""

    key: Tensor  # (B, S, D)
    value: Tensor  # (B, S, D)
    mask: Tensor  # (B, S), boolean


class StateAttention(nn.Module):
    """c = Σᵢ αᵢ hᵢ with α from a(hᵢ, h′), or of W_v hᵢ with α from a(W_k hᵢ, W_q h′).

    Args:
        d_model: D.
        options: score function, normalization, projections.
    """

    def __init__(self, d_model: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.register_parameter("in_weight", None)
        if options.projections == "learned":
            count = 2 if options.tie_key_value else 3
            self.in_weight = nn.Parameter(torch.empty(count, d_model, d_model))
            for weight in self.in_weight:
                nn.init.xavier_uniform_(weight)
        self.attention = Attention(
            choose(SCORES, options.attention, "score function")(d_model),
            choose(NORMALIZERS, options.normalize, "normalization")(),
        )

    def memory(self, states: Tensor, mask: Tensor, last: Tensor) -> Memory:
        """Keys and values. Shape: states (B, S, D), mask (B, S), last (B, D)."""
        key = value = states
        if self.in_weight is not None:
            key = F.linear(states, self.in_weight[1])
            value = key if len(self.in_weight) == 2 else F.linear(states, self.in_weight[2])
        return Memory(self.attention.score.map_key(key), value, mask)

    def forward(self, query: Tensor, memory: Memory, *, need_weights: bool = False) -> Attended:
        """Attends from decoder states.

        Shape: query (B, T, D) -> context (B, T, D), weights (B, T, S), log_probs (B, T).
        """
        if self.in_weight is not None:
            query = F.linear(query, self.in_weight[0])
        key, value, mask = memory
        return self.attention(query, key, value, mask[:, None], need_weights=need_weights)


class LastState(nn.Module):
    """c = hₙ, whatever is asked: sequence to sequence without attention (Cho et al. 2014)."""

    def memory(self, states: Tensor, mask: Tensor, last: Tensor) -> Memory:
        """The last state alone. Shape: as `StateAttention.memory`."""
        state = last[:, None]
        return Memory(state, state, torch.ones_like(mask[:, :1]))

    def forward(self, query: Tensor, memory: Memory, *, need_weights: bool = False) -> Attended:
        """Shape: query (B, T, D) -> context (B, T, D), no weights."""
        return Attended(memory.value.expand(-1, query.shape[1], -1))
