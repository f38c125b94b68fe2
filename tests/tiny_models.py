"""Tiny random models of the transformers library, saved as it saves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

WORDS = [
    *("the", "of", "and", "a", "to", "in", "he", "have", "it", "that", "cat", "sat", "on", "mat"),
    *("dog", "ran", "##s", "##ed", "##ing", "un", "##known", "é"),
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ".", ",", "?", "中", "[", "]"]
SMALL = {
    "vocab_size": len(VOCABULARY) + 3,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}


def save_bert(folder: Path, name: str = "BertModel", **changes) -> torch.nn.Module:
    """Saves a random BERT or ELECTRA of class `name`, and returns it."""
    torch.manual_seed(5)
    kind = transformers.BertConfig
    if name.startswith("Electra"):
        kind, changes = transformers.ElectraConfig, {"embedding_size": 24, **changes}
    model = getattr(transformers, name)(kind(**{**SMALL, **changes})).eval()
    shake(model)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return model


def save_gpt(folder: Path, name: str = "GPT2LMHeadModel", **changes) -> torch.nn.Module:
    """Saves a random GPT-2 with a byte-level tokenizer of two files, and returns it."""
    torch.manual_seed(6)
    pieces = write_byte_tokenizer(folder)
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32, "vocab_size": pieces}
    config = transformers.GPT2Config(**{**sizes, "bos_token_id": 0, "eos_token_id": 0, **changes})
    model = getattr(transformers, name)(config).eval()
    shake(model)
    model.save_pretrained(folder)
    return model


def shake(model: torch.nn.Module) -> None:
    """Makes every weight random: biases of 0 and norms of 1 would hide a mistake in their names."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)


def write_byte_tokenizer(folder: Path) -> int:
    """vocab.json and merges.txt of a byte-level BPE, learnt from a line; returns its size."""
    import tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    engine = tokenizers.ByteLevelBPETokenizer()
    text = ["the cat sat on the mat and the dog ran to the cat"] * 3
    engine.train_from_iterator(text, 280, special_tokens=["<|endoftext|>"], show_progress=False)
    engine.save_model(str(folder))
    return engine.get_vocab_size()


def edit_config(folder: Path, **changes) -> None:
    """Changes a config.json; a value of None removes the key."""
    file = folder / "config.json"
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
