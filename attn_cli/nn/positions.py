"""Where a token stands: position encodings, each one small class.

Shapes: B batch, T length, D d_model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attn_cli.config import choose


class SinusoidalPositions(nn.Module):
    """p_{2i} = sin(pos/10000^{2i/d}), p_{2i+1} = cos (Vaswani et al. 2017, 3.5): any length."""

    table: Tensor

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.register_buffer("table", self._rows(min(max_positions, 512)), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Encodes positions. Shape: (B, T) integer -> (B, T, D)."""
        longest = int(positions.max()) + 1 if positions.numel() else 0
        if longest > len(self.table):
            # Grows by doubling: a rare long line does not recompute the table at every step.
            self.table = self._rows(max(longest, 2 * len(self.table))).to(self.table)
        return self.table[positions]

    def _rows(self, count: int) -> Tensor:
        position = torch.arange(count, dtype=torch.float64)[:, None]
        pair = torch.arange(0, self.d_model, 2, dtype=torch.float64)
        angle = position * torch.exp(pair * (-math.log(10000.0) / self.d_model))
        rows = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
        return rows[:, : self.d_model].float()


class LearnedPositions(nn.Module):
    """One learned vector a position (Gehring et al. 2017); later positions share the last one."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_positions, d_model) * d_model**-0.5)

    def forward(self, positions: Tensor) -> Tensor:
        """Encodes positions. Shape: (B, T) integer -> (B, T, D)."""
        return self.weight[positions.clamp(max=len(self.weight) - 1)]


class NoPositions(nn.Module):
    """No position information: the model sees bags of tokens (but for the causal mask)."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()

    def forward(self, positions: Tensor) -> float:
        """Adds nothing."""
        return 0.0


POSITIONS: dict[str, type[nn.Module]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "none": NoPositions,
}


class TokenEmbedding(nn.Module):
    """Token vectors times √d plus position vectors, then dropout (Vaswani et al. 2017, 3.4)."""

    def __init__(
        self, weight: nn.Embedding, positions: str, max_positions: int, dropout: nn.Module
    ) -> None:
        super().__init__()
        d_model = weight.embedding_dim
        self.tokens = weight
        self.positions = choose(POSITIONS, positions, "position encoding")(d_model, max_positions)
        self.dropout = dropout
        self.scale = math.sqrt(d_model)

    def forward(self, ids: Tensor, first: Tensor | int = 0) -> Tensor:
        """Embeds tokens of which the first stands at position `first`.

        Shape: ids (B, T), first (B, 1) or a number -> (B, T, D).
        """
        places = first + torch.arange(ids.shape[1], device=ids.device)
        places = places.expand(ids.shape[0], -1) if places.dim() == 2 else places[None]
        return self.dropout(self.tokens(ids) * self.scale + self.positions(places))
