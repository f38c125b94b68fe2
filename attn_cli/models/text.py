"""A backbone with heads: one model for every task about text.

Shapes: B batch, T length, D d_model, C outputs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

import torch
from torch import Tensor, nn

from attn_cli.config import choose, option
from attn_cli.config.finetuning import POOLS, TAG_SCHEMES
from attn_cli.errors import DataError
from attn_cli.models.backbone import Backbone, BackboneConfig
from attn_cli.models.stack import StackConfig
from attn_cli.nn.heads import (
    MaskedLanguageHead,
    ReplacedTokenHead,
    SpanHead,
    TextHead,
    TokenHead,
)
from attn_cli.nn.pooling import max_of, mean_of

HEADS = {"text": TextHead, "tokens": TokenHead, "span": SpanHead}
_OF_STACKS = {"mlm": "masked-language", "rtd": "replaced-token"}  # heads of pre-training


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """An output layer on top of a backbone.

    `name` is the task's, `kind` a key of `HEADS`, "mlm" or "rtd", `task` a key of `tasks.TASKS`
    ("" where the head belongs to a pre-training objective).
    """

    name: str = option(MISSING, "The task's name.")
    kind: str = option(MISSING, "Kind of output layer.", choices=(*HEADS, *_OF_STACKS))
    n_outputs: int = option(MISSING, "Outputs.", low=1, high=1 << 24)
    task: str = option("", "What is done with the outputs.")
    max_len: int = option(512, "Longest input of the task in tokens.", low=8, high=1 << 20)
    pool: str = option("own", "How a text's vectors become one.", choices=POOLS)
    n_texts: int = option(
        0, "Texts of an example, where the task leaves that open; 0: any.", low=0, high=1 << 16
    )
    mean: float = option(0.0, "Of the numbers that were trained on.")
    std: float = option(1.0, "Their standard deviation.", low=0.0)
    low: float = option(0.0, "The least of them.")
    high: float = option(0.0, "The greatest of them.")
    scheme: str = option(
        "", "How its tags name spans; empty: as the tags tell.", choices=("", *TAG_SCHEMES[1:])
    )


class TextModel(nn.Module):
    """A backbone, and an output layer for each task that shares it.

    Raises:
        DataError: a head that the backbone can't have.
        UsageError: an unknown kind of head, or of pooling.
    """

    def __init__(self, backbone: Backbone, heads: Sequence[HeadConfig]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head_configs = {head.name: head for head in heads}
        self.heads = nn.ModuleDict({head.name: _head(backbone, head) for head in heads})
        pools = {"mean": mean_of, "max": max_of, "own": backbone.pool}
        self._pools = {head.name: choose(pools, head.pool, "pooling") for head in heads}

    @property
    def config(self) -> BackboneConfig:
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
        return self.head_configs[name].kind == "text" and self.backbone.joins_rows

    def vectors(self, ids: Tensor, mask: Tensor, segments: Tensor | None, name: str) -> Tensor:
        """The input of a head, or of `join`: a vector of each row, or of each of its tokens."""
        return self.head_input(self.backbone(ids, mask, segments), mask, name)

    def head_input(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        """The same of the backbone's vectors. Shape: (B, T, D), (B, T) -> (B, D) or (B, T, D)."""
        if self.head_configs[name].kind != "text":
            return hidden
        return self._pools[name](hidden, mask)

    def outputs(self, vectors: Tensor, name: str, owner: Tensor | None) -> Tensor:
        """The outputs of one head for `vectors`; see `forward`."""
        if self.joins(name):
            rows = torch.arange(len(vectors), device=vectors.device) if owner is None else owner
            attend = self.head_configs[name].pool == "own"
            vectors = self.backbone.join(vectors, rows, attend=attend)
        return self.heads[name](vectors)

    def check_vocabulary(self, size: int, where: str) -> None:
        """Makes sure that the tokenizer fits.

        Raises:
            DataError: it has more tokens than the model has vectors.
        """
        if size > self.config.vocab_size:
            raise DataError(
                f"{where}: {size:,} tokens, but the model has vectors for "
                f"{self.config.vocab_size:,}; the directory mixes files of two models"
            )

    @property
    def vocabulary_layer(self) -> tuple[Tensor, Tensor]:
        """The layer W (V, D) and b (V,) behind the masked-language head `mlm`."""
        head = self.heads["mlm"]
        assert isinstance(head, MaskedLanguageHead)
        own = head.output_weight
        return self.backbone.token_vectors.weight if own is None else own, head.output_bias


def _head(backbone: Backbone, head: HeadConfig) -> nn.Module:
    config = backbone.config
    if head.kind not in _OF_STACKS:
        kind = choose(HEADS, head.kind, "kind of head")
        return kind(config.d_model, head.n_outputs, config.dropout)
    if not isinstance(config, StackConfig):
        what = _OF_STACKS[head.kind]
        raise DataError(f"head {head.name!r}: this architecture takes no {what} head")
    if head.kind == "rtd":
        return ReplacedTokenHead(config.d_model, config.activation)
    return MaskedLanguageHead(
        *(config.d_model, config.vocab_size, config.activation, config.norm_eps),
        tied=config.tied_output,
    )
