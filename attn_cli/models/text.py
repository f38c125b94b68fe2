"""A backbone with heads: one model for every task about text.

Shapes: B batch, T length, D d_model, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attn_cli.config.stack import HeadConfig
from attn_cli.nn.heads import MaskedLanguageHead, SpanHead, TextHead, TokenHead
from attn_cli.nn.pooling import max_of, mean_of

_POOLS = {"mean": mean_of, "max": max_of}


class TextModel(nn.Module):
    """A backbone, and an output layer for each task that shares it.

    A backbone has `d_model`, `max_len` (None: any), `template` (a key of
    `data.templates.TEMPLATES`), `depths`, `forward(ids, mask, segments)`, `layers(...)` and
    `pool(hidden, mask)`, as `Stack`.
    One whose rows are parts of what a text head is asked about also has `join`, as `Han`.
    """

    def __init__(self, backbone: Any, heads: Sequence[HeadConfig]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head_configs = {head.name: head for head in heads}
        self.heads = nn.ModuleDict({head.name: _head(backbone, head) for head in heads})

    @property
    def config(self) -> Any:
        """The backbone's configuration."""
        return self.backbone.config

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        segments: Tensor | None,
        name: str,
        owner: Tensor | None = None,
    ) -> Tensor:
        """The outputs of one head.

        Args:
            ids: Shape: (B, T).
            mask: Shape: (B, T).
            segments: Shape: (B, T).
            name: the head's.
            owner: the example that each row belongs to, from 0, in order; None: its own. (B,).

        Returns:
            Shape: (B, C) of a text head, where the backbone joins rows those of a row's example;
            (B, T, C) of others.
        """
        return self.outputs(self.vectors(ids, mask, segments, name), name, owner)

    def joins(self, name: str) -> bool:
        """Whether the outputs of a head for a row depend on other rows of its example."""
        return self.head_configs[name].kind == "text" and hasattr(self.backbone, "join")

    def vectors(self, ids: Tensor, mask: Tensor, segments: Tensor | None, name: str) -> Tensor:
        """What a head, or `join`, is put on: a vector of each row, or of each of its tokens."""
        hidden = self.backbone(ids, mask, segments)
        head = self.head_configs[name]
        if head.kind != "text":
            return hidden
        return _POOLS.get(head.pool, self.backbone.pool)(hidden, mask)

    def outputs(self, vectors: Tensor, name: str, owner: Tensor | None) -> Tensor:
        """The outputs of one head for `vectors`; see `forward`."""
        if self.joins(name):
            rows = torch.arange(len(vectors), device=vectors.device) if owner is None else owner
            attend = self.head_configs[name].pool == "own"
            vectors = self.backbone.join(vectors, rows, attend=attend)
        return self.heads[name](vectors)

    @property
    def vocabulary_layer(self) -> tuple[Tensor, Tensor]:
        """W (V, D) and b (V,) behind the masked-language head `mlm`."""
        return self.backbone.embedding.tokens.weight, self.heads["mlm"].output_bias  # type: ignore[return-value]


def _head(backbone: Any, head: HeadConfig) -> nn.Module:
    if head.kind == "mlm":
        config = backbone.config
        return MaskedLanguageHead(
            backbone.d_model, config.vocab_size, config.activation, config.norm_eps
        )
    kinds = {"text": TextHead, "tokens": TokenHead, "span": SpanHead}
    return kinds[head.kind](backbone.d_model, head.n_outputs, backbone.config.dropout)
