"""A transformer translator of ours taken apart, for formats that know the published one alone.

What other formats lack and what is the same as something that they have is written as that: an
attention by plain inner products as a scaled one, one projection of keys and values as two.

Shapes: D d_model, H heads, K d_head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attn_cli.config import shown
from attn_cli.config.generation import GenerationDefaults
from attn_cli.errors import DataError
from attn_cli.models.directory import CONFIG, load_model, read_config
from attn_cli.models.seq2seq import Transformer, TransformerConfig
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

NEVER = -1e4  # a bias whose probability is 0 in every arithmetic, and a number in each of them
# What a translator must have for every format here; see `open_translator`.
_COMMON: dict[str, tuple[object, ...]] = {
    "source": ("text",),
    "attention": ("scaled-dot", "dot"),
    "normalize": ("softmax",),
    "combine": ("concat-linear", "concat"),
}


class Affine(NamedTuple):
    """Wx + b. Shape: (out, in), (out,)."""

    weight: Tensor
    bias: Tensor


class Heads(NamedTuple):
    """The four maps of an attention by scaled inner products; all of its heads together."""

    query: Affine
    key: Affine
    value: Affine
    output: Affine


@dataclass(frozen=True)
class Translator:
    """What a model directory holds.

    Attributes:
        folder: the directory.
        config: the model's.
        model: the model.
        src: its source's tokenizer.
        tgt: its target's; the same object where they share one.
        defaults: how it was made to write.
    """

    folder: Path
    config: TransformerConfig
    model: Transformer
    src: Tokenizer
    tgt: Tokenizer
    defaults: GenerationDefaults


def open_translator(
    folder: Path, other: str, needed: Mapping[str, tuple[object, ...]], instead: str = ""
) -> Translator:
    """Reads a model directory that another format shall hold.

    Args:
        folder: the directory.
        other: the format, for messages.
        needed: part of the configuration -> the values that it can have there, beside what all
            formats need.
        instead: what writes a model that the format does not hold, for messages.

    Raises:
        DataError: it is damaged, no transformer that translates texts word after word, or has a
            part that the format lacks.
    """
    arch = read_config(folder).arch
    config, model = load_model(folder, torch.device("cpu"))
    if not isinstance(model, Transformer):
        raise DataError(
            f"{folder}: {other} holds transformers that translate one token after another, this "
            f"model is {shown(arch)}"
        )
    _check_parts(folder, model.config, other, {**_COMMON, **needed}, instead)
    src, tgt = read_tokenizers(folder)
    model.check_vocabulary(src.vocab_size, tgt.vocab_size, str(folder))
    own = GenerationDefaults.read(config.options.get("generation"), str(folder / CONFIG))
    return Translator(folder, model.config, model, src, tgt, own)


def _check_parts(
    folder: Path,
    config: TransformerConfig,
    other: str,
    needed: Mapping[str, tuple[object, ...]],
    instead: str,
) -> None:
    """Raises DataError if parts have no place in the format: all of them, and what to train."""
    values = vars(config)
    lacking = {part: wanted for part, wanted in needed.items() if values[part] not in wanted}
    if not lacking:
        return
    told = "; ".join(
        f"{part} {shown(values[part])}: {other} has {' or '.join(map(shown, wanted))} alone"
        for part, wanted in lacking.items()
    )
    flags = " ".join(f"--{part} {wanted[0]}" for part, wanted in lacking.items())
    remedy = f"attn train-mt {flags} trains one that can be written so"
    raise DataError(f"{folder / CONFIG}: {told}; {remedy}{f'; {instead}' if instead else ''}")


def heads_of(attention: MultiHeadAttention, config: TransformerConfig) -> Heads:
    """The maps of an attention. Shape: (H K, D), (H K,), the last one (D, D), (D,)."""
    d_model = config.d_model
    plain = Affine(torch.eye(d_model), torch.zeros(d_model))
    query = key = value = output = plain
    if attention.in_weight is not None:
        parts = [Affine(*pair) for pair in zip(attention.in_weight, attention.in_bias, strict=True)]
        query, key, value = parts[0], parts[1], parts[-1]
    if isinstance(attention.out_proj, nn.Linear):
        output = Affine(attention.out_proj.weight, attention.out_proj.bias)
    if config.attention == "dot":  # (√K q)ᵀk / √K = qᵀk
        scale = math.sqrt(d_model // config.n_heads)
        query = Affine(query.weight * scale, query.bias * scale)
    return Heads(query, key, value, output)


def plain_tensors(translator: Translator) -> dict[str, Tensor]:
    """The weights, by the names that they have where every attention is the published one.

    Those of an attention are `in_weight` (3, D, D) and `in_bias` (3, D), of queries, keys and
    values, and `out_proj.weight` and `.bias`.
    """
    model = translator.model
    tensors = {name: weight.detach() for name, weight in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, MultiHeadAttention):
            for part in [part for part in tensors if part.startswith(f"{name}.")]:
                del tensors[part]
            *inward, output = heads_of(module, translator.config)
            tensors[f"{name}.in_weight"] = torch.stack([each.weight for each in inward]).detach()
            tensors[f"{name}.in_bias"] = torch.stack([each.bias for each in inward]).detach()
            tensors[f"{name}.out_proj.weight"] = output.weight.detach()
            tensors[f"{name}.out_proj.bias"] = output.bias.detach()
    return tensors


def written_bias(translator: Translator) -> Tensor:
    """The output layer's bias, with which no search writes what ours never does. Shape: (V,)."""
    bias = translator.model.output_bias.clone()
    bias[list(translator.tgt.never_written)] = NEVER
    return bias
