"""Hugging Face BERT, ELECTRA and GPT-2 directories -> model directories of ours, and back.

Nothing is downloaded, and none of their code runs: files are read as data that may be hostile.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from attn_cli.config import load_json, to_dict
from attn_cli.config.embedding import EmbedDefaults
from attn_cli.config.finetuning import REGRESSIONS
from attn_cli.config.generation import GenerationDefaults
from attn_cli.convert.generation_settings import read_generation, write_generation
from attn_cli.convert.huggingface_config import (
    Foreign,
    foreign_name,
    read_foreign,
    write_foreign,
)
from attn_cli.convert.huggingface_specials import GENERATION
from attn_cli.convert.huggingface_tokenizer import (
    has_one_segment,
    lowercased,
    read_tokenizer,
    write_tokenizer,
)
from attn_cli.convert.huggingface_weights import (
    PREFIX,
    WEIGHTS,
    ForeignWeights,
    Part,
    Shape,
    output_name,
    parts_of,
    prefix_of,
)
from attn_cli.convert.output import replace_directory
from attn_cli.convert.sentence_embedding import (
    read_sentence_embedding,
    write_sentence_embedding,
)
from attn_cli.convert.tag_scheme import say_scheme, with_scheme
from attn_cli.data.label_files import labels_name, read_labels, write_labels
from attn_cli.errors import DataError, UsageError
from attn_cli.files import inside, write_atomically
from attn_cli.models import build_model
from attn_cli.models.directory import (
    CONFIG,
    ModelConfig,
    load_model,
    write_config,
    write_weights,
)
from attn_cli.models.skeleton import shapes_of, without_values
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, write_tokenizers

Say = Callable[[str], None]
_SHORTEST = 8  # the least `max_len` of a head
_ADAPTER = "adapter_config.json"
_SEGMENTS = "backbone.embedding.segments.weight"
_ANY_NUMBER = 1e30  # theirs do not say between which numbers their answers lie
_THRESHOLD = ".no_answer_threshold"  # ours alone: theirs have none, which is 0
# Our head -> where it stands in their model.
_PLACES = {
    "mlm": "cls.predictions",
    "nsp": "cls.seq_relationship",
    "rtd": "discriminator_predictions",
    "text": "classifier",
    "choice": "classifier",
    "tag": "classifier",
    "qa": "qa_outputs",
}


def from_huggingface(
    folder: Path,
    output: Path,
    say: Say,
    *,
    task: str | None = None,
    scheme: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a Hugging Face directory as a model directory.

    Args:
        folder: has config.json, model.safetensors and a tokenizer.
        output: the directory to write.
        say: is told of what is missing or left open.
        task: what its classifier does, where config.json is not to decide that.
        scheme: how its tagger's spans are written, where its tags are not to tell that.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: it is another kind of model, or its files are damaged, hostile or at odds.
        UsageError: `task` or `scheme` is given for a model without a classifier or tags of spans;
            `output` holds a model.
    """
    source, embedding = folder, read_sentence_embedding(folder)
    if embedding:
        folder = embedding.folder
    file = inside(folder, CONFIG)
    foreign = read_foreign(load_json(file), str(file))
    if embedding and foreign.arch != "bert":
        raise DataError(
            f"{source}: sentence vectors of a {foreign.name} are not supported, those of a BERT are"
        )
    if task and not foreign.task:
        raise UsageError(f"--task {task}: {foreign.name} has no classifier of texts")
    if (folder / _ADAPTER).exists():
        raise DataError(
            f"{folder / _ADAPTER}: an adapter, which changes the weights of another file; save the "
            "model with it merged in (merge_and_unload of PEFT) and convert that"
        )
    weights = ForeignWeights(folder, prefix_of(foreign.name, foreign.arch), tied=foreign.tied)
    heads = with_scheme(_heads(foreign, weights, task or foreign.task), foreign.labels, scheme, say)
    tokenizer = _tokenizer(folder, foreign, say)
    model, tensors = _our_tensors(foreign, weights, heads, say)
    if model.n_segments > 1 and has_one_segment(folder, tokenizer, say):
        model = dataclasses.replace(model, n_segments=1)
        tensors[_SEGMENTS] = tensors[_SEGMENTS][:1].clone()
    _say_kind(foreign, heads, task, say)
    options: dict[str, object] = {}
    if foreign.arch == "gpt":
        defaults = read_generation(folder, say)
        options = {"generation": to_dict(defaults)} if defaults.said else {}
    if embedding:
        tokenizer = lowercased(tokenizer) if embedding.lowercase else tokenizer
        options = {"embedding": to_dict(embedding.defaults)}
    with replace_directory(output, source, overwrite) as stage:
        write_weights(stage, tensors, {})
        write_tokenizers(stage, tokenizer, tokenizer)
        if foreign.labels and not any(head.task in REGRESSIONS for head in heads.values()):
            write_labels(stage, foreign.labels)
        config = ModelConfig(
            foreign.arch, _task(foreign, heads), model, options, True, tuple(heads.values())
        )
        write_config(stage, config)


