"""What can't be converted, or wants to do harm, is refused by name and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from drawn_models import write_translator
from program import inside
from tiny_models import edit_config, save_bert, save_gpt

from attn_cli.convert import huggingface
from attn_cli.data.label_files import read_labels
from attn_cli.errors import DataError


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    save_bert(folder / "bert", "BertForSequenceClassification", num_labels=2)
    save_bert(folder / "masked", "BertForMaskedLM")
    save_gpt(folder / "gpt")
    return folder


@pytest.fixture
def copies(original, tmp_path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        for file in (original / name).iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        return place

    return copy


def refused(folder: Path, *options: object, status: int = 3) -> str:
    target = folder.with_name("target")
    said = inside("convert", folder, "-o", target, *options, status=status).said
    assert not target.exists()
    return said


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder True"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported; supported: gelu"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"architectures": ["RobertaModel"]}, "architecture 'RobertaModel' is not supported"),
        ({"architectures": ["BertForMaskedLm"]}, "did you mean BertForMaskedLM?"),
        ({"architectures": None, "model_type": "t5"}, "no Hugging Face BERT or GPT-2"),
        ({"architectures": 5}, "no Hugging Face BERT or GPT-2"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"hidden_size": "24"}, "hidden_size: a number is needed"),
        ({"hidden_size": True}, "hidden_size: a number is needed"),
        ({"hidden_size": 10**12}, "d_model: 1000000000000 is above"),
        ({"hidden_size": 48}, "'embeddings.word_embeddings.weight' has shape"),
        ({"num_attention_heads": 5}, "not a multiple"),
        ({"num_hidden_layers": 10**9}, "n_layers"),
        ({"num_hidden_layers": 200}, "41 tensors can't be the 200 layers"),
        ({"num_hidden_layers": 3}, "'encoder.layer.2.attention.self.query.weight' is missing"),
        ({"num_hidden_layers": 1}, "unexpected tensor 'encoder.layer.1"),
        ({"vocab_size": 0}, "vocab_size: 0 is below 1"),
        ({"layer_norm_eps": 1e999}, "norm_eps"),
        ({"id2label": {"0": "a"}}, "'classifier.weight' has shape (2, 24), config.json says (1"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label"),
        ({"id2label": {"0": "a", "1": 7}}, "id2label"),
        ({"id2label": ["a", "b"]}, "id2label"),
        ({"id2label": None, "num_labels": 10**9}, "num_labels"),
    ],
)
def test_a_config_that_our_stack_does_not_compute_is_refused(copies, change, cause):
    folder = copies("bert")
    edit_config(folder, **change)
    assert cause in refused(folder)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"scale_attn_weights": False}, "scale_attn_weights False"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"activation_function": "tanh"}, "activation_function 'tanh'"),
        ({"n_inner": -5}, "d_ff"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "is not supported"),
    ],
)
def test_a_gpt_that_our_stack_does_not_compute_is_refused(copies, change, cause):
    folder = copies("gpt")
    edit_config(folder, **change)
    assert cause in refused(folder)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda t: t.pop(QUERY), "query.weight' is missing"),
        (lambda t: t.update({QUERY: t[QUERY][:-1].clone()}), "has shape (23, 24)"),
        (lambda t: t.update({QUERY: t[QUERY].long()}), "has type I64"),
        (lambda t: t.update({QUERY: t[QUERY] * float("nan")}), "not finite"),
        (lambda t: t.update({"bert.extra": torch.zeros(2)}), "unexpected tensor 'extra'"),
        (
            lambda t: t.update({QUERY.removeprefix("bert."): t[QUERY].clone()}),
            "is there twice",
        ),
        (
            lambda t: t.update({"cls.predictions.decoder.weight": torch.zeros(1, 10**6)}),
            "'cls.predictions.decoder.weight' has shape (1, 1000000), config.json says",
        ),
    ],
)
def test_weights_at_odds_with_the_config_are_refused(copies, change, cause):
    folder = copies("masked")
    rewrite(folder, change)
    assert cause in refused(folder)


@pytest.mark.parametrize("name", ["masked", "gpt"])
def test_an_output_layer_of_its_own_must_be_there(copies, name):
    folder = copies(name)
    edit_config(folder, tie_word_embeddings=False)
    assert "config.json says tie_word_embeddings false" in refused(folder)


def test_an_adapter_and_a_program_of_its_own_are_refused(copies):
    folder = copies("bert")
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json: an adapter" in refused(folder)
    (folder / "adapter_config.json").unlink()
    edit_config(folder, auto_map={"AutoModel": "modeling.MyBert"})
    assert "auto_map {'AutoModel': 'modeling.MyBert'}" in refused(folder)


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        (["good", "bad", "good"], "config.json: id2label: outputs 0 and 2 are both 'good'"),
        (["good", " "], "config.json: id2label: output 1: a blank label"),
        (["a\tb", "c"], "config.json: id2label: output 0: label 'a\\tb' holds a tab"),
    ],
)
def test_labels_that_are_no_labels_blame_config_json_and_change_nothing(copies, labels, cause):
    folder, other = copies("bert"), copies("gpt")
    edit_config(folder, id2label={str(i): label for i, label in enumerate(labels)})
    assert cause in refused(folder)
    target = folder.with_name("target")
    inside("convert", other, "-o", target)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    inside("convert", folder, "-o", target, "--overwrite", status=3)
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before


def test_what_fails_while_it_is_written_leaves_nothing(copies, tmp_path, monkeypatch):
    folder, target = copies("bert"), tmp_path / "a" / "b"

    def fail(*args: object) -> None:
        raise DataError("a full disk")

    monkeypatch.setattr(huggingface, "write_config", fail)
    with pytest.raises(DataError, match="a full disk"):
        huggingface.from_huggingface(folder, target, pytest.fail)
    assert not (tmp_path / "a").exists()


def test_pickles_are_refused_with_the_reason(copies):
    folder = copies("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refused(folder)
    assert "can execute code" in said and "save_pretrained" in said
    (folder / "pytorch_model.bin").unlink()
    assert "no model.safetensors" in refused(folder)


@pytest.mark.parametrize("size", [4, 200, -1])
def test_weights_that_are_cut_short_are_refused(copies, size):
    folder = copies("bert")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert "cut short" in refused(folder)


@pytest.mark.parametrize(
    "names", [["../secret.safetensors"], ["/etc/passwd"], ["pytorch_model.bin"], [], 5]
)
def test_an_index_leads_nowhere_else(copies, names):
    folder = copies("bert")
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    table = dict(enumerate(names)) if isinstance(names, list) else names
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert "model.safetensors.index.json" in refused(folder)


def test_links_out_of_the_directory_are_refused(copies):
    folder = copies("bert")
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")
    assert "leaves the directory" in refused(folder)


def test_a_model_in_the_way_is_replaced_only_when_asked(copies):
    classifier, gpt = copies("bert"), copies("gpt")
    target = classifier.with_name("target")
    inside("convert", classifier, "-o", target)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    assert read_labels(target) == ["LABEL_0", "LABEL_1"]
    said = inside("convert", gpt, "-o", target, status=2).said
    assert "--overwrite" in said
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    inside("convert", gpt, "-o", target, "--overwrite")
    assert not (target / "labels.txt").exists()
    assert (
        "is the model to convert"
        in inside(*("convert", gpt, "-o", gpt, "--overwrite"), status=2).said
    )
    (target / "checkpoints").mkdir()
    assert (
        "holds a training" in inside(*("convert", gpt, "-o", target, "--overwrite"), status=2).said
    )


def test_a_replaced_model_leaves_nothing_of_itself(copies, tmp_path):
    classifier, gpt = copies("bert"), copies("gpt")
    alone, target = tmp_path / "alone", tmp_path / "target"
    inside("convert", gpt, "-o", alone)
    for folder in (target / "1_Pooling", target / ".convert.1"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    for name in ("config.json", "vocab.txt", "src.tokenizer.model", "labels.tag.txt"):
        (target / name).write_text("{}")
    for name in ("train.jsonl", "tokenizer_config.json", "modules.json", "generation_config.json"):
        (target / name).write_text("{}")
    inside("convert", gpt, "-o", target, "--overwrite")
    assert {f.name for f in target.iterdir()} == {f.name for f in alone.iterdir()}
    # There and back in one place: nothing of the other format stays.
    theirs = tmp_path / "theirs"
    inside("convert", gpt, "-o", theirs)
    inside("convert", classifier, "-o", tmp_path / "ours")
    inside("convert", tmp_path / "ours", "-o", theirs, "--to", "huggingface", "--overwrite")
    assert {f.name for f in theirs.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }


@pytest.mark.parametrize("name", ["notes.md", "1_Pooling/mine.txt", "checkpoint/x", "merges.txt"])
@pytest.mark.parametrize("has_model", [True, False])
def test_what_attn_did_not_write_is_never_deleted(copies, tmp_path, name, has_model):
    gpt, target = copies("gpt"), tmp_path / "target"
    if has_model:
        inside("convert", gpt, "-o", target)
    (target / name).parent.mkdir(exist_ok=True, parents=True)
    (target / name).write_text("mine")
    before = {f: f.read_bytes() for f in target.rglob("*") if f.is_file()}
    said = inside("convert", gpt, "-o", target, "--overwrite", status=2).said
    assert f"{target}: holds '{name.split('/')[0]}', which is no part of a model" in said
    assert {f: f.read_bytes() for f in target.rglob("*") if f.is_file()} == before


def test_without_a_model_a_tokenizer_is_not_attns_to_delete(copies, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "vocab.txt").write_text("mine")
    said = inside("convert", copies("gpt"), "-o", tmp_path / "target", status=2).said
    assert "holds 'vocab.txt', which is no part of a model" in said


def test_wrong_usage_is_named(copies, tmp_path):
    gpt = copies("gpt")
    assert "no such directory" in refused(tmp_path / "nowhere", status=2)
    assert "has no classifier" in refused(gpt, "--task", "pair", status=2)
    assert (
        "--to huggingface needs -o" in inside("convert", gpt, "--to", "huggingface", status=2).said
    )


def test_a_model_that_transformers_has_no_class_for_is_not_written(tmp_path):
    place, target = write_translator(tmp_path / "m", "recurrent"), tmp_path / "target"
    said = inside("convert", place, "--to", "huggingface", "-o", target, status=3).said
    assert "architecture 'recurrent'; bert, gpt, transformer can be written" in said
    assert not target.exists()


def test_what_is_no_directory_of_a_model_is_said_to_be_none(tmp_path):
    (tmp_path / "file").write_text("a")
    (tmp_path / "empty").mkdir()
    assert "file: a file, not the directory of a model" in refused(tmp_path / "file", status=2)
    assert "none: no such directory" in refused(tmp_path / "none", status=2)
    assert "empty: holds no model, as it has no config.json" in refused(
        tmp_path / "empty", status=2
    )


def test_a_model_of_attn_is_converted_to_something(tmp_path):
    model = write_translator(tmp_path / "en-de")
    said = refused(model, status=2)
    assert "en-de: a model of attn already; --to writes" in said and "--precision" in said
    (tmp_path / "file").write_text("a")
    said = inside("convert", model, "--precision", "int8", "-o", tmp_path / "file", status=2).said
    assert "file: is a file, and a model is a directory; choose another -o" in said


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\x80\n\xfd\n"])
def test_a_dev_file_without_a_line_is_refused_before_anything_is_written(tmp_path, content):
    (tmp_path / "dev.tsv").write_bytes(content)
    model = write_translator(tmp_path / "en-de")
    said = refused(model, "--precision", "int8", "--dev", tmp_path / "dev.tsv")
    assert "dev.tsv: no line that can be read: nothing to compare on" in said


@pytest.mark.parametrize(
    "command",
    ["decode -m", "embed -m", "attend -m", "serve -m", "info", "finetune --task classify --init"],
)
def test_a_directory_of_another_project_is_named_with_what_reads_it(copies, command, monkeypatch):
    place = copies("bert")
    monkeypatch.chdir(place.parent)
    said = inside(*command.split(), "bert", stdin=b"a\n", status=3).said
    assert (
        "bert: a directory of Hugging Face ('bert'), not of attn: attn convert bert -o NEW" in said
    )
