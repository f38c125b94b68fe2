"""A model that is loaded is built of shapes alone, and then has the very weights of its file."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch
from drawn_models import (
    TEXT,
    write_language_model,
    write_nodes,
    write_reader,
    write_translator,
)
from program import ENVIRONMENT
from torch import nn

from attn_cli.config.attention import POSITION_ENCODINGS, SCORE_FUNCTIONS
from attn_cli.models import BACKBONES, build_model
from attn_cli.models.bilm import BilmConfig
from attn_cli.models.convolutional import ConvolutionalConfig
from attn_cli.models.gat import GatConfig
from attn_cli.models.han import HanConfig
from attn_cli.models.mask_predict import MaskPredictConfig
from attn_cli.models.recurrent import RecurrentConfig
from attn_cli.models.recurrent_seq2seq import RecurrentSeq2SeqConfig
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.skeleton import give_values, shapes_of, without_values
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig

SEQ2SEQ = {
    "d_model": 8,
    "n_encoder_layers": 1,
    "n_decoder_layers": 2,
    "dropout": 0.1,
    "src_vocab": 13,
    "tgt_vocab": 13,
    "share_embeddings": False,
}
PICTURES = {
    "source": "image",
    "src_vocab": 0,
    "image_height": 16,
    "image_width": 32,
    "region_size": 8,
}
HEADS = {"d_ff": 8, "n_heads": 2}
MODELS = [
    *(
        ("transformer", TransformerConfig(**SEQ2SEQ, **HEADS, attention=score, positions=positions))
        for score, positions in itertools.product(SCORE_FUNCTIONS, POSITION_ENCODINGS)
    ),
    *(
        (
            "transformer",
            TransformerConfig(**SEQ2SEQ | PICTURES | {"image_encoder": encoder}, **HEADS),
        )
        for encoder in ("conv", "patch")
    ),
    ("transformer", TransformerConfig(**SEQ2SEQ, **HEADS, tie_embeddings=False)),
    ("mask-predict", MaskPredictConfig(**SEQ2SEQ, **HEADS, n_lengths=9)),
    ("convolutional", ConvolutionalConfig(**SEQ2SEQ)),
    *(
        ("recurrent", RecurrentSeq2SeqConfig(**SEQ2SEQ, cell=cell, projections="learned"))
        for cell in ("lstm", "gru", "rnn")
    ),
    ("bert", StackConfig(vocab_size=13, d_model=8, n_layers=2, **HEADS)),
    ("gpt", StackConfig(vocab_size=13, d_model=8, n_layers=2, **HEADS, positions="rotary")),
    ("rnn", RecurrentConfig(vocab_size=13, d_model=8, n_layers=2)),
    ("bilm", BilmConfig(vocab_size=13, d_model=8)),
    ("han", HanConfig(vocab_size=13, d_embedding=6, d_model=8)),
    *(
        ("gat", GatConfig(n_features=7, n_labels=3, multi_label=False, graph_score=score))
        for score in ("gat", "gatv2")
    ),
]


@pytest.mark.parametrize(("arch", "config"), MODELS)
def test_a_model_of_shapes_becomes_the_model_of_the_weights_that_it_is_given(arch, config):
    kinds = ("text", "span") if arch in BACKBONES else ()
    heads = [HeadConfig(name=kind, kind=kind, n_outputs=2) for kind in kinds]
    model = build_model(arch, config, heads)
    state = torch.get_rng_state()
    with without_values():
        loaded = build_model(arch, config, heads)
    assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn
    assert all(weight.is_meta for weight in loaded.parameters())
    weights = dict(model.named_parameters())
    assert shapes_of(loaded) == {name: tuple(weight.shape) for name, weight in weights.items()}
    give_values(loaded, weights)
    for (name, wanted), (same, found) in zip(
        [*model.state_dict().items(), *model.named_buffers()],
        [*loaded.state_dict().items(), *loaded.named_buffers()],
        strict=True,
    ):
        assert name == same
        assert torch.equal(found, wanted)
        assert found.data_ptr() != wanted.data_ptr()
    learning = [weight.requires_grad for weight in model.parameters()]
    assert [weight.requires_grad for weight in loaded.parameters()] == learning


def test_weights_that_are_shared_stay_shared():
    config = TransformerConfig(**SEQ2SEQ | {"share_embeddings": True}, **HEADS)
    with without_values():
        model = build_model("transformer", config)
    give_values(model, {name: torch.zeros(shape) for name, shape in shapes_of(model).items()})
    assert model.src_embedding.tokens.weight is model.output_layer[0]


def test_a_weight_of_two_modules_stays_one():
    with without_values():
        model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        model["b"].weight = model["a"].weight
    give_values(model, {name: torch.ones(shape) for name, shape in shapes_of(model).items()})
    assert model["b"].weight is model["a"].weight and not model["b"].weight.is_meta


def test_commands_load_no_compiler(tmp_path):
    """PyTorch's compiler, and the algebra behind it, take a second or two to import."""
    translators = [write_translator(tmp_path / arch, arch) for arch in ("transformer", "recurrent")]
    texts = tmp_path / "lines.txt"
    texts.write_text("\n".join(TEXT[:2]) + "\n", "utf-8")
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(f"{TEXT[0]}\t{TEXT[1]}\n", "utf-8")
    heads = {"d_ff": 8, "n_heads": 2, "n_layers": 2}
    classifier = write_reader(tmp_path / "bert", "bert", **heads)
    han = write_reader(tmp_path / "han", "han", d_embedding=6)
    elmo = write_reader(tmp_path / "bilm", "bilm", n_layers=1)
    gpt = write_language_model(tmp_path / "gpt")
    nodes, graph = write_nodes(tmp_path / "gat", tmp_path / "graph"), tmp_path / "graph"
    decode, attend, embed, score = ["decode", "-m"], ["attend", "-m"], ["embed", "-m"], ["score"]
    table = ["--format", "tsv"]
    commands = [
        *([*decode, path, texts] for path in (*translators, classifier, han, elmo, gpt)),
        [*decode, nodes, graph],
        *([*attend, path, texts, *table] for path in (classifier, han, elmo)),
        *([*attend, path, pairs, *table] for path in translators),
        [*attend, nodes, graph, *table],
        *([*embed, path, texts] for path in (classifier, translators[0], gpt, elmo)),
        [*score, "--ppl", "-m", translators[0], pairs],
        [*score, "--ppl", "-m", gpt, texts],
    ]
    program = f"""
import sys
from attn_cli.cli import main
for command in {[[str(word) for word in command] for command in commands]}:
    sys.argv = ["attn", *command, "--threads", "1"] if command[0] != "score" else ["attn", *command]
    assert main() == 0, command
    for module in ("torch._dynamo", "sympy"):
        assert module not in sys.modules, (module, command)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=ENVIRONMENT, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
