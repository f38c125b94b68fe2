"""A trunk with heads: one model for every task about text.

Shapes: B batch, T length, D d_model, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from attn_cli.config.stack import HeadConfig
from attn_cli.nn.heads import MaskedLanguageHead, SpanHead, TextHead, TokenHead


class TextModel(nn.Module):
    """A trunk, and an output layer for each task that shares it.

    A trunk has `d_model`, `max_len` (None: any), `framing` (a key of `data.framing.FRAMINGS`),
    `depths`, `forward(ids, mask, segments)`, `layers(...)` and `pool(hidden, mask)`, as `Stack`.
    """

    def __init__(self, trunk: Any, heads: Sequence[HeadConfig]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head_configs = {head.name: head for head in heads}
        self.heads = nn.ModuleDict({head.name: _head(trunk, head) for head in heads})

    @property
    def config(self) -> Any:
        """The trunk's configuration."""
        return self.trunk.config

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor | None, name: str) -> Tensor:
        """The outputs of one head.

        Shape: ids, mask, segments (B, T) -> (B, C) of a text head, (B, T, C) of others.
        """
        hidden = self.trunk(ids, mask, segments)
        if self.head_configs[name].kind == "text":
            pooled = self.head_configs[name].pool == "own"
            hidden = self.trunk.pool(hidden, mask) if pooled else mean_of(hidden, mask)
        return self.heads[name](hidden)

    @property
    def vocabulary_layer(self) -> tuple[Tensor, Tensor]:
        """W (V, D) and b (V,) behind the masked-language head `mlm`."""
        return self.trunk.embedding.tokens.weight, self.heads["mlm"].output_bias  # type: ignore[return-value]


def mean_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of a text's real tokens' vectors. Shape: (B, T, D), (B, T) -> (B, D)."""
    real = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(1) / real.sum(1)


def _head(trunk: Any, head: HeadConfig) -> nn.Module:
    if head.kind == "mlm":
        config = trunk.config
        return MaskedLanguageHead(
            trunk.d_model, config.vocab_size, config.activation, config.norm_eps
        )
    kinds = {"text": TextHead, "tokens": TokenHead, "span": SpanHead}
    return kinds[head.kind](trunk.d_model, head.n_outputs, trunk.config.dropout)
