"""Where a token stands: position encodings, each one small class.

Some are added to the token vectors, others act inside self-attention.

Shapes: B batch, T length (of queries), S keys, D d_model, H heads, K d_head, R distances.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attn_cli.config import choose
from attn_cli.nn.source import SourceEmbedding
from attn_cli.nn.tables import HasTables

_SHORTEST = 512  # rows of the smallest table of sinusoids


class Positions:
    """Where the vectors of one forward pass stand, and what all layers make of that, made once.

    Attributes:
        index: the position of each vector; one row where all sequences agree. Shape: (B or 1, T).
        end: a number above all of them, known without waiting for the device.
        visible: of a step, which keys each query sees: all that came before it, the last of them
            itself; None: every key. Shape: (B, T, S).
    """

    def __init__(self, index: Tensor, end: int, visible: Tensor | None = None) -> None:
        self.index = index
        self.end = end
        self.visible = visible
        self._sinusoids: dict[int, Tensor] = {}
        self._rotations: dict[int, Tensor] = {}
        self._distances: dict[tuple[int, int], Tensor] = {}

    @classmethod
    def first(cls, length: int, device: torch.device) -> Positions:
        """0, 1, … of a sequence of `length`."""
        return cls(torch.arange(length, device=device)[None], length)

    @property
    def _rows(self) -> int:
        """Those of a table of all positions: few different numbers of them."""
        return max(_SHORTEST, 1 << (self.end - 1).bit_length())

    def sinusoids(self, width: int) -> Tensor:
        """p_{2i} = sin(pos/10000^{2i/W}), p_{2i+1} = cos. Shape: (B or 1, T, W)."""
        if width not in self._sinusoids:
            table = _sinusoid_table(self._rows, width, self.index.device)
            self._sinusoids[width] = table[self.index]
        return self._sinusoids[width]

    def rotations(self, width: int) -> Tensor:
        """exp(i pos/10000^{2k/W}), complex. Shape: (B or 1, T, W/2)."""
        if width not in self._rotations:
            self._rotations[width] = _rotation_table(self._rows, width, self.index.device)[
                self.index
            ]
        return self._rotations[width]

    def distances(self, n_keys: int, limit: int) -> Tensor:
        """clip(j - i, -δ, δ) + δ of query i and key j; the last query stands at the last key.

        Of a step the keys that a query sees are counted; what it does not see is somewhere.

        Shape: (T, S), or (B, 1, T, S) of a step.
        """
        if (n_keys, limit) not in self._distances:
            if self.visible is None:
                keys = torch.arange(n_keys, device=self.index.device)
                distance = keys - keys[n_keys - self.index.shape[1] :, None]
            else:
                rank = self.visible.long().cumsum(-1)
                distance = (rank - rank[..., -1:])[:, None]
            self._distances[n_keys, limit] = distance.clamp(-limit, limit) + limit
        return self._distances[n_keys, limit]


@functools.lru_cache(maxsize=16)
def _sinusoid_table(rows: int, width: int, device: torch.device) -> Tensor:
    """No buffer of a module: processes that train together would exchange it. Shape: (rows, W)."""
    with torch.inference_mode(False):
        position = torch.arange(rows, dtype=torch.float64, device="cpu")[:, None]
        pair = torch.arange(0, width, 2, dtype=torch.float64, device="cpu")
        angle = position * torch.exp(pair * (-math.log(10000.0) / width))
        table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
        return table[:, :width].float().to(device)  # an odd width leaves the last cosine out


@functools.lru_cache(maxsize=16)
def _rotation_table(rows: int, width: int, device: torch.device) -> Tensor:
    """Cosine and sine as complex numbers. Shape: (rows, W/2)."""
    with torch.inference_mode(False):
        sine, cosine = _sinusoid_table(rows, width, device).unflatten(-1, (-1, 2)).unbind(-1)
        return torch.complex(cosine, sine)


class SinusoidalPositions(nn.Module):
    """p_{2i} = sin(pos/10000^{2i/d}), p_{2i+1} = cos (Vaswani et al. 2017, 3.5): any length."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, positions: Positions) -> Tensor:
        """Shape: (B, T) -> (B, T, D)."""
        return positions.sinusoids(self.d_model)


class SinusoidalHalvesPositions(SinusoidalPositions):
    """The same numbers in another order, all sines before all cosines (as tensor2tensor's code)."""

    def forward(self, positions: Positions) -> Tensor:
        """Shape: (B, T) -> (B, T, D)."""
        pairs = positions.sinusoids(self.d_model)
        return torch.cat((pairs[..., 0::2], pairs[..., 1::2]), dim=-1)


class LearnedPositions(nn.Module, HasTables):
    """One learned vector a position (Gehring et al. 2017).

    Later positions share the last one; whoever reads texts keeps them shorter, see
    `TokenEmbedding.n_positions`.
    """

    tables: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(max_positions, d_model).normal_().mul_(d_model**-0.5)
        )

    def forward(self, positions: Positions) -> Tensor:
        """Shape: (B, T) -> (B, T, D)."""
        return self.weight[positions.index.clamp(max=len(self.weight) - 1)]