def _say_kind(
    foreign: Foreign, heads: Mapping[str, HeadConfig], task: str | None, say: Say
) -> None:
    """Says what their files leave open, and what was taken for it."""
    if not task and "text" in heads and heads["text"].task == "regress":
        say("one output: taken as a number for two texts; where it is for one: --task rate")
    if foreign.model.n_segments == 1:
        say("type_vocab_size 1: the second text of a pair has the segment vector of the first")


def _task(foreign: Foreign, heads: Mapping[str, HeadConfig]) -> str:
    if foreign.arch == "gpt":
        return "continue"
    if "rtd" in heads:
        return "detect"
    return "fill" if "mlm" in heads else "predict"


def _heads(foreign: Foreign, weights: ForeignWeights, task: str) -> dict[str, HeadConfig]:
    """Their heads, by their key in `_PLACES`."""
    beginnings = {name.rpartition(".")[0] for name in weights.shapes}
    there = [
        *foreign.needed,
        *(key for key in foreign.possible if _PLACES[key] in beginnings),
    ]
    n_labels = len(foreign.labels) or 1
    longest = max(_SHORTEST, foreign.model.max_positions)
    text = HeadConfig(
        name=task or "text", kind="text", n_outputs=n_labels, task=task, max_len=longest
    )
    if task in REGRESSIONS:
        text = dataclasses.replace(text, low=-_ANY_NUMBER, high=_ANY_NUMBER)
    heads = {
        "mlm": HeadConfig(name="mlm", kind="mlm", n_outputs=foreign.model.vocab_size),
        "nsp": HeadConfig(name="nsp", kind="text", n_outputs=2),
        "rtd": HeadConfig(name="rtd", kind="rtd", n_outputs=1),
        "text": text,
        "choice": HeadConfig(
            name="choice", kind="text", n_outputs=1, task="choice", max_len=longest
        ),
        "tag": HeadConfig(
            name="tag", kind="tokens", n_outputs=n_labels, task="tag", max_len=longest
        ),
        "qa": HeadConfig(name="qa", kind="span", n_outputs=2, task="qa", max_len=longest),
    }
    return {key: heads[key] for key in heads if key in there}


def _tokenizer(folder: Path, foreign: Foreign, say: Say) -> Tokenizer:
    tokenizer = read_tokenizer(folder, foreign.arch, say)
    if tokenizer is None:
        raise DataError(
            f"{folder}: no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt); "
            "copy the model's own into the directory"
        )
    if tokenizer.vocab_size > foreign.model.vocab_size:
        raise DataError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model "
            f"{foreign.model.vocab_size:,}; they do not belong together"
        )
    return tokenizer


