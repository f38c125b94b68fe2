"""The mean of several models' weights, and models that have none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from drawn_models import write_language_model, write_reader, write_translator
from program import inside

from attn_cli.models.directory import WEIGHTS, load_model, read_config
from attn_cli.models.storage import load_tensors, save_tensors

CPU = torch.device("cpu")
SIZES = {"d_ff": 16, "n_heads": 2, "n_layers": 1}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder, CPU)[1].named_parameters())


def near(model: Path, name: str, size: float = 0.05) -> Path:
    """A copy of a model whose weights differ a little."""
    place = model.with_name(name)
    shutil.copytree(model, place)
    tensors, facts = load_tensors(place / WEIGHTS)
    torch.manual_seed(len(name))
    moved = {k: weight + size * torch.randn_like(weight) for k, weight in tensors.items()}
    save_tensors(place / WEIGHTS, moved, {**facts, "step": 9})
    return place


@pytest.fixture
def models(tmp_path) -> list[Path]:
    first = write_translator(tmp_path / "first")
    return [first, near(first, "second"), near(first, "third!")]


def test_the_mean_of_weights_is_a_model_of_its_own(models, tmp_path):
    (models[0] / "train.jsonl").write_text('{"step": 9, "dev_loss": 1.0}\n')
    target = tmp_path / "mean"
    run = inside("convert", *models, "-o", target)
    assert run.lines == [str(target)]
    names = ", ".join(map(str, models))
    assert run.said == f"{target}: the mean of 3 models: {names}\n"
    each = [weights_of(model) for model in models]
    for name, weight in weights_of(target).items():
        mean = torch.stack([weights[name] for weights in each]).mean(0)
        torch.testing.assert_close(weight, mean, rtol=0, atol=1e-6)
    # What belongs to one of the trainings alone is left out.
    assert {file.name for file in target.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    }
    assert read_config(target).finished
    assert inside("decode", "-m", target, "--max-len", 5, stdin=b"the cat\n").out
    told = inside("info", target).out.decode()
    assert f"averaged\tthe mean of 3 models: {names}; trained as the first of them:" in told
    assert json.loads(inside("info", target, "--json").out)["averaged"] == [*map(str, models)]
    assert "averaged" not in inside("info", models[0]).out.decode()


def test_a_model_that_is_named_twice_counts_twice(models, tmp_path):
    first, second, _ = models
    inside("convert", first, first, second, "-o", tmp_path / "mean")
    one, other = weights_of(first), weights_of(second)
    for name, weight in weights_of(tmp_path / "mean").items():
        torch.testing.assert_close(weight, (2 * one[name] + other[name]) / 3, rtol=0, atol=1e-6)


def test_models_with_weights_in_fewer_bits_have_a_mean_in_float32(models, tmp_path):
    narrow = []
    for model, precision in zip(models, ("int8", "float16", "bfloat16"), strict=True):
        narrow.append(tmp_path / precision)
        inside("convert", model, "--precision", precision, "-o", narrow[-1])
    said = inside("convert", *narrow, "-o", tmp_path / "mean").said
    assert "float32" not in said
    each = [weights_of(model) for model in narrow]
    tensors, facts = load_tensors(tmp_path / "mean" / WEIGHTS)
    assert "note" not in facts
    for name, weight in tensors.items():
        assert weight.dtype == torch.float32
        mean = torch.stack([weights[name] for weights in each]).mean(0)
        torch.testing.assert_close(weight, mean, rtol=0, atol=1e-6)


def test_models_that_did_not_begin_together_are_said(tmp_path):
    first = write_translator(tmp_path / "first")
    apart = near(first, "apart")
    tensors, facts = load_tensors(apart / WEIGHTS)
    drawn = {name: torch.randn_like(weight) for name, weight in tensors.items()}
    save_tensors(apart / WEIGHTS, drawn, facts)
    said = inside("convert", first, apart, "-o", tmp_path / "mean").said
    assert f"attn: {apart}: its weights have little in common with those of {first}" in said
    assert "have no mean that works" in said


def test_notes_of_all_are_kept(models, tmp_path):
    for number, model in enumerate(models):
        tensors, _ = load_tensors(model / WEIGHTS)
        save_tensors(model / WEIGHTS, tensors, {"note": f"note {number // 2}"})
    inside("convert", *models, "-o", tmp_path / "mean")
    assert load_tensors(tmp_path / "mean" / WEIGHTS)[1] == {"note": "note 0; note 1"}


def test_what_differs_is_named(tmp_path):
    sizes = {"bert": SIZES, "gpt": {"d_ff": 16, "n_heads": 2, "n_layers": 1}}
    first = write_reader(tmp_path / "first", "bert", **sizes["bert"])

    def refused(other: Path, status: int = 3, *options: object, out: str = "mean") -> str:
        target = tmp_path / out
        run = inside("convert", first, other, "-o", target, *options, status=status)
        assert out != "mean" or not target.exists()
        return run.said

    other = write_language_model(tmp_path / "gpt", n_layers=1)
    assert f"{other}: no average with {first}: its arch is gpt, there bert" in refused(other)
    wider = write_reader(tmp_path / "wider", "bert", **{**SIZES, "d_ff": 20})
    assert "its d_ff is 20, there 16" in refused(wider)
    labels = near(first, "labels")
    (labels / "labels.txt").write_text("good\nbad\n")
    assert "its labels.txt is another one" in refused(labels)
    alone = near(first, "alone")
    (alone / "labels.txt").unlink()
    assert "labels.txt is in one of them alone" in refused(alone)
    heads = near(first, "heads")
    config = json.loads((heads / "config.json").read_text())
    config["heads"][0]["std"] = 2.0
    (heads / "config.json").write_text(json.dumps(config))
    assert "std of its output layer mood is 2.0, there 1.0" in refused(heads)
    config["heads"][0] |= {"name": "temper", "std": 1.0}
    (heads / "config.json").write_text(json.dumps(config))
    assert "its output layers are temper, there mood" in refused(heads)
    pieces = near(first, "pieces")
    raw = (pieces / "tokenizer.model").read_bytes()
    (pieces / "tokenizer.model").write_bytes(raw + b"\x12\x00")
    assert "its tokenizer.model is another one" in refused(pieces)
    same = near(first, "same")
    assert f"{same}: is one of the models to average" in refused(same, 2, out="same")
    assert "holds a model" in refused(same, 2, out="wider")
    assert "several directories are averaged as they are" in refused(same, 2, "--precision", "int8")
    assert "--shortlist: several" in refused(same, 2, "--shortlist", "x.tsv")
    assert f"{tmp_path / 'nowhere'}: no such directory" in refused(tmp_path / "nowhere", 2)
