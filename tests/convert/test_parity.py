"""Converted weights compute what the transformers library computes with them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from program import attn, inside
from tiny_models import SMALL, edit_config, save_bert, save_gpt, shake, transformers
from torch import Tensor
from torch.nn import functional as F

from attn_cli.data.label_files import read_labels
from attn_cli.lines.writing import one_field
from attn_cli.models.directory import load_model, write_config, write_weights
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

TOLERANCE = 1e-5
CPU = torch.device("cpu")


def inputs(vocab_size: int) -> dict[str, Tensor]:
    """Two sequences, the second one padded, with two segments."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(vocab_size, (2, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    segments = (torch.arange(11) >= 5).long().expand(2, -1)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def outputs(model, name: str, batch: dict[str, Tensor]) -> Tensor:
    """What our model gives for a head."""
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        found = model(batch["input_ids"], mask, batch["token_type_ids"], name)
        if name == "mlm":
            found = F.linear(found, *model.vocabulary_layer)
    return found


def close(ours: Tensor, theirs: Tensor, mask: Tensor | None = None) -> None:
    keep = slice(None) if mask is None else mask.bool()
    torch.testing.assert_close(ours[keep], theirs[keep], atol=TOLERANCE, rtol=TOLERANCE)


def converted(source: Path, *options: object):
    target = source.with_name("ours")
    inside("convert", source, "-o", target, *options)
    return load_model(target, CPU)


KINDS = [
    ("BertForPreTraining", {"mlm": "prediction_logits", "nsp": "seq_relationship_logits"}),
    ("BertForMaskedLM", {"mlm": "logits"}),
    ("BertForNextSentencePrediction", {"nsp": "logits"}),
    ("ElectraForPreTraining", {"rtd": "logits"}),
    ("BertForSequenceClassification", {"classify": "logits"}),
    ("BertForTokenClassification", {"tag": "logits"}),
]


@pytest.mark.parametrize(("name", "heads"), KINDS)
def test_heads_of_bert_give_the_same_logits_there_and_back(tmp_path, name, heads):
    theirs = save_bert(tmp_path / "hf", name)
    config, ours = converted(tmp_path / "hf")
    assert set(heads) == set(ours.head_configs)
    batch = inputs(SMALL["vocab_size"])
    with torch.no_grad():
        expected = theirs(**batch)
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    with torch.no_grad():
        again = getattr(transformers, name).from_pretrained(tmp_path / "back").eval()(**batch)
    for head, field in heads.items():
        logits = getattr(expected, field)
        mask = batch["attention_mask"] if logits.shape[:2] == (2, 11) else None
        close(outputs(ours, head, batch), logits, mask)
        close(getattr(again, field), logits, mask)


def test_question_answering_gives_the_same_logits_there_and_back(tmp_path):
    theirs = save_bert(tmp_path / "hf", "BertForQuestionAnswering")
    config, ours = converted(tmp_path / "hf")
    batch = inputs(SMALL["vocab_size"])
    with torch.no_grad():
        expected = theirs(**batch)
    found = outputs(ours, "qa", batch)
    close(found[..., 0], expected.start_logits, batch["attention_mask"])
    close(found[..., 1], expected.end_logits, batch["attention_mask"])
    assert (config.task, config.heads[0].task) == ("predict", "qa")
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        close(back(**batch).end_logits, expected.end_logits, batch["attention_mask"])


@pytest.mark.parametrize(
    "activation", ["gelu", "gelu_new", "gelu_python", "quick_gelu", "relu", "silu"]
)
def test_a_bare_encoder_gives_the_same_vectors_in_every_layer(tmp_path, activation):
    theirs = save_bert(tmp_path / "hf", hidden_act=activation)
    config, ours = converted(tmp_path / "hf")
    assert (config.arch, config.task, config.heads) == ("bert", "predict", ())
    batch = inputs(SMALL["vocab_size"])
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        expected = theirs(**batch, output_hidden_states=True)
        layers = ours.backbone.layers(batch["input_ids"], mask, batch["token_type_ids"])
        pooled = ours.backbone.pool(layers[-1], mask)
    assert len(layers) == len(expected.hidden_states) == 3
    for found, wanted in zip(layers, expected.hidden_states, strict=True):
        close(found, wanted, mask)
    close(pooled, expected.pooler_output)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "GPT2Model"])