def _our_tensors(
    foreign: Foreign, weights: ForeignWeights, heads: Mapping[str, HeadConfig], say: Say
) -> tuple[StackConfig, dict[str, Tensor]]:
    """Our stack, and their weights under our names; a missing pooler is made anew."""
    if foreign.model.n_layers > len(weights.shapes):  # before a skeleton of that depth is built
        raise DataError(
            f"{weights.files[0].parent}: {len(weights.shapes)} tensors can't be the "
            f"{foreign.model.n_layers} layers of config.json"
        )
    model = dataclasses.replace(foreign.model, tied_output=not _has_output(foreign, weights, heads))
    shapes, there = _checked_parts(foreign, model, weights, heads)
    theirs = weights.load()
    output = output_name(foreign.arch)
    if not model.tied_output and output not in theirs:  # it was a copy
        model = dataclasses.replace(model, tied_output=True)
        shapes, there = _checked_parts(foreign, model, weights, heads)
    elif not model.tied_output and foreign.tied:
        say(f"{output} differs from the embeddings, though config.json calls them tied: both kept")
    tensors = {
        part.ours: part.read([theirs.pop(name) for name in part.theirs], shapes[part.ours])
        for part in there
    }
    tensors |= {name: torch.zeros(shapes[name]) for name in shapes if name.endswith(_THRESHOLD)}
    missing = [name for name in shapes if name not in tensors]
    if missing and not {"tag", "qa"} & heads.keys():  # which have no use for it
        say(f"no weights for {', '.join(missing)}: the pooler starts from random values")
    generator = torch.Generator().manual_seed(1)
    for name in missing:
        tensors[name] = torch.zeros(shapes[name])
        if len(shapes[name]) == 2:
            tensors[name].normal_(std=0.02, generator=generator)  # as a new backbone's
    return model, tensors


def _has_output(foreign: Foreign, weights: ForeignWeights, heads: Mapping[str, HeadConfig]) -> bool:
    """Whether tokens are predicted by a tensor of its own, as far as names tell."""
    output = output_name(foreign.arch)
    if foreign.arch == "bert" and "mlm" not in heads:
        return False
    if not foreign.tied and output not in weights.shapes and foreign.name != "GPT2Model":
        raise DataError(
            f"{weights.files[0].parent}: tensor {output!r} is missing; config.json says "
            "tie_word_embeddings false"
        )
    return output in weights.shapes


def _checked_parts(
    foreign: Foreign,
    model: StackConfig,
    weights: ForeignWeights,
    heads: Mapping[str, HeadConfig],
) -> tuple[dict[str, Shape], list[Part]]:
    """The shapes of our tensors, and the parts that their files have."""
    with without_values():
        shapes = shapes_of(build_model(foreign.arch, model, tuple(heads.values())))
    places = {head.name: _PLACES[key] for key, head in heads.items()}
    parts = parts_of(foreign.arch, model.n_layers, places, tied=model.tied_output)
    return shapes, weights.check(parts, shapes)


