"""Kinds of weights that others save: each computes here what it does in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from program import attn, inside
from test_parity import CPU, close, converted, inputs, outputs
from tiny_models import SMALL, edit_config, save_bert, save_gpt, transformers
from torch.nn import functional as F

from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

LM = transformers.GPT2LMHeadModel
MASKED = transformers.BertForMaskedLM


def logits_of_gpt(folder: Path, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    _, model = load_model(folder, CPU)
    with torch.no_grad():
        hidden = model.backbone(batch["input_ids"], batch["attention_mask"].bool())
        return F.linear(hidden, *model.backbone.output_layer)


def there_and_back(tmp_path: Path, cls) -> torch.nn.Module:
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    return cls.from_pretrained(tmp_path / "back").eval()


def test_a_gpt_with_an_output_layer_of_its_own(tmp_path):
    theirs = save_gpt(tmp_path / "hf", tie_word_embeddings=False)
    assert not torch.equal(theirs.lm_head.weight, theirs.transformer.wte.weight)
    config, _ = converted(tmp_path / "hf")
    batch = inputs(config.model.vocab_size)
    batch.pop("token_type_ids")
    back = there_and_back(tmp_path, LM)
    with torch.no_grad():
        expected, mask = theirs(**batch).logits, batch["attention_mask"]
        close(logits_of_gpt(tmp_path / "ours", batch), expected, mask)
        close(back(**batch).logits, expected, mask)
    line = "the cat sat"
    decoded = inside(
        *("decode", "-m", tmp_path / "ours", "--greedy", "--max-len", 5),
        stdin=f"{line}\n".encode(),
    )
    tokenizer = load_tokenizer(str(tmp_path / "ours"))
    prompt = torch.tensor([[tokenizer.bos_id, *tokenizer.encode([line])[0]]])
    with torch.no_grad():
        ids = theirs.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert decoded.lines == tokenizer.decode([ids[0].tolist()])


def test_output_layers_that_config_json_calls_tied_are_kept_and_said(tmp_path):
    """As transformers does: what the file holds counts."""
    save_gpt(tmp_path / "hf", tie_word_embeddings=False)
    edit_config(tmp_path / "hf", tie_word_embeddings=True)
    theirs = LM.from_pretrained(tmp_path / "hf").eval()
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "ours").said
    assert "lm_head.weight differs from the embeddings" in said
    batch = inputs(theirs.config.vocab_size)
    batch.pop("token_type_ids")
    with torch.no_grad():
        expected = theirs(**batch).logits
    close(logits_of_gpt(tmp_path / "ours", batch), expected, batch["attention_mask"])


def test_a_masked_model_with_an_output_layer_of_its_own(tmp_path):
    theirs = save_bert(tmp_path / "hf", "BertForMaskedLM", tie_word_embeddings=False)
    _, ours = converted(tmp_path / "hf")
    batch = inputs(SMALL["vocab_size"])
    back = there_and_back(tmp_path, MASKED)
    with torch.no_grad():
        expected = theirs(**batch).logits
        close(outputs(ours, "mlm", batch), expected, batch["attention_mask"])
        close(back(**batch).logits, expected, batch["attention_mask"])


def rename(folder: Path, old: str, new: str) -> None:
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors[new] = tensors.pop(old)
    safetensors.torch.save_file(tensors, file, {"format": "pt"})


def test_tied_weights_that_are_saved_under_their_second_name_alone(tmp_path):
    theirs = save_gpt(tmp_path / "gpt" / "hf")
    rename(tmp_path / "gpt" / "hf", "transformer.wte.weight", "lm_head.weight")
    converted(tmp_path / "gpt" / "hf")
    batch = inputs(theirs.config.vocab_size)
    batch.pop("token_type_ids")
    with torch.no_grad():
        found = logits_of_gpt(tmp_path / "gpt" / "ours", batch)
        close(found, theirs(**batch).logits, batch["attention_mask"])
    masked = save_bert(tmp_path / "bert" / "hf", "BertForMaskedLM")
    embeddings = "bert.embeddings.word_embeddings.weight"
    rename(tmp_path / "bert" / "hf", embeddings, "cls.predictions.decoder.weight")
    rename(tmp_path / "bert" / "hf", "cls.predictions.bias", "cls.predictions.decoder.bias")
    _, ours = converted(tmp_path / "bert" / "hf")
    batch = inputs(SMALL["vocab_size"])
    with torch.no_grad():
        close(outputs(ours, "mlm", batch), masked(**batch).logits, batch["attention_mask"])


def test_one_segment_vector_is_that_of_both_texts(tmp_path):
    theirs = save_bert(
        tmp_path / "hf", "BertForSequenceClassification", type_vocab_size=1, num_labels=3
    )
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "ours", "--task", "pair").said
    assert "type_vocab_size 1" in said
    tokenizer = transformers.BertTokenizer.from_pretrained(tmp_path / "hf")
    batch = tokenizer("the cat", "a dog ran", return_tensors="pt")
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    with torch.no_grad():
        probs = theirs(**batch).logits.softmax(-1)[0]
    (line,) = inside(
        *("decode", "-m", tmp_path / "ours", "--scores"), stdin=b"the cat\ta dog ran\n"
    ).lines
    label, score = line.split("\t")
    assert label == f"LABEL_{int(probs.argmax())}"
    assert float(score) == pytest.approx(float(probs.max()), abs=1e-3)


def test_one_output_says_what_it_is_taken_for(tmp_path):
    save_bert(tmp_path / "hf", "BertForSequenceClassification", num_labels=1)
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "ours").said
    assert "a number for two texts; where it is for one: --task rate" in said
    said = inside("decode", "-m", tmp_path / "ours", stdin=b"the cat\n", status=3).said
    assert "converted, with --task rate" in said
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "rated", "--task", "rate").said
    assert said == ""
