"""Graph attention: every node attends to its neighbours, and to nothing else.

An edge (i, j) is an entry in row i and column j of a sparse N x N pattern: node i attends to
node j. No dense N x N matrix is ever made. Where the outputs of some nodes are wanted alone, a
layer's pattern is R x C: the R nodes of its output are the first of the C nodes that it reads.

Shapes: N nodes, E edges (both directions and self-loops), D input features, H heads, K d_head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.dropout import Dropout
from attn_cli.nn.sparse import SparsePattern, pair_sums, row_softmax, sparse_product

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


@dataclass(frozen=True)
class ReceptiveField:
    """All that the outputs of some nodes depend on, and nothing else of a graph.

    Attributes:
        features: of the nodes that the first layer reads.
        edges: of each layer. The nodes of one's rows are those of the next one's columns.
        places: where the nodes stand in the last layer's output. Shape: (B,).
    """

    features: Tensor | SparseFeatures
    edges: tuple[SparsePattern, ...]
    places: Tensor


def receptive_field(
    features: Tensor | SparseFeatures, edges: SparsePattern, nodes: Tensor, n_layers: int
) -> ReceptiveField:
    """What `n_layers` layers need to give the outputs of these nodes, exactly.

    Shape: features (N, D), edges N x N, nodes (B,).
    """
    nodes, places = torch.unique(nodes, return_inverse=True)
    patterns: list[SparsePattern] = []
    for _ in range(n_layers):
        pattern, nodes = _read_by(edges, nodes)
        patterns.insert(0, pattern)
    if isinstance(features, SparseFeatures):
        stored, entries = features.pattern.of_rows(nodes)
        return ReceptiveField(
            SparseFeatures(stored, features.values[entries]), tuple(patterns), places
        )
    return ReceptiveField(features[nodes], tuple(patterns), places)


def _read_by(edges: SparsePattern, nodes: Tensor) -> tuple[SparsePattern, Tensor]:
    """The edges of some nodes, and all nodes that these attend to, themselves first.

    Shape: (R,) -> R x C, (C,).
    """
    pattern, _ = edges.of_rows(nodes)
    number = torch.full((edges.n_cols,), -1, device=nodes.device)
    number[nodes] = torch.arange(len(nodes), device=nodes.device)
    others = torch.unique(pattern.cols[number[pattern.cols] < 0])
    number[others] = torch.arange(len(others), device=nodes.device) + len(nodes)
    read = torch.cat([nodes, others])
    return (
        SparsePattern.build(pattern.rows, number[pattern.cols], len(nodes), len(read)),
        read,
    )


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
        """Shape: targets (R, H, K) and sources (C, H, K) -> (E, H)."""
        of_target = targets.flatten(1) @ _block_diagonal(self.target)
        of_source = sources.flatten(1) @ _block_diagonal(self.source)
        return F.leaky_relu(pair_sums(edges, of_target, of_source), NEGATIVE_SLOPE)


class GatV2Score(nn.Module):
    """e_ij = aᵀ LeakyReLU(W_t h_i + W_s h_j) (Brody et al. 2022, eq. 7)."""

    target_projection = True

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(n_heads, d_head))  # a
        nn.init.xavier_uniform_(self.query)

    def forward(self, targets: Tensor, sources: Tensor, edges: SparsePattern) -> Tensor:
        """Shape: targets (R, H, K) and sources (C, H, K) -> (E, H)."""
        pairs = pair_sums(edges, targets.flatten(1), sources.flatten(1))
        return F.leaky_relu(pairs, NEGATIVE_SLOPE) @ _block_diagonal(self.query)


def _block_diagonal(vectors: Tensor) -> Tensor:
    """A matrix that multiplies each head's part of a row with the head's vector.

    Shape: (H, K) -> (H K, H).
    """
    heads = torch.eye(len(vectors), dtype=vectors.dtype, device=vectors.device)
    return (vectors[:, :, None] * heads[:, None]).flatten(0, 1)


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
            features (C, D), edges an R x C pattern of E entries, whose R nodes are the first of C
            -> (R, H K), or (R, K) where heads are averaged; weights without dropout (H, E).
        """
        features = self._dropped(features)
        sources = self._heads(_times(features, self.weight))
        targets = sources
        if self.target_weight is not None:
            targets = self._heads(_times(features, self.target_weight))
        scores = self.score(targets[: edges.n_rows], sources, edges)
        weights = row_softmax(edges, scores)
        heads = sparse_product(edges, self.dropout(weights), sources)
        combined = heads.mean(1) if self.average else heads.flatten(1)
        return combined + self.bias, weights.t()

    def _dropped(self, features: Tensor | SparseFeatures) -> Tensor | SparseFeatures:
        if isinstance(features, SparseFeatures):  # zeros stay zero: only the others are drawn for
            return SparseFeatures(features.pattern, self.dropout(features.values))
        return self.dropout(features)

    def _heads(self, x: Tensor) -> Tensor:
        """Shape: (C, H K) -> (C, H, K)."""
        return x.view(len(x), self.n_heads, self.d_head)


def _times(features: Tensor | SparseFeatures, weight: Tensor) -> Tensor:
    """Shape: (N, D), (D, C) -> (N, C)."""
    if isinstance(features, SparseFeatures):
        return sparse_product(features.pattern, features.values, weight)
    return features @ weight
