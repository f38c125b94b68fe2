"""Tensors of a Marian model under our names, and back.

Shapes: D d_model, V vocabulary, P positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attn_cli.convert.huggingface_weights import ForeignWeights, Part, Shape, linear
from attn_cli.errors import DataError
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.nn.positions import Positions, SinusoidalHalvesPositions

PREFIX = "model."
BIAS = "final_logits_bias"
OUTPUT = "lm_head.weight"
_SHARED = "shared.weight"
_TOKENS = {side: f"{side}.embed_tokens.weight" for side in ("encoder", "decoder")}
_TABLES = frozenset(f"{side}.embed_positions.weight" for side in ("encoder", "decoder"))
# Tensors of ours whose rows are numbers between layers, and those whose columns are.
_WRITE = {f"{name}.{kind}" for name in ("out_proj", "linear2") for kind in ("weight", "bias")}
_READ = {"tokens.weight", "output_weight", "linear1.weight"}
_SAME = 1e-3  # what two tables of sinusoids may differ by, which some files have as float16


def marian_parts(config: TransformerConfig) -> list[Part]:
    """All tensors of a model, under its names and theirs."""
    if config.share_embeddings:
        parts = [Part("src_embedding.tokens.weight", (_SHARED,))]
    else:
        parts = [
            Part("src_embedding.tokens.weight", (_TOKENS["encoder"],)),
            Part("tgt_embedding.tokens.weight", (_TOKENS["decoder"],)),
        ]
    if not config.tie_embeddings:
        parts.append(Part("output_weight", (OUTPUT,)))
    parts.append(Part("output_bias", (BIAS,), "row"))
    for side, n_layers in (
        ("encoder", config.n_encoder_layers),
        ("decoder", config.n_decoder_layers),
    ):
        for index in range(n_layers):
            parts += _layer(f"{side}.layers.{index}.", crosses=side == "decoder")
    return parts


def _layer(place: str, *, crosses: bool) -> list[Part]:
    attentions = [("self_attention", "self_attn")]
    attentions += [("cross_attention", "encoder_attn")] if crosses else []
    parts: list[Part] = []
    for number, (ours, theirs) in enumerate(attentions):
        names = [f"{place}{theirs}.{each}_proj" for each in "qkv"]
        parts += [
            Part(f"{place}{ours}.in_{kind}", tuple(f"{name}.{kind}" for name in names), "stack")
            for kind in ("weight", "bias")
        ]
        parts += linear(f"{place}{ours}.out_proj", f"{place}{theirs}.out_proj")
        parts += linear(f"{place}residuals.{number}.norm", f"{place}{theirs}_layer_norm")
    parts += linear(f"{place}feed_forward.linear1", f"{place}fc1")
    parts += linear(f"{place}feed_forward.linear2", f"{place}fc2")
    last = f"{place}residuals.{len(attentions)}.norm"
    return parts + linear(last, f"{place}final_layer_norm")


def marian_copies(config: TransformerConfig) -> dict[str, str]:
    """Second names of tensors -> their first."""
    if not config.share_embeddings:
        return {OUTPUT: _TOKENS["decoder"]}
    return dict.fromkeys((OUTPUT, *_TOKENS.values()), _SHARED)


def marian_spares(weights: ForeignWeights) -> frozenset[str]:
    """What may be there and is no weight: tables of positions."""
    return _TABLES & weights.shapes.keys()


def check_tables(tensors: dict[str, Tensor], config: TransformerConfig, where: str) -> None:
    """Takes tables of positions out; raises DataError if one is not that of sinusoids."""
    for name in _TABLES & tensors.keys():
        table = tensors.pop(name)
        if table.dim() != 2 or table.shape[1] != config.d_model:
            raise DataError(f"{where}: tensor {name!r} has shape {tuple(table.shape)}")
        scheme = SinusoidalHalvesPositions(config.d_model, len(table))
        usual = scheme(Positions.first(len(table), table.device))[0]
        if (table - usual).abs().max() > _SAME:
            raise DataError(
                f"{where}: tensor {name!r} is not the table of sinusoids that transformers "
                "computes in its place"
            )


def extended(tensor: Tensor, shape: Shape, unknown: int) -> Tensor:
    """Rows for tokens that have none: those of the unknown token. Shape: (V, D) or (V,)."""
    missing = shape[0] - len(tensor)
    return torch.cat([tensor, tensor[unknown].expand(missing, *tensor.shape[1:])])


def with_halves(tensors: Mapping[str, Tensor], d_model: int) -> dict[str, Tensor]:
    """The same model with its D numbers in the order that makes sines and cosines halves.

    Vectors between layers may be numbered anyhow, as long as all that reads or writes them agrees.
    Names and shapes are those of `translator_parts.plain_tensors`.
    """
    order = torch.cat([torch.arange(0, d_model, 2), torch.arange(1, d_model, 2)])
    found = {}
    for name, tensor in tensors.items():
        last = ".".join(name.split(".")[-2:])
        if last in _WRITE or last.startswith("norm."):
            found[name] = tensor[order]
        elif last in _READ or last.endswith(".in_weight"):
            found[name] = tensor[..., order]
        else:
            found[name] = tensor
    return found