@pytest.mark.parametrize("inner", [None, 50])
def test_gpt_gives_the_same_logits_there_and_back(tmp_path, name, inner):
    theirs = save_gpt(tmp_path / "hf", name, n_inner=inner)
    config, ours = converted(tmp_path / "hf")
    assert (config.arch, config.task) == ("gpt", "continue")
    batch = inputs(config.model.vocab_size)
    batch.pop("token_type_ids")
    mask = batch["attention_mask"]
    with torch.no_grad():
        hidden = ours.backbone(batch["input_ids"], mask.bool())
        logits = F.linear(hidden, *ours.backbone.output_layer)
        if name == "GPT2Model":
            close(hidden, theirs(**batch).last_hidden_state, mask)
        else:
            close(logits, theirs(**batch).logits, mask)
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        close(back(**batch).logits, logits, mask)
    text = "the cat, sat on  the unseen mat é"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert tokenizer(text)["input_ids"] == load_tokenizer(str(tmp_path / "ours")).encode([text])[0]


def test_labels_and_kinds_of_classifiers_come_along(tmp_path):
    names = {0: "bad", 1: "good", 2: "so so"}
    save_bert(tmp_path / "hf", "BertForSequenceClassification", id2label=names)
    config, _ = converted(tmp_path / "hf")
    assert read_labels(tmp_path / "ours") == ["bad", "good", "so so"]
    assert [(head.name, head.kind, head.n_outputs, head.task) for head in config.heads] == [
        ("classify", "text", 3, "classify")
    ]
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    assert transformers.BertConfig.from_pretrained(tmp_path / "back").id2label == names
    config, _ = converted(tmp_path / "hf", "--task", "pair", "--overwrite")
    assert config.heads[0].task == "pair"
    edit_config(tmp_path / "hf", problem_type="multi_label_classification")
    config, _ = converted(tmp_path / "hf", "--overwrite")
    assert config.heads[0].task == "multilabel"


def test_commands_read_what_was_converted(tmp_path):
    """A label, a number, a filled model's continuation: as transformers answers."""
    lines = ["the cat sat on the mat", "he ran", "a dog of the dog ?"]
    text = "".join(f"{line}\n" for line in lines).encode()
    names = {0: "bad", 1: "good", 2: "so so"}
    theirs = save_bert(tmp_path / "a" / "hf", "BertForSequenceClassification", id2label=names)
    converted(tmp_path / "a" / "hf")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tmp_path / "a" / "hf")
    with torch.no_grad():
        logits = theirs(**tokenizer(lines, padding=True, return_tensors="pt")).logits
    decoded = inside("decode", "-m", tmp_path / "a" / "ours", "--threads", 1, stdin=text)
    assert decoded.lines == [names[index] for index in logits.argmax(-1).tolist()]
    model = save_gpt(tmp_path / "b" / "hf")
    _, ours = converted(tmp_path / "b" / "hf")
    tokenizer = load_tokenizer(str(tmp_path / "b" / "ours"))
    options = ("--greedy", "--max-len", 5, "--threads", 1)
    decoded = inside("decode", "-m", tmp_path / "b" / "ours", *options, stdin=text)
    for line, found in zip(lines, decoded.lines, strict=True):
        prompt = torch.tensor([[tokenizer.bos_id, *tokenizer.encode([line])[0]]])
        with torch.no_grad():
            ids = model.generate(
                prompt, max_new_tokens=5, do_sample=False, pad_token_id=tokenizer.eos_id
            )
        assert found == one_field(tokenizer.decode([ids[0].tolist()])[0])


def test_a_number_comes_back_in_its_own_unit(tmp_path):
    """A regression of ours answers in standard deviations from a mean; theirs in numbers."""
    theirs = save_bert(tmp_path / "hf", "BertForSequenceClassification", num_labels=1)
    config, ours = converted(tmp_path / "hf")
    lines = b"the cat\tthe mat\nhe\ta dog\n"
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tmp_path / "hf")
    pairs = tokenizer(["the cat", "he"], ["the mat", "a dog"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**pairs).logits[:, 0]
    found = inside("decode", "-m", tmp_path / "ours", "--threads", 1, stdin=lines)
    numbers = torch.tensor([float(line.split("\t")[0]) for line in found.lines])
    close(numbers, expected)
    head = dataclasses.replace(config.heads[0], mean=3.0, std=0.5, low=-9.0, high=9.0)
    write_config(tmp_path / "ours", dataclasses.replace(config, heads=(head,)))
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    name = transformers.BertForSequenceClassification
    with torch.no_grad():
        again = name.from_pretrained(tmp_path / "back").eval()(**pairs).logits[:, 0]
    close(again, 3.0 + 0.5 * expected)


def test_one_output_is_a_number_without_a_label(tmp_path):
    save_bert(tmp_path / "hf", "BertForSequenceClassification", num_labels=1)
    config, _ = converted(tmp_path / "hf")
    assert (config.heads[0].task, config.heads[0].n_outputs) == ("regress", 1)
    assert not (tmp_path / "ours" / "labels.txt").exists()
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "back")
    assert back.config.num_labels == 1
    inside("convert", tmp_path / "hf", "--task", "rate", "-o", tmp_path / "ours", "--overwrite")
    (line,) = inside("decode", "-m", tmp_path / "ours", stdin=b"the cat\n").lines
    with torch.no_grad():
        ids = transformers.BertTokenizerFast.from_pretrained(tmp_path / "hf")(
            "the cat", return_tensors="pt"
        )
        assert float(line) == pytest.approx(float(back.eval()(**ids).logits), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(tmp_path, dtype):
    theirs = save_bert(tmp_path / "hf")
    theirs.to(dtype).save_pretrained(tmp_path / "hf")
    _, ours = converted(tmp_path / "hf")
    weight = ours.backbone.encoder.layers[1].feed_forward.linear2.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, theirs.encoder.layer[1].output.dense.weight.float())


