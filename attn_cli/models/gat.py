"""Graph attention networks: a label, or several, for every node (Velickovic et al. 2018).

Shapes: N nodes, E edges, D input features, H heads, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config import choose, option
from attn_cli.config.graph import GatOptions
from attn_cli.nn.graph import GRAPH_SCORES, GraphAttention, SparseFeatures
from attn_cli.nn.sparse import SparsePattern


@dataclass(frozen=True, kw_only=True)
class GatConfig(GatOptions):
    """What a saved graph attention network is made of: every part decided."""

    dropout: float = option(
        0.6, "Dropout of every layer's input and of its weights.", low=0.0, high=0.99
    )
    n_features: int = option(MISSING, "Features of a node.", low=1, high=1 << 20)
    n_labels: int = option(MISSING, "Labels.", low=1, high=1 << 20)
    multi_label: bool = option(MISSING, "Whether a node can have several labels.")


class Gat(nn.Module):
    """ELU between layers of concatenated heads; the last layer averages its heads (section 3.3)."""

    Config: ClassVar[type[GatConfig]] = GatConfig

    def __init__(self, config: GatConfig) -> None:
        super().__init__()
        self.config = config
        score = choose(GRAPH_SCORES, config.graph_score, "score function of a graph")
        width = config.n_features
        layers = []
        for _ in range(config.n_layers - 1):
            layers.append(
                GraphAttention(
                    width, config.n_heads, config.d_head, score=score, dropout=config.dropout
                )
            )
            width = config.n_heads * config.d_head
        last = GraphAttention(
            *(width, config.n_output_heads, config.n_labels),
            score=score,
            dropout=config.dropout,
            average=True,
        )
        self.layers = nn.ModuleList([*layers, last])

    def forward(
        self, features: Tensor | SparseFeatures, edges: SparsePattern | Sequence[SparsePattern]
    ) -> tuple[Tensor, Tensor | SparseFeatures, list[Tensor]]:
        """Logits of every node's labels.

        Shape:
            features (N, D), edges an N x N pattern of E entries, or one for each layer (see
            `nn.graph.receptive_field`)
            -> logits (N, C); the vectors before the last layer (N, ...), which are the features
            themselves if it is the only one; each layer's weights (H, E).
        """
        vectors: Tensor | SparseFeatures = features
        weights = []
        *inner, last = self.layers
        patterns = [edges] * len(self.layers) if isinstance(edges, SparsePattern) else edges
        for layer, pattern in zip(inner, patterns, strict=False):
            hidden, alpha = layer(vectors, pattern)
            vectors = F.elu(hidden)
            weights.append(alpha)
        logits, alpha = last(vectors, patterns[-1])
        return logits, vectors, [*weights, alpha]
