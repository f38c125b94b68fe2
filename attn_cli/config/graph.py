"""Options of graphs and of graph attention networks."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option

SCORES = ("gat", "gatv2")


@dataclass(frozen=True, kw_only=True)
class GatOptions:
    """Which graph attention network."""

    n_heads: int = option(8, "Attention heads of the inner layers.", low=1, high=1024)
    d_head: int = option(8, "Width of a head.", low=1, high=1 << 16)
    n_output_heads: int = option(1, "Heads that the last layer averages.", low=1, high=1024)
    n_layers: int = option(2, "Layers of graph attention.", low=1, high=64)
    graph_score: str = option("gat", "How neighbours are scored.", choices=SCORES)
    normalize_features: bool = option(
        True, "Divide each node's features by the sum of their magnitudes."
    )


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """How the labels of nodes are read."""

    multi_label: bool | None = option(
        None,
        "Whether a node can have several labels, joined by commas.",
        flag="--multi-label/--single-label",
        show="where a label has a comma",
    )