def to_huggingface(folder: Path, output: Path, say: Say, *, overwrite: bool = False) -> None:
    """Writes a model directory as a Hugging Face directory that transformers loads.

    Args:
        folder: the model directory, of a BERT or GPT.
        output: the directory to write.
        say: is told of what their format can't hold.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the model has parts that their classes lack.
        UsageError: `output` holds a model.
    """
    config, model = load_model(folder, torch.device("cpu"))
    stack = config.model
    if config.arch not in PREFIX or not isinstance(stack, StackConfig):
        raise DataError(
            f"{folder}: Hugging Face has no class for architecture {config.arch!r}; "
            f"{', '.join(PREFIX)}, transformer can be written"
        )
    name = foreign_name(config.arch, config.heads, str(folder))
    _check_pools(config.heads, name, str(folder))
    labels = read_labels(folder) if (folder / labels_name()).exists() else []
    task = config.heads[0].task if config.heads else ""
    if task in REGRESSIONS:
        labels = ["LABEL_0"]
    values = write_foreign(name, stack, labels, task, str(folder))
    say_scheme(config.heads, labels, say)
    tokenizer = load_tokenizer(str(folder))
    weights = _in_own_unit(config, model)
    for place, value in weights.items():
        if place.endswith(_THRESHOLD) and float(value):
            say(f"{name} has no threshold of no answer: 0 there, {float(value):.4g} in this model")
    tensors = _their_tensors(config, stack, name, weights)
    with replace_directory(output, folder, overwrite) as stage:
        data = safetensors.torch.save(tensors, {"format": "pt"})
        write_atomically(inside(stage, WEIGHTS), data)
        write_tokenizer(stage, tokenizer, config.arch, stack.max_positions, say)
        if "embedding" in config.options:
            defaults = EmbedDefaults.read(config.options["embedding"], str(folder / CONFIG))
            write_sentence_embedding(stage, defaults, stack.d_model)
        files = {CONFIG: {**values, **_special_ids(tokenizer)}}
        if "generation" in config.options:
            own = GenerationDefaults.read(config.options["generation"], str(folder / CONFIG))
            files[GENERATION] = {**write_generation(own), **_special_ids(tokenizer)}
        for file, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            write_atomically(inside(stage, file), text.encode("utf-8") + b"\n")


def _check_pools(heads: Sequence[HeadConfig], name: str, where: str) -> None:
    """Raises DataError if a text's vector is not that of their pooler; taggers and qa have none."""
    for head in heads:
        if head.kind == "text" and head.pool != "own":
            raise DataError(
                f"{where}: {name} makes a text's vector of its first token by a layer of its own, "
                f"this model takes the {head.pool} of all tokens' (--pool): attn finetune --pool "
                "own trains one that can be written so; --to onnx writes this one"
            )


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    ids = {"pad": tokenizer.pad_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    return {f"{name}_token_id": index for name, index in ids.items() if index >= 0}


def _in_own_unit(config: ModelConfig, model: nn.Module) -> dict[str, Tensor]:
    """The weights; a regression's outputs, in standard deviations from the mean, as numbers."""
    tensors = {name: weight.detach() for name, weight in model.named_parameters()}
    for head in config.heads:
        if head.task in REGRESSIONS:
            output = f"heads.{head.name}.output"
            tensors[f"{output}.weight"] = tensors[f"{output}.weight"] * head.std
            tensors[f"{output}.bias"] = tensors[f"{output}.bias"] * head.std + head.mean
    return tensors


def _their_tensors(
    config: ModelConfig, stack: StackConfig, name: str, ours: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our weights under their names; their classes that pool nothing have no pooler."""
    places = {head.name: _place(head) for head in config.heads}
    pools = not config.heads or any(head.kind == "text" for head in config.heads)
    prefix = "" if name in ("BertModel", "GPT2Model") else prefix_of(name, config.arch)
    tensors: dict[str, Tensor] = {}
    tied = stack.tied_output or (config.arch == "bert" and "mlm" not in places)
    for part in parts_of(config.arch, stack.n_layers, places, tied=tied):
        if part.is_pooler and not pools:
            continue
        written = part.write(ours[part.ours])
        tensors |= {
            _their_name(part, theirs, prefix): tensor.contiguous()
            for theirs, tensor in zip(part.theirs, written, strict=True)
        }
    if not tied and "cls.predictions.bias" in tensors:  # then theirs computes with another one
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    return tensors


def _their_name(part: Part, name: str, prefix: str) -> str:
    outside = part.ours.startswith("heads.") or name == "lm_head.weight"
    return name if outside else prefix + name


def _place(head: HeadConfig) -> str:
    if head.kind in ("mlm", "rtd") or head.name == "nsp":
        return _PLACES[head.kind if head.name != "nsp" else "nsp"]
    return _PLACES["qa" if head.task == "qa" else "text"]
