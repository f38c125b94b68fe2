"""Graph attention: every node attends to its neighbours, and to nothing else.

An edge (i, j) is an entry in row i and column j of a sparse N x N pattern: node i attends to
node j. No dense N x N matrix is ever made.

Shapes: N nodes, E edges (both directions and self-loops), D input features, H heads, K d_head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.dropout import Dropout
from attn_cli.nn.sparse import SparsePattern, row_softmax, sparse_product

NEGATIVE_SLOPE = 0.2  # of LeakyReLU (Velickovic et al. 2018, section 2.1)


@dataclass(frozen=True)
class SparseFeatures:
    """Node features of which few are not 0.

    Attributes:
        pattern: where they stand, N x D.
        values: what they are. Shape: (entries,).
    """

    pattern: SparsePattern
    values: Tensor

    def to(self, device: torch.device) -> SparseFeatures:
        """The features on a device."""
        return SparseFeatures(self.pattern.to(device), self.values.to(device))


def neighbourhood(edges: Tensor, n_nodes: int) -> SparsePattern:
    """Who attends to whom: both directions of every edge once, and every node to itself.

    Args:
        edges: two node numbers for each undirected edge; repeated edges count once.
        n_nodes: N.

    Shape: edges (M, 2), integer.
    """
    loops = torch.arange(n_nodes).expand(2, -1)
    both = torch.cat([edges.t(), edges.t().flip(0), loops], dim=1)
    rows, cols = torch.unique(both, dim=1)  # sorted by row
    return SparsePattern.build(rows, cols, n_nodes, n_nodes)


class GatScore(nn.Module):
    """e_ij = LeakyReLU(uᵀ W h_i + vᵀ W h_j) (Velickovic et al. 2018, eq. 3)."""

    target_projection = False  # whether W h_i has a matrix of its own

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.target = nn.Parameter(torch.empty(n_heads, d_head))  # u
        self.source = nn.Parameter(torch.empty(n_heads, d_head))  # v
        nn.init.xavier_uniform_(self.target)
        nn.init.xavier_uniform_(self.source)

    def forward(self, targets: Tensor, sources: Tensor, edges: SparsePattern) -> Tensor:
        """Shape: targets and sources (H, N, K) -> (H, E)."""
        of_target = (targets @ self.target[:, :, None]).squeeze(-1)
        of_source = (sources @ self.source[:, :, None]).squeeze(-1)
        scores = of_target.index_select(1, edges.rows) + of_source.index_select(1, edges.cols)
        return F.leaky_relu(scores, NEGATIVE_SLOPE)


class GatV2Score(nn.Module):
    """e_ij = aᵀ LeakyReLU(W_t h_i + W_s h_j) (Brody et al. 2022, eq. 7)."""

    target_projection = True

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(n_heads, d_head))  # a
        nn.init.xavier_uniform_(self.query)

    def forward(self, targets: Tensor, sources: Tensor, edges: SparsePattern) -> Tensor:
        """Shape: targets and sources (H, N, K) -> (H, E)."""
        pairs = targets.index_select(1, edges.rows) + sources.index_select(1, edges.cols)
        return (F.leaky_relu(pairs, NEGATIVE_SLOPE) @ self.query[:, :, None]).squeeze(-1)


GRAPH_SCORES: dict[str, type[GatScore] | type[GatV2Score]] = {"gat": GatScore, "gatv2": GatV2Score}


class GraphAttention(nn.Module):
    """h'_i = combine over heads of Σ_j α_ij W h_j + b (Velickovic et al. 2018, eq. 4-6).

    α = softmax over the neighbours j of i of the score; the heads are concatenated, or averaged
    as in an output layer. Dropout meets the input and, as published, the weights α.

    It is not `attention.Attention` because that scores all pairs: here only E of N² exist.

    Args:
        d_in: D.
        n_heads: H.
        d_head: K.
        score: a class of `GRAPH_SCORES`.
        dropout: of the input and of the weights.
        average: whether the heads are averaged instead of concatenated.
    """

    def __init__(
        self,
        d_in: int,
        n_heads: int,
        d_head: int,
        *,
        score: type[GatScore] | type[GatV2Score] = GatScore,
        dropout: float = 0.0,
        average: bool = False,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.d_head = d_head
        self.average = average
        self.weight = nn.Parameter(torch.empty(d_in, n_heads * d_head))
        self.target_weight: nn.Parameter | None = None
        if score.target_projection:
            self.target_weight = nn.Parameter(torch.empty(d_in, n_heads * d_head))
        for matrix in (self.weight, self.target_weight):
            if matrix is not None:
                nn.init.xavier_uniform_(matrix)
        self.bias = nn.Parameter(torch.zeros(d_head if average else n_heads * d_head))
        self.score = score(n_heads, d_head)
        self.dropout = Dropout(dropout)

    def forward(
        self, features: Tensor | SparseFeatures, edges: SparsePattern
    ) -> tuple[Tensor, Tensor]:
        """One step of attention along the edges.

        Shape:
            features (N, D), edges an N x N pattern of E entries
            -> (N, H K), or (N, K) where heads are averaged; weights without dropout (H, E).
        """
        features = self._dropped(features)
        sources = self._heads(_times(features, self.weight))
        targets = sources
        if self.target_weight is not None:
            targets = self._heads(_times(features, self.target_weight))
        weights = row_softmax(edges, self.score(targets, sources, edges))
        kept = self.dropout(weights)
        # One head at a time: its vectors stay in the cache, and no index is repeated for heads.
        heads = [sparse_product(edges, kept[head], sources[head]) for head in range(self.n_heads)]
        combined = torch.stack(heads).mean(0) if self.average else torch.cat(heads, dim=1)
        return combined + self.bias, weights

    def _dropped(self, features: Tensor | SparseFeatures) -> Tensor | SparseFeatures:
        if isinstance(features, SparseFeatures):  # zeros stay zero: only the others are drawn for
            return SparseFeatures(features.pattern, self.dropout(features.values))
        return self.dropout(features)

    def _heads(self, x: Tensor) -> Tensor:
        """Shape: (N, H K) -> (H, N, K)."""
        return x.view(len(x), self.n_heads, self.d_head).transpose(0, 1).contiguous()


def _times(features: Tensor | SparseFeatures, weight: Tensor) -> Tensor:
    """Shape: (N, D), (D, C) -> (N, C)."""
    if isinstance(features, SparseFeatures):
        return sparse_product(features.pattern, features.values, weight)
    return features @ weight