class NoPositions(nn.Module):
    """No position information: the model sees bags of tokens (but for the causal mask)."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()

    def forward(self, positions: Positions) -> float:
        """Adds nothing."""
        return 0.0


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

    def rotate(self, heads: Tensor, positions: Positions) -> Tensor:
        """Queries or keys turned by where they stand. Shape: (B, H, T, K) -> the same."""
        return heads

    def score_terms(self, query: Tensor, positions: Positions, n_keys: int) -> Tensor:
        """What the distance adds to a score. Shape: (..., T, K) -> (..., T, S)."""
        raise NotImplementedError

    def value_terms(self, weights: Tensor, positions: Positions) -> Tensor:
        """What the distance adds to a context. Shape: (..., T, S) -> (..., T, K)."""
        raise NotImplementedError


class RotaryPositions(AttentionPositions):
    """Each pair (x_{2i}, x_{2i+1}) turned by pos/10000^{2i/K} (Su et al. 2021, eq. 34; RoFormer).

    The inner product of a query and a key then depends on their distance alone. Other score
    functions see the turned vectors all the same. A pair is one complex number, which is turned by
    one product: an eighth of the time that sines and cosines of the halves take.
    """

    def rotate(self, heads: Tensor, positions: Positions) -> Tensor:
        """Shape: (B, H, T, K) -> the same."""
        rotations = positions.rotations(heads.shape[-1])[:, None]  # (B, 1, T, K/2)
        pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))  # (B, H, T, K/2)
        return torch.view_as_real(pairs * rotations).flatten(-2).to(heads.dtype)


class RelativePositions(AttentionPositions, HasTables):
    """Keys kⱼ + w^K_r and values vⱼ + w^V_r, r = clip(j - i, -δ, δ) (Shaw et al. 2018, eq. 3-5).

    One pair of tables for each layer, shared by its heads. Since a query sees only R = 2δ+1
    different w, its products with them are computed once and picked by distance, and weights of
    one distance are summed before they meet w^V: no vector is stored for a pair of positions.
    Score functions other than inner products gain the term s·qᵀw^K, too, s the score's scale.
    """

    has_terms = True
    tables: ClassVar[tuple[str, ...]] = ("keys", "values")

    def __init__(self, d_head: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        size = (2 * max_distance + 1, d_head)
        self.keys = nn.Parameter(torch.empty(size).normal_().div_(math.sqrt(d_head)))
        self.values = nn.Parameter(torch.empty(size).normal_().div_(math.sqrt(d_head)))

    def score_terms(self, query: Tensor, positions: Positions, n_keys: int) -> Tensor:
        """qᵀ w^K of every pair. Shape: (..., T, K) -> (..., T, S)."""
        products = query @ self.keys.t()  # (..., T, R)
        index = positions.distances(n_keys, self.max_distance)
        return products.gather(-1, index.expand(*products.shape[:-1], -1))

    def value_terms(self, weights: Tensor, positions: Positions) -> Tensor:
        """Σⱼ αⱼ w^V. Shape: (..., T, S) -> (..., T, K)."""
        index = positions.distances(weights.shape[-1], self.max_distance)
        by_distance = weights.new_zeros(*weights.shape[:-1], len(self.values))  # (..., T, R)
        by_distance = by_distance.scatter_add(-1, index.expand_as(weights), weights)
        return by_distance @ self.values


class Scheme(NamedTuple):
    """How one `--positions` says where a token stands: two parts, of which one does nothing."""

    added: type[nn.Module]  # to the tokens' vectors
    inside: type[AttentionPositions]  # self-attention


POSITIONS = {
    "sinusoidal": Scheme(SinusoidalPositions, AttentionPositions),
    "sinusoidal-halves": Scheme(SinusoidalHalvesPositions, AttentionPositions),
    "learned": Scheme(LearnedPositions, AttentionPositions),
    "relative": Scheme(NoPositions, RelativePositions),
    "rotary": Scheme(NoPositions, RotaryPositions),
    "none": Scheme(NoPositions, AttentionPositions),
}


class TokenEmbedding(SourceEmbedding):
    """Token vectors times √d plus position vectors, then dropout (Vaswani et al. 2017, 3.4).

    Without `scaled` the token vectors are taken as they are.
    """

    def __init__(
        self,
        weight: nn.Embedding,
        positions: str,
        max_positions: int,
        dropout: nn.Module,
        *,
        scaled: bool = True,
    ) -> None:
        super().__init__()
        d_model = weight.embedding_dim
        self.tokens = weight
        scheme = choose(POSITIONS, positions, "position encoding")
        self.positions = scheme.added(d_model, max_positions)
        self.dropout = dropout
        self.scale = math.sqrt(d_model) if scaled else 1.0

    @property
    def n_positions(self) -> int | None:
        """How many places are told apart by vectors of their own; None: any number of them."""
        positions = self.positions
        return len(positions.weight) if isinstance(positions, LearnedPositions) else None

    def of_source(self, source: Tensor, mask: Tensor) -> Tensor:
        """See `SourceEmbedding`; tokens. Shape: (B, S), (B, S) -> (B, S, D)."""
        vectors: Tensor = self(source)
        return vectors

    def forward(self, ids: Tensor, positions: Positions | None = None) -> Tensor:
        """Embeds tokens that stand there, or at 0, 1, …. Shape: (B, T) -> (B, T, D)."""
        return self.of_vectors(self.tokens(ids), positions)

    def of_vectors(self, vectors: Tensor, positions: Positions | None = None) -> Tensor:
        """The same of vectors in the place of tokens'. Shape: (B, T, D) -> (B, T, D)."""
        if positions is None:
            positions = Positions.first(vectors.shape[1], vectors.device)
        return self.dropout(vectors * self.scale + self.positions(positions))
