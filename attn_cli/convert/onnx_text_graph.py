"""What a graph of an encoder computes: its vectors, and the outputs of its heads.

Shapes: B batch, T length, D d_model, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.config.embedding import EmbedDefaults
from attn_cli.config.finetuning import REGRESSIONS
from attn_cli.convert.onnx_layers import numbered
from attn_cli.models.bilm import Bilm
from attn_cli.models.stack import Stack
from attn_cli.models.text import HeadConfig, TextModel
from attn_cli.nn.pooling import max_of, mean_of
from attn_cli.nn.transformer import EncoderLayer

_MEANINGS = {
    "classify": "of each label: softmax gives probabilities",
    "pair": "of each label: softmax gives probabilities",
    "multilabel": "of each label: sigmoid gives probabilities",
    "regress": "the number, in its own unit",
    "rate": "the number, in its own unit",
    "choice": "of a choice behind its context: softmax over the choices' rows",
    "tag": "of each tag; those of a word's first token count",
    "qa": "of a place as the answer's first token, and as its last",
}


def meaning_of(head: HeadConfig) -> str:
    """What a head's outputs are, in words."""
    return _MEANINGS.get(head.task, "outputs")


def as_numbers(outputs: Tensor, head: HeadConfig) -> Tensor:
    """A head's outputs; a regression's, standard deviations from the mean, in their own unit."""
    return outputs * head.std + head.mean if head.task in REGRESSIONS else outputs


def pooled_of(
    hidden: Tensor, mask: Tensor, defaults: EmbedDefaults, first_is_whole: bool
) -> Tensor:
    """The vector of each text, as `attn embed` makes it of a text that is read at once.

    Shape: (B, T, D), (B, T) -> (B, D).
    """
    last = mask.long().sum(1, keepdim=True) - 1
    if defaults.pool == "cls" and first_is_whole:
        vectors = hidden[:, 0]
    elif defaults.pool == "cls":
        place = last[:, :, None].expand(-1, -1, hidden.shape[2])
        vectors = hidden.gather(1, place).squeeze(1)
    else:
        kept = mask
        if not first_is_whole:  # special tokens alone count where there are no others
            places = torch.arange(mask.shape[1])
            inner = mask & (places > 0) & (places < last)
            kept = inner | (mask & (inner.long().sum(1, keepdim=True) == 0))
        vectors = max_of(hidden, kept) if defaults.pool == "max" else mean_of(hidden, kept)
    return F.normalize(vectors, dim=-1) if defaults.normalize else vectors


def vectors_of(model: TextModel, ids: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
    """The vector of each token, without a task that of the last layer, as `attn embed` has it.

    Shape: (B, T) each -> (B, T, D).
    """
    backbone = model.backbone
    if isinstance(backbone, Bilm) and not model.heads:
        return backbone.layers(ids, mask, segments)[-1]
    return backbone(ids, mask, segments)


class TextGraph(nn.Module):
    """A backbone, and what is made of its vectors."""

    def __init__(
        self,
        model: TextModel,
        heads: Sequence[HeadConfig],
        defaults: EmbedDefaults,
        first_is_whole: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self._heads = heads
        self._defaults = defaults
        self._first_is_whole = first_is_whole
        for module in model.modules():
            if isinstance(module, EncoderLayer):
                module.causal = False  # a mask says it

    def forward(
        self, ids: Tensor, mask: Tensor, segments: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Shape: (B, T) each -> a head's outputs each, or (B, T, D), (B, D)."""
        valid = mask.bool()
        hidden = self._hidden(ids, valid, segments)
        if not self._heads:
            return hidden, pooled_of(hidden, valid, self._defaults, self._first_is_whole)
        model, found = self.model, []
        for head in self._heads:
            vectors = model.head_input(hidden, valid, head.name)
            found.append(as_numbers(model.outputs(vectors, head.name, None), head))
        return tuple(found)

    def _hidden(self, ids: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
        """The vector of each token."""
        backbone = self.model.backbone
        if not isinstance(backbone, Stack):
            return vectors_of(self.model, ids, mask, segments)
        places = numbered(ids.shape[1])
        x = backbone.embedding(ids, segments, places)
        visible = mask[:, None, None, :]
        if backbone.causal:
            visible = visible & places.earlier
        return backbone.encoder(x, visible, positions=places)
