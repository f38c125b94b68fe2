"""Weights that are stored in 16 bits, and what is said of a smaller file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_models import (
    write_detector,
    write_language_model,
    write_nodes,
    write_reader,
    write_translator,
)
from program import inside

from attn_cli.convert.sample_outputs import said_difference, sample_outputs
from attn_cli.models import CONFIGS, build_model
from attn_cli.models.directory import WEIGHTS, ModelConfig, load_model, write_config, write_weights
from attn_cli.models.storage import load_tensors, save_tensors

CPU = torch.device("cpu")
WIDE = {"d_model": 64, "d_ff": 128, "n_heads": 4}
TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
LINES = b"the cat sat\n\na dog ran to the mat\n"


def write_masked(place: Path) -> Path:
    plain = write_translator(place, n_encoder_layers=1)
    config = load_model(plain, CPU)[0]
    sizes = {k: vars(config.model)[k] for k in ("d_model", "d_ff", "n_heads", "dropout")}
    sizes |= {k: vars(config.model)[k] for k in ("src_vocab", "tgt_vocab", "share_embeddings")}
    sizes |= {"n_encoder_layers": 1, "n_decoder_layers": 1, "n_lengths": 20}
    model = ModelConfig(
        "mask-predict", "mask-predict", CONFIGS["mask-predict"](**sizes), finished=True
    )
    return rewritten(place, model)


def write_captioner(place: Path) -> Path:
    plain = write_translator(place)
    sizes = dict(vars(load_model(plain, CPU)[0].model))
    sizes |= {"source": "image", "src_vocab": 0, "share_embeddings": False, "region_size": 8}
    sizes |= {"image_height": 16, "image_width": 24, "positions": "sinusoidal"}
    config = CONFIGS["transformer"](**sizes)
    return rewritten(place, ModelConfig("transformer", "translate", config, finished=True))


def rewritten(place: Path, config: ModelConfig) -> Path:
    torch.manual_seed(4)
    model = build_model(config.arch, config.model, config.heads)
    write_weights(place, dict(model.named_parameters()), {})
    write_config(place, config)
    return place


STACK = {"d_ff": 16, "n_heads": 2, "n_layers": 1}
KINDS = {
    "translator": write_translator,
    "recurrent": lambda place: write_translator(place, "recurrent"),
    "mask-predict": write_masked,
    "captioner": write_captioner,
    "language model": write_language_model,
    "classifier": lambda place: write_reader(place, "bert", **STACK),
    "documents": lambda place: write_reader(place, "han", d_embedding=8),
    "detector": write_detector,
    "nodes": lambda place: write_nodes(place, place.with_name("graph")),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("models") / "translator", **WIDE)


@pytest.mark.parametrize("precision", TYPES)
def test_matrices_in_16_bits(precision, model, tmp_path):
    target = tmp_path / "half"
    run = inside("convert", model, "--precision", precision, "-o", target)
    assert run.lines == [str(target)]
    sizes = [(place / WEIGHTS).stat().st_size for place in (model, target)]
    assert sizes[1] < 0.55 * sizes[0]
    assert (
        f"{target}: {sizes[0]:,} bytes in float32 before, {sizes[1]:,} in {precision} after "
        f"({sizes[1] / sizes[0]:.1%})"
    ) in run.said
    original, stored = load_tensors(model / WEIGHTS)[0], load_tensors(target / WEIGHTS)[0]
    for name, weight in load_model(target, CPU)[1].named_parameters():
        kind = TYPES[precision] if weight.dim() > 1 else torch.float32
        assert stored[name].dtype == kind and weight.dtype == torch.float32
        assert torch.equal(weight, original[name].to(kind).float())
    same = {file.name for file in model.iterdir()} - {WEIGHTS}
    assert {file.name for file in target.iterdir()} == {*same, WEIGHTS}
    assert all((target / name).read_bytes() == (model / name).read_bytes() for name in same)
    assert f" in float32 and {precision}, " in inside("info", target).out.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_how_far_outputs_differ_is_said_of_every_kind_of_model(kind, tmp_path):
    place = KINDS[kind](tmp_path / "model")
    target = tmp_path / "half"
    said = inside("convert", place, "--precision", "bfloat16", "-o", target).said
    assert f"{target}: outputs for 8 drawn inputs differ: " in said
    before, after = (load_model(each, CPU)[1] for each in (place, target))
    known, found = sample_outputs(before), sample_outputs(after)
    assert said_difference(known, found) in said
    for name, outputs in known.items():
        off = (outputs - found[name]).abs().max()
        assert 0 < off < 0.3 * outputs.std() + 1e-3, name
        assert torch.equal(outputs, sample_outputs(before)[name])


def test_such_models_are_taken_wherever_a_model_is(tmp_path):
    plain = write_reader(tmp_path / "bert", "bert", **STACK)
    half = tmp_path / "half"
    inside("convert", plain, "--precision", "float16", "-o", half)
    answers = [inside("decode", "-m", m, stdin=LINES).out for m in (plain, half)]
    assert answers[0] == answers[1]
    assert "stored" not in inside("decode", "-m", half, stdin=LINES).said
    assert inside("embed", "-m", half, "--format", "json", stdin=b"the cat\n").out
    (tmp_path / "train.tsv").write_text("the cat\tgood\na dog\tbad\n" * 4)
    tuned = tmp_path / "tuned"
    inside(
        *("finetune", tmp_path / "train.tsv", "--dev", tmp_path / "train.tsv", "--init", half),
        *("--task", "classify", "--max-steps", 1, "--device", "cpu", "-o", tuned),
    )
    stored = load_tensors(tuned / WEIGHTS)[0]
    assert all(weight.dtype == torch.float32 for weight in stored.values())
    again = tmp_path / "int8"
    inside("convert", half, "--precision", "int8", "-o", again)
    assert inside("decode", "-m", again, stdin=LINES).out.count(b"\n") == 3


def test_what_float16_cannot_hold_is_refused(model, tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    for file in model.iterdir():
        (large / file.name).write_bytes(file.read_bytes())
    tensors, facts = load_tensors(large / WEIGHTS)
    tensors["encoder.layers.0.self_attention.out_proj.weight"][0, 0] = 1e5
    tensors["output_bias"][0] = -1e5  # a vector: it is stored as it is
    save_tensors(large / WEIGHTS, tensors, facts)
    options = ("--precision", "float16", "-o", tmp_path / "n")
    said = inside("convert", large, *options, status=3).said
    assert "out_proj.weight' has weights beyond 65,504" in said
    assert "--precision bfloat16 holds them" in said and not (tmp_path / "n").exists()
    inside("convert", large, "--precision", "bfloat16", "-o", tmp_path / "n")


def test_what_has_8_bits_gets_no_16(model, tmp_path):
    inside("convert", model, "--precision", "int8", "-o", tmp_path / "int8")
    options = ("--precision", "float16", "-o", tmp_path / "n")
    said = inside("convert", tmp_path / "int8", *options, status=3).said
    assert "stored in int8" in said and "float16 would not bring back what they were" in said
