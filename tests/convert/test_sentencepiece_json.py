"""A SentencePiece model written as a tokenizer.json cuts and joins texts as it does."""

from __future__ import annotations

import json

import pytest

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.convert import sentencepiece_json
from attn_cli.convert.huggingface_tokenizer import write_tokenizer
from attn_cli.convert.sentencepiece_json import as_tokenizer_json
from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

TEXT = [
    "the cat sat on the mat, and the dog ran to the cat.",
    "A man, a plan: 12 canals (or 13)!",
    "кот и пёс сидят на коврике",
    "der Hund läuft über die Straße zum <url> hin",
]
UNSEEN = [*TEXT, "the cats ran", "漢字", "a 漢 b", "x\u00a0y", "", "  two  spaces ", "hin<url>hin"]


def trained(**options):
    chosen = TokenizerOptions(**{"vocab_size": 68, **options})
    return train_tokenizer(TEXT * 5, chosen, seed=1, threads=1, say=lambda text: None)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lossless": True, "vocab_size": 325},
        {"coverage": 0.99, "vocab_size": 324},
        {"symbols": "<url>"},
    ],
    ids=str,
)
def test_ids_and_texts_are_the_same(kind, options):
    tokenizer = trained(type=kind, **options)
    values = as_tokenizer_json(tokenizer)
    assert values is not None
    found = JsonTokenizer(json.dumps(values).encode())
    assert found.encode(UNSEEN) == tokenizer.encode(UNSEEN)
    assert found.special_ids == tokenizer.special_ids
    known = [ids for ids in tokenizer.encode(UNSEEN) if tokenizer.unk_id not in ids]
    assert found.decode(known) == tokenizer.decode(known)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_what_that_library_has_not_is_copied_and_said(tmp_path, kind):
    tokenizer, said = trained(type=kind, vocab_size=120), []
    assert as_tokenizer_json(tokenizer) is None
    write_tokenizer(tmp_path, tokenizer, "bert", 64, said.append)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.model"]
    assert "it is copied as it is" in said[0]


def test_what_is_cut_otherwise_is_not_written(monkeypatch):
    tokenizer = trained(type="unigram")
    monkeypatch.setattr(sentencepiece_json, "_MARK", "_")
    assert as_tokenizer_json(tokenizer) is None
