"""Where a token stands: position encodings, each one small class.

`POSITIONS` are added to the token vectors, `ATTENTION_POSITIONS` act inside self-attention.

Shapes: B batch, T length (of queries), S keys, D d_model, H heads, K d_head, R distances.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.config import choose
from attn_cli.nn.tables import HasTables


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
        # On the CPU by name: a model that is built without values has its tables all the same.
        position = torch.arange(count, dtype=torch.float64, device="cpu")[:, None]
        pair = torch.arange(0, self.d_model, 2, dtype=torch.float64, device="cpu")
        angle = position * torch.exp(pair * (-math.log(10000.0) / self.d_model))
        return self._laid_out(angle.sin(), angle.cos())[:, : self.d_model].float()

    def _laid_out(self, sines: Tensor, cosines: Tensor) -> Tensor:
        """Sine and cosine of a frequency stand side by side. Shape: 2 x (n, D/2) -> (n, D)."""
        return torch.stack((sines, cosines), dim=-1).flatten(1)


class SinusoidalHalvesPositions(SinusoidalPositions):
    """The same numbers in another order, all sines before all cosines (as tensor2tensor's code)."""

    def _laid_out(self, sines: Tensor, cosines: Tensor) -> Tensor:
        # An odd width leaves the last cosine out, in both layouts.
        return torch.cat((sines, cosines), dim=-1)


class LearnedPositions(nn.Module, HasTables):
    """One learned vector a position (Gehring et al. 2017); later positions share the last one."""

    tables: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(max_positions, d_model).normal_().mul_(d_model**-0.5)
        )

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
    "sinusoidal-halves": SinusoidalHalvesPositions,
    "learned": LearnedPositions,
    "relative": NoPositions,
    "rotary": NoPositions,
    "none": NoPositions,
}


class AttentionPositions(nn.Module):
    """What positions do inside self-attention: nothing, unless a scheme says otherwise.

    A scheme turns queries and keys (`rotate`), or adds terms to scores and contexts.

    Args:
        d_head: K.
        max_distance: δ, where distances are clipped.
    """

    has_terms: ClassVar[bool] = False

    def __init__(self, d_head: int = 0, max_distance: int = 1) -> None:
        super().__init__()

    def rotate(self, heads: Tensor, places: Tensor | None) -> Tensor:
        """Queries or keys turned by where they stand, from 0 if `places` does not say it.

        Shape: heads (B, H, T, K), places (B, T) -> (B, H, T, K).
        """
        return heads

    def score_terms(self, query: Tensor, n_keys: int) -> Tensor:
        """What the distance adds to a score. Shape: (..., T, K) -> (..., T, S)."""
        raise NotImplementedError

    def value_terms(self, weights: Tensor) -> Tensor:
        """What the distance adds to a context. Shape: (..., T, S) -> (..., T, K)."""
        raise NotImplementedError


class RotaryPositions(AttentionPositions):
    """Each pair (x_{2i}, x_{2i+1}) turned by pos/10000^{2i/K} (Su et al. 2021, eq. 34; RoFormer).

    The inner product of a query and a key then depends on their distance alone. Other score
    functions see the turned vectors all the same.
    """

    def __init__(self, d_head: int, max_distance: int) -> None:
        super().__init__()
        self.angles = SinusoidalPositions(d_head, 512)  # sines and cosines of the very angles

    def rotate(self, heads: Tensor, places: Tensor | None) -> Tensor:
        """Shape: heads (B, H, T, K), places (B, T) -> (B, H, T, K)."""
        if places is None:
            places = torch.arange(heads.shape[2], device=heads.device)[None]
        sine, cosine = self.angles(places)[:, None].unflatten(-1, (-1, 2)).unbind(-1)
        even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)  # (B, H, T, K/2)
        turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
        return turned.flatten(-2).to(heads.dtype)


class RelativePositions(AttentionPositions, HasTables):
    """Keys kⱼ + w^K_r and values vⱼ + w^V_r, r = clip(j - i, -δ, δ) (Shaw et al. 2018, eq. 3-5).

    One pair of tables for each layer, shared by its heads. Since a query sees only R = 2δ+1
    different w, its products with them are computed once and picked by distance, and weights of
    one distance are summed before they meet w^V: no vector is stored for a pair of positions.
    Score functions other than inner products gain the term qᵀw^K/√K, too.
    """

    has_terms = True
    tables: ClassVar[tuple[str, ...]] = ("keys", "values")

    def __init__(self, d_head: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        size = (2 * max_distance + 1, d_head)
        self.keys = nn.Parameter(torch.empty(size).normal_().div_(math.sqrt(d_head)))
        self.values = nn.Parameter(torch.empty(size).normal_().div_(math.sqrt(d_head)))

    def score_terms(self, query: Tensor, n_keys: int) -> Tensor:
        """qᵀ w^K of every pair. Shape: (..., T, K) -> (..., T, S)."""
        products = query @ self.keys.t()  # (..., T, R)
        index = self._index(query.shape[-2], n_keys, query.device)
        return products.gather(-1, index.expand(*products.shape[:-1], -1))

    def value_terms(self, weights: Tensor) -> Tensor:
        """Σⱼ αⱼ w^V. Shape: (..., T, S) -> (..., T, K)."""
        index = self._index(weights.shape[-2], weights.shape[-1], weights.device)
        by_distance = weights.new_zeros(*weights.shape[:-1], len(self.values))  # (..., T, R)
        by_distance = by_distance.scatter_add(-1, index.expand_as(weights), weights)
        return by_distance @ self.values

    def _index(self, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Rows of the tables; the last query stands at the last key. Shape: (T, S)."""
        keys = torch.arange(n_keys, device=device)
        distance = keys - keys[n_keys - n_queries :, None]
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance


ATTENTION_POSITIONS: dict[str, type[AttentionPositions]] = {
    "relative": RelativePositions,
    "rotary": RotaryPositions,
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
        return self.place(self.tokens(ids), first)

    def place(self, vectors: Tensor, first: Tensor | int = 0) -> Tensor:
        """The same of vectors in the place of tokens'. Shape: (B, T, D) -> (B, T, D)."""
        places = first + torch.arange(vectors.shape[1], device=vectors.device)
        places = places.expand(vectors.shape[0], -1) if places.dim() == 2 else places[None]
        return self.dropout(vectors * self.scale + self.positions(places))