def test_sharded_weights_and_old_names_give_the_same_model(tmp_path):
    theirs = save_bert(tmp_path / "hf", "BertForMaskedLM")
    theirs.save_pretrained(tmp_path / "hf", max_shard_size="20KB")
    index = tmp_path / "hf" / "model.safetensors.index.json"
    (tmp_path / "hf" / "model.safetensors").unlink()
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    assert len(shards) > 2
    converted(tmp_path / "hf")
    whole = (tmp_path / "ours" / "model.safetensors").read_bytes()
    tensors = {}
    for shard in shards:
        tensors |= safetensors.torch.load_file(tmp_path / "hf" / shard)
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(32)[None]
    embeddings = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.weight"] = embeddings.clone()
    index.unlink()
    safetensors.torch.save_file(tensors, tmp_path / "hf" / "model.safetensors")
    converted(tmp_path / "hf", "--overwrite")
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == whole


def test_a_missing_pooler_is_said_and_made_the_same_each_time(tmp_path):
    save_bert(tmp_path / "hf", "BertForMaskedLM")
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "one")
    assert "backbone.pooler.weight" in said.said and "random" in said.said
    assert said.out.decode() == f"{tmp_path / 'one'}\n"
    inside("convert", tmp_path / "hf", "-o", tmp_path / "two")
    assert (tmp_path / "one/model.safetensors").read_bytes() == (
        tmp_path / "two/model.safetensors"
    ).read_bytes()
    _, model = load_model(tmp_path / "one", CPU)
    assert 0.01 < float(model.backbone.pooler.weight.detach().std()) < 0.03


@pytest.mark.parametrize("name", ["BertForTokenClassification", "BertForQuestionAnswering"])
def test_a_pooler_that_no_head_needs_is_not_missed(tmp_path, name):
    save_bert(tmp_path / "hf", name)
    assert attn("convert", tmp_path / "hf", "-o", tmp_path / "ours").said == ""


def test_heads_beyond_the_named_class_come_along(tmp_path):
    theirs = save_bert(tmp_path / "hf", "BertForPreTraining")
    edit_config(tmp_path / "hf", architectures=["BertForMaskedLM"])
    _, ours = converted(tmp_path / "hf")
    batch = inputs(SMALL["vocab_size"])
    with torch.no_grad():
        close(outputs(ours, "nsp", batch), theirs(**batch).seq_relationship_logits)


def test_a_model_of_our_own_is_written_for_transformers(tmp_path):
    """A vocab.txt of attn's own, and segments and poolers that training has changed."""
    save_bert(tmp_path / "hf")
    _, ours = converted(tmp_path / "hf")
    shake(ours)
    write_weights(tmp_path / "ours", dict(ours.named_parameters()), {})
    (tmp_path / "ours" / "tokenizer.json").unlink()
    vocabulary = (tmp_path / "hf" / "vocab.txt").read_text()
    (tmp_path / "ours" / "vocab.txt").write_text(vocabulary)
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.AutoModel.from_pretrained(tmp_path / "back").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    batch = tokenizer("The Cat sat", "unknown dogs", return_tensors="pt")
    ids = load_tokenizer(str(tmp_path / "ours")).encode(["The Cat sat", "unknown dogs"])
    assert batch["input_ids"][0].tolist() == [2, *ids[0], 3, *ids[1], 3]
    with torch.no_grad():
        hidden = ours.backbone(
            batch["input_ids"], batch["attention_mask"].bool(), batch["token_type_ids"]
        )
        close(hidden, back(**batch).last_hidden_state)
