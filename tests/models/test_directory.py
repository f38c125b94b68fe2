from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attn_cli.errors import DataError
from attn_cli.models import build_model
from attn_cli.models.directory import (
    ModelConfig,
    load_model,
    read_config,
    write_config,
    write_weights,
)
from attn_cli.models.seq2seq import TransformerConfig

CPU = torch.device("cpu")
CONFIG = TransformerConfig(
    d_model=8,
    d_ff=8,
    n_heads=2,
    n_encoder_layers=1,
    n_decoder_layers=1,
    dropout=0.1,
    src_vocab=13,
    tgt_vocab=13,
    share_embeddings=True,
)


@pytest.fixture
def saved(tmp_path):
    """A model directory, and the model that was saved in it."""
    torch.manual_seed(4)
    model = build_model("transformer", CONFIG).eval()
    write_config(tmp_path, ModelConfig("transformer", "translate", CONFIG, {"seed": 3}))
    write_weights(tmp_path, dict(model.named_parameters()), {"step": 5})
    return tmp_path, model


def output(model):
    src = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        return model(src, src > 0, torch.tensor([[1, 6, 7]])).hidden


def rewrite_config(folder, **changes):
    file = folder / "config.json"
    values = json.loads(file.read_text("utf-8"))
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(values), "utf-8")


def refused(folder, *words):
    with pytest.raises(DataError) as caught:
        load_model(folder, CPU)
    for word in words:
        assert word in str(caught.value)


def test_a_loaded_model_computes_the_same(saved):
    folder, model = saved
    config, loaded = load_model(folder, CPU)
    assert config == read_config(folder)
    assert config.model == CONFIG
    assert not loaded.training
    assert torch.equal(output(loaded), output(model))


def test_tied_weights_are_stored_once_and_tied_again(saved):
    folder, model = saved
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert stored == sum(weight.numel() for weight in model.parameters())
    _, loaded = load_model(folder, CPU)
    assert loaded.src_embedding.tokens.weight is loaded.tgt_embedding.tokens.weight
    assert loaded.output_layer[0] is loaded.tgt_embedding.tokens.weight


def test_the_same_weights_are_the_same_bytes(saved):
    folder, model = saved
    before = (folder / "model.safetensors").read_bytes()
    for _ in range(20):  # an order left to chance would be right at times
        write_weights(folder, dict(reversed(list(model.named_parameters()))), {"step": 5})
        assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"d_ff": 9}}, ("shape", "config.json says")),
        ({"model": {"n_decoder_layers": 2}}, ("decoder.layers.1", "missing")),
        ({"model": {"n_encoder_layers": 0}}, ("unexpected tensor",)),
        ({"model": {"d_modle": 8}}, ("d_modle", "did you mean d_model?")),
        ({"model": {"d_model": "8"}}, ("d_model", "whole number")),
        ({"model": {"d_model": 9}}, ("not a multiple of n_heads",)),
        ({"model": {"d_model": 1 << 40}}, ("d_model", "above")),
        ({"format": 1}, ("format 1,", "reads format 2", "train or convert the model again")),
        ({"format": 3}, ("format 3,", "reads format 2", "use that version")),
        ({"format": True}, ("format True,", "reads format 2")),
        ({"arch": "transfromer"}, ("transfromer", "did you mean transformer?")),
        ({"taks": "translate"}, ("taks", "did you mean task?")),
        ({"task": None}, ("task",)),
    ],
)
def test_a_configuration_at_odds_with_itself_or_the_weights_is_refused(saved, changes, words):
    folder, _ = saved
    rewrite_config(folder, **changes)
    refused(folder, str(folder), *words)


def test_an_enormous_configuration_is_refused_before_memory_is_taken(saved):
    folder, _ = saved
    rewrite_config(folder, model={"d_model": 65536, "d_ff": 1 << 20, "n_decoder_layers": 20})
    refused(folder, "model.safetensors", "config.json says")  # 3e12 weights


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:20],
        lambda raw: raw[:5],
        lambda raw: b"",
        lambda raw: raw + b"x",
        lambda raw: raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:],
        lambda raw: b"\x80\x04\x95" + raw,
        lambda raw: raw.replace(b'"F32"', b'"F64"', 1),
        lambda raw: raw.replace(b"data_offsets", b"data_offsetz", 1),
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: (100).to_bytes(8, "little") + b"[" * 100,
    ],
)
def test_damaged_weights_are_refused_by_name(saved, damage):
    folder, _ = saved
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(folder, str(file))


def test_weights_of_another_program_are_refused(saved):
    folder, _ = saved
    file = folder / "model.safetensors"
    save_file(load_file(file), file)  # the same tensors, without our checksum
    refused(folder, str(file), "checksum")


def test_missing_parts_are_named(saved):
    folder, _ = saved
    (folder / "model.safetensors").unlink()
    refused(folder, "model.safetensors", "missing")
    (folder / "config.json").unlink()
    refused(folder, "config.json")
    refused(folder / "nowhere", "no such model directory")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_out_of_the_directory_is_refused(saved, tmp_path_factory, name):
    folder, _ = saved
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(folder / name, elsewhere / name)
    (folder / name).symlink_to(elsewhere / name)
    refused(folder, name, "leaves the directory")
