"""Marian directories of transformers (those of OPUS-MT among them) -> translators, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from attn_cli.config import load_json, to_dict
from attn_cli.convert.generation_settings import generation_values, kept_settings
from attn_cli.convert.huggingface_specials import CONFIG, GENERATION
from attn_cli.convert.huggingface_weights import WEIGHTS, ForeignWeights, Part, Shape
from attn_cli.convert.marian_config import (
    NAME,
    NEEDED,
    ForeignMarian,
    read_marian,
    write_marian,
)
from attn_cli.convert.marian_generation import adapted, impossible_ids, marian_generation
from attn_cli.convert.marian_tokenizer import (
    MarianTokenizers,
    SpecialIds,
    read_marian_tokenizers,
    write_marian_tokenizers,
)
from attn_cli.convert.marian_weights import (
    BIAS,
    OUTPUT,
    PREFIX,
    check_tables,
    extended,
    marian_copies,
    marian_parts,
    marian_spares,
    with_halves,
)
from attn_cli.convert.output import replace_directory
from attn_cli.convert.translator_parts import NEVER, open_translator, plain_tensors
from attn_cli.errors import DataError
from attn_cli.files import inside, write_atomically
from attn_cli.models import build_model
from attn_cli.models.directory import ModelConfig, write_config, write_weights
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.skeleton import shapes_of, without_values
from attn_cli.tokenizers.tokenizer_files import write_tokenizers

Say = Callable[[str], None]
_N_POSITIONS = 512  # of a model that is written, whose own have no end
_OF_VOCABULARY = ("src_embedding.tokens.weight", "tgt_embedding.tokens.weight", "output_weight")


def from_marian(folder: Path, output: Path, say: Say, *, overwrite: bool = False) -> None:
    """Writes a Marian directory as a model directory.

    Args:
        folder: has config.json, model.safetensors, vocab.json, source.spm and target.spm.
        output: the directory to write.
        say: is told of what the files leave open.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: it is another kind of model, or its files are damaged, hostile or at odds.
        UsageError: `output` holds a model.
    """
    file = inside(folder, CONFIG)
    foreign = read_marian(load_json(file), str(file))
    weights = ForeignWeights(
        folder, PREFIX, tied=foreign.model.tie_embeddings, copies=marian_copies(foreign.model)
    )
    sizes = foreign.model.src_vocab, foreign.model.tgt_vocab
    tokenizers = read_marian_tokenizers(folder, sizes, foreign.ids, say)
    values, name = generation_values(folder)
    tgt = tokenizers.tgt
    never = impossible_ids(values, foreign.ids, tgt.never_written, tokenizers.n_tgt)
    defaults = kept_settings(adapted(values, foreign.ids), str(folder / name), say)
    model, tensors = _our_tensors(foreign, weights, say)
    model, tensors = _with_further_tokens(model, tensors, tokenizers)
    tensors["output_bias"][never] = NEVER
    options: dict[str, object] = {"corpus": {"max_len": foreign.n_positions - 1}}
    if defaults.said:
        options["generation"] = to_dict(defaults)
    with replace_directory(output, folder, overwrite) as stage:
        write_weights(stage, tensors, {})
        write_tokenizers(stage, tokenizers.src, tokenizers.tgt)
        write_config(stage, ModelConfig("transformer", "translate", model, options, True))


def _our_tensors(
    foreign: ForeignMarian, weights: ForeignWeights, say: Say
) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """The configuration, which says whether the output layer is tied, and all tensors."""
    config, where = foreign.model, str(weights.files[0].parent)
    has_output = OUTPUT in weights.shapes
    if not config.tie_embeddings and not has_output:
        raise DataError(
            f"{where}: tensor {OUTPUT!r} is missing; {CONFIG} says tie_word_embeddings false"
        )
    if config.n_encoder_layers + config.n_decoder_layers > len(weights.shapes):
        raise DataError(f"{where}: {len(weights.shapes)} tensors can't be the layers of {CONFIG}")
    config = dataclasses.replace(config, tie_embeddings=not has_output)
    there, shapes = _checked_parts(config, weights)
    theirs = weights.load()
    check_tables(theirs, config, where)
    if has_output and OUTPUT not in theirs:  # it was a copy
        config = dataclasses.replace(config, tie_embeddings=True)
        there, shapes = _checked_parts(config, weights)
    elif has_output and foreign.model.tie_embeddings:
        say(f"{OUTPUT} differs from the embeddings, though {CONFIG} calls them tied: both kept")
    tensors = {
        part.ours: part.read([theirs.pop(name) for name in part.theirs], shapes[part.ours])
        for part in there
    }
    if "output_bias" not in tensors:
        tensors["output_bias"] = torch.zeros(config.tgt_vocab)
    return config, tensors


def _checked_parts(
    config: TransformerConfig, weights: ForeignWeights
) -> tuple[list[Part], dict[str, Shape]]:
    """The parts that their files have, and the shapes of our tensors."""
    with without_values():
        shapes = shapes_of(build_model("transformer", config))
    parts = [part for part in marian_parts(config) if part.theirs != (BIAS,)]
    if BIAS in weights.shapes:
        parts += [part for part in marian_parts(config) if part.theirs == (BIAS,)]
    return weights.check(parts, shapes, spare=marian_spares(weights)), shapes


def _with_further_tokens(
    config: TransformerConfig, tensors: dict[str, Tensor], tokenizers: MarianTokenizers
) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """The model with rows for the pieces that have no number there, which are never written."""
    src, tgt = tokenizers.src, tokenizers.tgt
    config = dataclasses.replace(config, src_vocab=src.vocab_size, tgt_vocab=tgt.vocab_size)
    with without_values():
        shapes = shapes_of(build_model("transformer", config))
    for name in _OF_VOCABULARY:
        if name in tensors:
            unknown = (src if name.startswith("src") else tgt).unk_id
            tensors[name] = extended(tensors[name], shapes[name], unknown)
    bias = torch.full(shapes["output_bias"], NEVER)
    bias[: tokenizers.n_tgt] = tensors["output_bias"]
    tensors["output_bias"] = bias
    return config, tensors


def to_marian(folder: Path, output: Path, say: Say, *, overwrite: bool = False) -> None:
    """Writes a model directory as a Marian directory that transformers loads.

    Args:
        folder: the model directory, of a post-norm transformer that translates.
        output: the directory to write.
        say: is told of what their format can't hold.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the model has parts that Marian lacks.
        UsageError: `output` holds a model.
    """
    translator = open_translator(
        folder, f"{NAME} of transformers", NEEDED, "--to onnx writes this one"
    )
    config, tgt = translator.config, translator.tgt
    if config.d_model % 2:
        raise DataError(f"{folder / CONFIG}: d_model {config.d_model}: {NAME} has even ones alone")
    ids = SpecialIds(tgt.bos_id, tgt.eos_id, tgt.pad_id)
    tensors = plain_tensors(translator)
    if config.share_embeddings and not config.tie_embeddings:  # there all three are one, or none
        config = dataclasses.replace(config, share_embeddings=False)
        tensors["tgt_embedding.tokens.weight"] = tensors["src_embedding.tokens.weight"].clone()
    if config.positions == "sinusoidal":
        tensors = with_halves(tensors, config.d_model)
    theirs: dict[str, Tensor] = {}
    for part in marian_parts(config):
        written = part.write(tensors[part.ours])
        theirs |= {
            name if name in (BIAS, OUTPUT) else PREFIX + name: tensor.contiguous()
            for name, tensor in zip(part.theirs, written, strict=True)
        }
    n_positions = max(_N_POSITIONS, (translator.defaults.max_len or 0) + 2)
    if ids.pad >= config.src_vocab:
        raise DataError(f"{folder}: the target's padding has no vector among the source's tokens")
    files: dict[str, Mapping[str, object]] = {
        CONFIG: write_marian(config, ids, n_positions),
        GENERATION: marian_generation(translator.defaults, ids, tgt.never_written, n_positions),
    }
    with replace_directory(output, folder, overwrite) as stage:
        data = safetensors.torch.save(theirs, {"format": "pt"})
        write_atomically(inside(stage, WEIGHTS), data)
        write_marian_tokenizers(stage, translator.src, tgt, n_positions, folder)
        for name, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            write_atomically(inside(stage, name), text.encode("utf-8") + b"\n")
    say(f"{output}: reads and writes texts of at most {n_positions:,} tokens, as {CONFIG} says")
