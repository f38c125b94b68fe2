"""A model with other tokens: the rows of its tables and of its output layer, chosen or made anew.

Shapes: V tokens before, U tokens after, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.errors import DataError
from attn_cli.models import AnyConfig, AnyModel, build_model
from attn_cli.models.backbone import BackboneConfig
from attn_cli.models.directory import ModelConfig
from attn_cli.models.seq2seq_base import EncoderDecoderConfig
from attn_cli.models.skeleton import shapes_of, without_values

Origins = Sequence[Sequence[int]]  # of each token after: the tokens before that it is made of
SOURCE, TARGET = "source", "target"  # the sides of a model; one with one vocabulary has the second


def sides_of(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """The vocabularies of a model, and the sizes in its configuration that count their tokens."""
    model = config.model
    if isinstance(model, BackboneConfig):
        return {TARGET: ("vocab_size",)}
    if not isinstance(model, EncoderDecoderConfig):
        return {}
    if model.share_embeddings:
        return {TARGET: ("src_vocab", "tgt_vocab")}
    return {**({SOURCE: ("src_vocab",)} if model.src_vocab else {}), TARGET: ("tgt_vocab",)}


def with_tokens(
    config: ModelConfig, model: AnyModel, origins: Mapping[str, Origins]
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and the weights of a model with other tokens.

    The vector, the row of the output layer and the bias of a token are the mean of those of its
    origins: of one alone its own, exactly; of none the mean of all.

    Args:
        config: the model's.
        model: the model.
        origins: of the tokens of each side that gets others.
    """
    sizes: dict[str, int] = {}
    tensors = {name: weight.detach() for name, weight in model.named_parameters()}
    for side, fields in sides_of(config).items():
        if side in origins:
            for name in _tables(config, fields):
                size = vars(config.model)[fields[-1]]
                made = _rows(tensors[name][:size], origins[side])
                # What stands behind the tokens (the blank of CTC) stays behind them.
                tensors[name] = torch.cat((made, tensors[name][size:]))
            sizes |= dict.fromkeys(fields, len(origins[side]))
    heads = tuple(
        dataclasses.replace(head, n_outputs=sizes.get("vocab_size", head.n_outputs))
        if head.kind == "mlm"
        else head
        for head in config.heads
    )
    changed = dataclasses.replace(config, model=_replaced(config.model, sizes), heads=heads)
    shapes = _shapes(changed, changed.model)
    if shapes != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise DataError(f"a {config.arch!r} can't be given another vocabulary")
    return changed, tensors


def _tables(config: ModelConfig, fields: Sequence[str]) -> list[str]:
    """The weights that have a row for each token: those that one token more makes longer."""
    sizes = {name: vars(config.model)[name] + 1 for name in fields}
    before = _shapes(config, config.model)
    after = _shapes(config, _replaced(config.model, sizes))
    return [name for name, shape in before.items() if after[name] != shape]


def _shapes(config: ModelConfig, model: AnyConfig) -> dict[str, tuple[int, ...]]:
    with without_values():
        return shapes_of(build_model(config.arch, model, config.heads))


def _replaced(model: AnyConfig, sizes: Mapping[str, int]) -> AnyConfig:
    return dataclasses.replace(model, **sizes)  # type: ignore[arg-type]


def _rows(table: Tensor, origins: Origins) -> Tensor:
    """The means of rows. Shape: (V, D) or (V,) -> (U, D) or (U,)."""
    counts = torch.tensor([len(each) for each in origins])
    ids = torch.tensor([index for each in origins for index in each], dtype=torch.int64)
    rows = table if table.dim() > 1 else table[:, None]
    made = F.embedding_bag(ids, rows, counts.cumsum(0) - counts, mode="mean")
    made[counts == 0] = rows.mean(0)
    alone = counts == 1
    firsts = (counts.cumsum(0) - counts)[alone]
    made[alone] = rows[ids[firsts]]
    return made if table.dim() > 1 else made[:, 0]
