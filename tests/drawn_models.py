"""Small random models of each kind, written without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.data.label_files import write_labels
from attn_cli.models import BACKBONES, CONFIGS, build_model
from attn_cli.models.directory import ModelConfig, write_config, write_weights
from attn_cli.models.gat import GatConfig
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

TEXT = ["the cat sat on the mat", "a dog ran to the cat", "שלום עולם", "кот и пёс"]


def write_translator(place: Path, arch: str = "transformer", **changes: Any) -> Path:
    """A translator of a few layers whose tokenizer writes any character in bytes."""
    tokenizer = _tokenizer(place)
    sizes = {"d_model": 16, "n_encoder_layers": 3, "n_decoder_layers": 2, "dropout": 0.0}
    if arch == "transformer":
        sizes |= {"d_ff": 32, "n_heads": 2}
    vocabularies = dict.fromkeys(("src_vocab", "tgt_vocab"), tokenizer.vocab_size)
    config = CONFIGS[arch](**{**sizes, **vocabularies, "share_embeddings": True, **changes})
    return _write(place, ModelConfig(arch, "translate", config, finished=True))


def write_reader(place: Path, arch: str, **sizes: int) -> Path:
    """A backbone with a head that tells two labels apart."""
    tokenizer = _tokenizer(place)
    sizes = {"d_model": 12, **sizes}
    config = BACKBONES[arch].Config(vocab_size=tokenizer.vocab_size, **sizes)
    head = HeadConfig(name="mood", kind="text", n_outputs=2, task="classify")
    write_labels(place, ["bad", "good"])
    return _write(place, ModelConfig(arch, "predict", config, finished=True, heads=(head,)))


def write_text_model(
    place: Path, arch: str, *heads: HeadConfig, labels: Sequence[str] = (), **changes: Any
) -> Path:
    """A backbone of two layers with these heads."""
    tokenizer = _tokenizer(place)
    sizes: dict[str, Any] = {"d_model": 12}
    if arch in ("bert", "gpt"):
        sizes |= {"d_ff": 16, "n_heads": 2, "n_layers": 2}
    elif arch == "rnn":
        sizes |= {"n_layers": 2}
    elif arch == "han":
        sizes |= {"d_embedding": 8}
    config = CONFIGS[arch](vocab_size=tokenizer.vocab_size, **{**sizes, **changes})
    if labels:
        write_labels(place, labels)
    return _write(place, ModelConfig(arch, "predict", config, finished=True, heads=heads))


def write_tagger(place: Path, tokenizer: Tokenizer) -> Path:
    """A BERT of one layer that gives each word one of two tags."""
    place.mkdir()
    write_tokenizers(place, tokenizer, tokenizer)
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 1}
    config = StackConfig(vocab_size=tokenizer.vocab_size, **sizes)
    head = HeadConfig(name="tags", kind="tokens", n_outputs=2, task="tag")
    write_labels(place, ["X", "Y"])
    return _write(place, ModelConfig("bert", "predict", config, finished=True, heads=(head,)))


def write_answerer(place: Path) -> Path:
    """A BERT of one layer that answers questions from a text."""
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 1}
    config = StackConfig(vocab_size=_tokenizer(place).vocab_size, **sizes)
    head = HeadConfig(name="squad", kind="span", n_outputs=2, task="qa", max_len=64)
    return _write(place, ModelConfig("bert", "predict", config, finished=True, heads=(head,)))


def write_detector(place: Path) -> Path:
    """A BERT of one layer that says of each token how likely it was replaced."""
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 1}
    config = StackConfig(vocab_size=_tokenizer(place).vocab_size, **sizes)
    head = HeadConfig(name="rtd", kind="rtd", n_outputs=1)
    return _write(place, ModelConfig("bert", "detect", config, finished=True, heads=(head,)))


def write_encoder(place: Path) -> Path:
    """A BERT of two layers, without an output layer."""
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 2}
    config = StackConfig(vocab_size=_tokenizer(place).vocab_size, **sizes)
    return _write(place, ModelConfig("bert", "fill", config, finished=True))


def write_questioned(place: Path) -> Path:
    """A BERT of one layer that answers questions from a text."""
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 1}
    config = StackConfig(vocab_size=_tokenizer(place).vocab_size, **sizes)
    head = HeadConfig(name="qa", kind="span", n_outputs=2, task="qa")
    return _write(place, ModelConfig("bert", "predict", config, finished=True, heads=(head,)))


def write_language_model(place: Path, **changes: Any) -> Path:
    """A GPT of two layers."""
    sizes = {"d_model": 12, "d_ff": 16, "n_heads": 2, "n_layers": 2, **changes}
    config = StackConfig(vocab_size=_tokenizer(place).vocab_size, **sizes)
    return _write(place, ModelConfig("gpt", "continue", config, finished=True))


def write_nodes(place: Path, graph: Path) -> Path:
    """A graph of five nodes, one without edges, and a model of its labels."""
    graph.mkdir()
    nodes = ["node\tfeatures\tlabel\tsplit"]
    nodes += [f"n{i}\t{i} {5 + i % 2}\t{'ab'[i % 2]}\ttrain" for i in range(5)]
    (graph / "nodes.tsv").write_text("\n".join(nodes) + "\n")
    (graph / "edges.tsv").write_text("node_u\tnode_v\nn0\tn1\nn1\tn2\nn3\tn0\nn2\tn0\n")
    place.mkdir()
    write_labels(place, ["a", "b"])
    config = GatConfig(n_features=7, n_labels=2, multi_label=False, n_heads=3, d_head=4)
    return _write(place, ModelConfig("gat", "nodes", config, finished=True))


def _tokenizer(place: Path) -> Any:
    place.mkdir(parents=True)
    options = TokenizerOptions(type="unigram", vocab_size=290, lossless=True)
    tokenizer = train_tokenizer(TEXT * 3, options, seed=1, threads=1, say=lambda text: None)
    write_tokenizers(place, tokenizer, tokenizer)
    return tokenizer


def _write(place: Path, config: ModelConfig) -> Path:
    torch.manual_seed(3)
    model = build_model(config.arch, config.model, config.heads)
    with torch.no_grad():
        for weight in model.parameters():  # far from even attention
            weight.add_(torch.randn_like(weight) * 0.3)
    write_weights(place, dict(model.named_parameters()), {})
    write_config(place, config)
    return place


def table(lines: Sequence[str]) -> dict[tuple[str, str, str], dict[tuple[int, int], float]]:
    """The numbers of `attend`: (line, layer, head) -> (row, column) -> weight."""
    found: dict[tuple[str, str, str], dict[tuple[int, int], float]] = {}
    for line in lines:
        if line:
            number, layer, head, row, _, column, _, weight = line.split("\t")
            own = found.setdefault((number, layer, head), {})
            assert (int(row), int(column)) not in own
            own[int(row), int(column)] = float(weight)
    return found


def tokens(lines: Sequence[str], number: str, field: int) -> list[str]:
    """The labels of a line's rows (field 4) or columns (field 6), in order."""
    rows = [line.split("\t") for line in lines if line]
    named = {int(row[field - 1]): row[field] for row in rows if row[0] == number}
    assert sorted(named) == list(range(len(named)))
    return [named[index] for index in sorted(named)]
